"""Guidance per voice: a second way to keep one character's speech out of another's face.

The masks of the adapters keep a voice out of other faces where it enters; attention may still carry it over. Here
each voice gets a pass of its own, with the others silent, and each face takes the velocity of its own voice.

v voices, c latent channels, t latents, h w latent size; g guidance scale.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from model.guidance import Branch, BranchNetwork
from model.schedule import Step
from model.shot import ShotConditions, over_window
from model.windows import Window


def guide_voices(
    uncond: Float[Tensor, "c t h w"],
    voices: Float[Tensor, "v c t h w"],
    masks: Float[Tensor, "v t h w"],
    scale: float,
) -> Float[Tensor, "c t h w"]:
    """Return v_u + g sum_c m_c (v_c - v_u), with the voices' mean where no mask is.

    Masks of one cell must sum to at most 1. One voice: v_u + g (v_1 - v_u) everywhere, the released guidance.
    """
    rest = 1 - masks.sum(0)  # (t, h, w)
    own = (masks[:, None] * (voices - uncond)).sum(0)
    return uncond + scale * (own + rest * (voices.mean(0) - uncond))


def one_voice(conditions: ShotConditions, index: int) -> ShotConditions:
    """Return the shot with one voice audible; the others keep their emotion."""
    voices = tuple(voice if i == index else replace(voice, strength=0.0) for i, voice in enumerate(conditions.voices))
    return replace(conditions, voices=voices)


@dataclass(frozen=True, eq=False)
class VoiceGuided:
    """A denoiser (see model.sampler): one unconditional pass, and one pass for each voice.

    `networks` has one entry per voice, told about `one_voice(conditions, index)`.
    """

    networks: Sequence[BranchNetwork]
    conditions: ShotConditions

    def velocity(self, x: Float[Tensor, "c t h w"], window: Window, step: Step) -> Float[Tensor, "c t h w"]:
        """Return the velocity of a window."""
        branch: Branch = "cond"
        voices = torch.stack([network.velocity(x, window, step, branch) for network in self.networks])
        scale = step.guidance
        uncond = voices.mean(0) if scale == 1 else self.networks[0].velocity(x, window, step, "uncond")
        masks = [over_window(voice.mask, window.latents).expand_as(x[0]) for voice in self.conditions.voices]
        return guide_voices(uncond, voices, torch.stack(masks).to(voices.dtype), scale)
