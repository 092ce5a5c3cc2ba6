"""Classifier-free guidance: one network, two branches, one velocity.

c channels, t latents of the window, h w latent height and width; g guidance scale, v velocity.
"""

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from model.schedule import Step
from model.windows import Window

Branch = Literal["uncond", "cond"]


@runtime_checkable
class BranchNetwork(Protocol):
    """A network that is told which branch of the guidance pair to compute, one window at a time."""

    def velocity(self, x: Tensor, window: Window, step: Step, branch: Branch) -> Tensor: ...


def guide(uncond: Float[Tensor, "c t h w"], cond: Float[Tensor, "c t h w"], scale: float) -> Float[Tensor, "c t h w"]:
    """Return v_u + g (v_c - v_u)."""
    return uncond + scale * (cond - uncond)


@dataclass(frozen=True, eq=False)
class Guided:
    """A denoiser (see model.sampler) from a network and a guidance pair.

    Branches run one after the other, unconditional first: a batch of two rounds differently from two batches of one,
    and one branch per pod must give the same bits. Guidance 1 costs a single call.
    """

    network: BranchNetwork

    def velocity(self, x: Float[Tensor, "c t h w"], window: Window, step: Step) -> Float[Tensor, "c t h w"]:
        if step.guidance == 1:
            return self.network.velocity(x, window, step, "cond")
        uncond = self.network.velocity(x, window, step, "uncond")
        cond = self.network.velocity(x, window, step, "cond")
        return guide(uncond, cond, step.guidance)
