"""What the network is told about a whole shot, sliced into what it is told about one window.

c channels, h w latent height and width, frames audio frames of the shot, r rows per frame, l layers, d width,
latents values over the shot (one stands for all, the last one holds on), e emotion pictures, s text tokens, p pooled.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, Real
from torch import Tensor

from model.conditions import Conditions, Voice
from model.guidance import Branch
from model.schedule import Step
from model.windows import ShotLatents, Window, window_audio_frames


@dataclass(frozen=True, eq=False)
class Prompt:
    """A prompt as both text encoders see it."""

    text: Float[Tensor, "s d"]
    text_mask: Int[Tensor, "s"] | Bool[Tensor, "s"]
    pooled: Float[Tensor, "p"]


@dataclass(frozen=True, eq=False)
class ShotVoice:
    """One character over the whole shot: as `model.conditions.Voice`, everything per latent of the shot.

    `audio` follows the shot's frames; after its last frame come zeros, up to four frames per latent.
    """

    audio: Float[Tensor, "frames r l d"]
    mask: Float[Tensor, "latents h w"]
    strength: float | Float[Tensor, "latents_s"] = 1.0
    emotion: Float[Tensor, "e c eh ew"] | None = None
    emotion_index: Int[Tensor, "latents_i"] | None = None
    emotion_strength: Float[Tensor, "latents_e"] | None = None


@dataclass(frozen=True, eq=False)
class ShotConditions:
    """One shot. `reference` is one frame, or one per position in a window as the release samples it.

    `motion_exp` and `motion_pose` change per window: the value at the window's centre. `emotion_unguided` keeps the
    emotion in the unconditional branch of the early steps too; by default it is left out there, as the prompt is.
    """

    shot: ShotLatents
    positive: Prompt
    negative: Prompt
    reference: Float[Tensor, "c reference h w"]
    voices: tuple[ShotVoice, ...]
    motion_exp: Real[Tensor, "latents_x 4"]
    motion_pose: Real[Tensor, "latents_p 4"]
    fps: float = 25.0
    emotion_unguided: bool = False

    def window(self, window: Window, step: Step, branch: Branch) -> Conditions:
        """Return what one branch is told about one window at one step."""
        prompt = self.negative if branch == "uncond" and step.negative else self.positive
        return Conditions(
            text=prompt.text,
            text_mask=prompt.text_mask,
            pooled=prompt.pooled,
            reference=self.reference[:, : len(window.latents)],
            voices=tuple(self._voice(voice, window, step, branch) for voice in self.voices),
            motion_exp=at_latents(self.motion_exp, (window.centre,))[0],
            motion_pose=at_latents(self.motion_pose, (window.centre,))[0],
            fps=self.fps,
        )

    def _voice(self, voice: ShotVoice, window: Window, step: Step, branch: Branch) -> Voice:
        audio = window_audio(voice.audio, window, self.shot)
        feels = voice.emotion is not None and (branch == "cond" or self.emotion_unguided or not step.negative)
        return Voice(
            audio=audio if branch == "cond" else torch.zeros_like(audio),  # silence of the features, as released
            mask=over_window(voice.mask, window.latents) * step.mask_scale,
            strength=voice.strength
            if isinstance(voice.strength, float | int)
            else at_latents(voice.strength, window.latents),
            emotion=voice.emotion if feels else None,
            emotion_index=_maybe(voice.emotion_index, window) if feels else None,
            emotion_strength=_maybe(voice.emotion_strength, window) if feels else None,
        )


def window_audio(
    track: Float[Tensor, "frames r l d"], window: Window, shot: ShotLatents
) -> Float[Tensor, "window_frames r l d"]:
    """Return the 4 t - 3 audio frames of a window: wrapped with the latents, zeros after the track's end."""
    frames = torch.tensor(window_audio_frames(window, shot), device=track.device)
    audio = track[frames.clamp(max=len(track) - 1)]
    audio[frames >= len(track)] = 0
    return audio


def at_latents(values: Real[Tensor, "latents *rest"], latents: Sequence[int]) -> Real[Tensor, "t *rest"]:
    """Return per-latent values of some latents; one value stands for all, the last one holds on."""
    return values[[min(latent, len(values) - 1) for latent in latents]]


def over_window(values: Real[Tensor, "latents *rest"], latents: Sequence[int]) -> Real[Tensor, "t *rest"]:
    """Return as `at_latents`, but leave a single value single."""
    return values if len(values) == 1 else at_latents(values, latents)


def _maybe(values: Tensor | None, window: Window) -> Tensor | None:
    return None if values is None else at_latents(values, window.latents)
