"""One process of a pod leads: it says what comes next, and all of them compute it together.

The leader alone has claims, messages and checkpoints; the others hear which shot, then window after window, and help.
What is said goes through the processors (gloo), so waiting for the leader keeps no GPU's collective open.

c latent channels, t latents of a window, h w latent size.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from model.sampler import Denoiser
from model.schedule import Step
from model.windows import Window

LEADER = 0
SILENCE = timedelta(days=7)  # a leader that waits for another pod says nothing for long


@dataclass(frozen=True)
class Round:
    """What a process of this pod says to all the others, and hears."""

    group: Any  # a gloo process group of all of them

    def say(self, subject: object) -> None:
        """Tell the others; they must be hearing."""
        import torch.distributed as dist

        dist.broadcast_object_list([subject], src=LEADER, group=self.group)

    def hear(self) -> Any:
        """Return what the leader says next."""
        import torch.distributed as dist

        heard: list[Any] = [None]
        dist.broadcast_object_list(heard, src=LEADER, group=self.group)
        return heard[0]


def gather_round() -> Round:
    """Form the group of the leader's words; every process calls it, after `model.parallel.join`."""
    import torch.distributed as dist

    return Round(dist.new_group(backend="gloo", timeout=SILENCE))


@dataclass(frozen=True, eq=False)
class Turn:
    """One window of one step, which everybody computes at once."""

    x: Float[Tensor, "c t h w"]
    window: Window
    step: Step


@dataclass(frozen=True, eq=False)
class Leading:
    """The leader's share of a denoiser (a `model.sampler.Denoiser`): has the others compute theirs."""

    denoiser: Denoiser
    round: Round

    def velocity(self, x: Float[Tensor, "c t h w"], window: Window, step: Step) -> Float[Tensor, "c t h w"]:
        """Return the velocity that all processes make together."""
        self.round.say(Turn(x.cpu(), window, step))
        return self.denoiser.velocity(x, window, step)


@torch.no_grad()
def follow(round_: Round, tell: Callable[[Any], Denoiser], device: torch.device) -> None:
    """Help the leader until it says None; whatever else it says that is no turn tells the network about a shot."""
    denoiser: Denoiser | None = None
    while (heard := round_.hear()) is not None:
        if isinstance(heard, Turn):
            assert denoiser is not None  # a shot comes before its windows
            denoiser.velocity(heard.x.to(device), heard.window, heard.step)
        else:
            denoiser = tell(heard)
