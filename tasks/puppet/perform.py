"""Renders a drawn plate in one call, without manifest, store or database: for training, measures and ablations.

f frames, c channels, h w latent sides.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model.audio import encode_track
from model.config import PUPPET
from model.denoiser import Cache, build_denoiser
from model.facemask import Face, latent_masks
from model.noise import shot_noise
from model.sampler import Take, sample
from model.schedule import ScheduleConfig, plan_steps
from model.shot import Prompt, ShotConditions, ShotVoice
from model.text import hash_text
from model.transformer import VideoTransformer
from model.vae import decode_frames, encode_image, to_pixels, to_unit
from model.windows import FusionConfig, num_audio_frames, num_latents_for_frames, shot_latents
from tasks.plan.types import FaceBox
from tasks.puppet.canvas import Image
from tasks.puppet.dataset import EMOTION_SIDE, box_pixels
from tasks.puppet.voices import normalise_level
from tasks.puppet.world import SIZE, draw_plate, draw_portrait

FUSION = FusionConfig("guarded", 9, 2, max_window_latents=13)


@dataclass(frozen=True)
class Parts:
    """The loaded networks."""

    network: VideoTransformer
    vae: Any
    encoder: Any


@dataclass(frozen=True, eq=False)
class Role:
    """One character of a performance: 16 kHz samples (silence: zeros), emotion and knobs.

    `emotion_seed` names who shows the emotion in the picture: by default somebody else than the character.
    """

    samples: NDArray[np.float64]
    emotion: str = ""  # empty: no emotion picture
    strength: float = 1.0
    voice: float = 1.0
    emotion_seed: int = 4_000_000


@dataclass(frozen=True, eq=False)
class Performance:
    """A shot of the plate `seed` and everything that may be varied in it."""

    seed: int
    roles: tuple[Role, ...]
    num_frames: int
    prompt: str = ""
    head: float = 0.5
    expression: float = 0.5
    fps: float = 25.0
    noise_seed: int = 0
    steps: int = 6
    sigma_shift: float = 3.0
    guidance: float = 1.0
    fusion: FusionConfig = FUSION
    cache: Cache = "off"
    hold_shift: bool = True  # False: windows move on cached steps too, the released rule
    mask_order: tuple[int, ...] = ()  # voice k acts on face mask_order[k]; empty: its own
    masked: bool = True  # False: every voice acts everywhere
    size: tuple[int, int] = field(default=SIZE)


@dataclass(frozen=True, eq=False)
class Film:
    """What a performance gave: frames (f, h, w, 3), its plate and its face boxes."""

    frames: Image
    plate: Image
    boxes: list[FaceBox]


def performance_masks(play: Performance, boxes: list[FaceBox]) -> torch.Tensor:
    """Return where each role's voice acts: (k, h, w)."""
    masks = latent_masks([Face(box_pixels(box, play.size)) for box in boxes], *play.size)
    if not play.masked:
        return torch.ones_like(masks)
    return masks[list(play.mask_order)] if play.mask_order else masks


def conditions_of(play: Performance, parts: Parts, plate: Image, boxes: list[FaceBox]) -> ShotConditions:
    """Return what the network is told about a performance."""
    shot = shot_latents(play.num_frames, play.fusion)
    frames = max(num_audio_frames(shot, play.fusion), 4 * num_latents_for_frames(play.num_frames))
    masks = performance_masks(play, boxes)

    def still(picture: Image) -> torch.Tensor:
        return encode_image(parts.vae, to_unit(torch.from_numpy(picture).permute(2, 0, 1)))

    voices = []
    for k, role in enumerate(play.roles):
        heard = torch.from_numpy(normalise_level(role.samples).astype(np.float32))
        picture = draw_portrait(role.emotion_seed, k, role.emotion, size=EMOTION_SIDE) if role.emotion else None
        voices.append(
            ShotVoice(
                audio=encode_track(heard, parts.encoder, play.fps, frames), mask=masks[k : k + 1], strength=role.voice,
                emotion=None if picture is None else still(picture)[None, :, 0],
                emotion_strength=None if picture is None else torch.tensor([role.strength]),
            )
        )  # fmt: skip
    positive, negative = (Prompt(*hash_text(text, PUPPET.text_width)) for text in (play.prompt, ""))
    return ShotConditions(
        shot=shot, positive=positive, negative=negative, reference=still(plate), voices=tuple(voices),
        motion_exp=torch.full((1, 4), 60.0 * play.expression), motion_pose=torch.full((1, 4), 50.0 * play.head),
        fps=play.fps,
    )  # fmt: skip


@torch.no_grad()
def perform(play: Performance, parts: Parts) -> Film:
    """Render a performance."""
    plate, boxes = draw_plate(play.seed, len(play.roles), play.size)
    steps = plan_steps(
        ScheduleConfig(
            play.steps, play.sigma_shift, play.guidance, "constant" if play.guidance == 1 else "fraction",
            cache=play.cache == "released", hold_shift=play.hold_shift,
        )
    )  # fmt: skip
    conditions = conditions_of(play, parts, plate, boxes)
    denoiser = build_denoiser(parts.network, conditions, steps, play.cache, hold_shift=play.hold_shift)
    noise = shot_noise(play.noise_seed, (PUPPET.latent_channels, play.size[1] // 8, play.size[0] // 8))
    latents = sample(denoiser, Take(conditions.shot, play.fusion, steps, noise))
    frames = torch.cat([to_pixels(part) for part in decode_frames(parts.vae, latents)])[: play.num_frames]
    return Film(frames.permute(0, 2, 3, 1).contiguous().numpy(), plate, boxes)
