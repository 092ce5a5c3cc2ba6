"""The released feature cache: on some steps only the network's head runs, on features stored latent by latent.

c channels, t latents of the window, h w latent height and width, n tokens per latent, s text tokens, d width.

Stored per latent: its own image tokens, and the reference and text tokens of the window that it was in. A cached
window takes the image tokens of its latents and the rest from its first latent. Where two windows cover a latent the
later window's features stay (pinned by test_the_released_sampler_around_the_toy_is_bit_equal).
"""

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from model.guidance import Branch
from model.schedule import Step
from model.windows import Window


@dataclass(frozen=True, eq=False)
class Features:
    """What the head needs: the whole sequence before the last single block, cut into its parts."""

    reference: Float[Tensor, "n d"]
    image: Float[Tensor, "t n d"]
    text: Float[Tensor, "s d"]


@runtime_checkable
class FeatureNetwork(Protocol):
    """A network cut in two: everything up to the stored features, and the head."""

    def features(self, x: Tensor, window: Window, step: Step, branch: Branch) -> Features: ...

    def head(self, features: Features, x: Tensor, window: Window, step: Step, branch: Branch) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class CachedNetwork:
    """A branch network that stores features on full steps and takes them on cached ones. Belongs to one shot.

    `held`: windows move on full steps only (`ScheduleConfig.hold_shift`), so a window takes back its own features and
    pods that share a shot need none of each other's. Else the released rule, latent by latent.
    """

    network: FeatureNetwork
    held: bool = True
    stored: dict[tuple[Branch, int], tuple[Window, Features]] = field(default_factory=dict)

    def velocity(
        self, x: Float[Tensor, "c t h w"], window: Window, step: Step, branch: Branch
    ) -> Float[Tensor, "c t h w"]:
        if step.cached:
            return self.network.head(self._load(window, branch), x, window, step, branch)
        features = self.network.features(x, window, step, branch)
        self._store(features, window, branch)
        return self.network.head(features, x, window, step, branch)

    def _store(self, features: Features, window: Window, branch: Branch) -> None:
        if self.held:
            self.stored[branch, window.index] = (window, features)
            return
        for position, latent in enumerate(window.latents):  # views: reference and text are held once per window
            image = features.image[position : position + 1]
            self.stored[branch, latent] = (window, Features(features.reference, image, features.text))

    def _load(self, window: Window, branch: Branch) -> Features:
        if self.held:
            of, features = self.stored.get((branch, window.index), (None, None))
            if features is None or of != window:
                raise ValueError(
                    f"window {window.index} moved or started on a cached step; its features are those of a full step "
                    "(ScheduleConfig.hold_shift, model.schedule.can_resume_after)"
                )
            return features
        missing = [latent for latent in window.latents if (branch, latent) not in self.stored]
        if missing:
            raise ValueError(
                f"no features of latents {missing} are stored; windows shared over pods may move on full steps only "
                "(ScheduleConfig.hold_shift)"
            )
        parts = [self.stored[branch, latent][1] for latent in window.latents]
        return Features(parts[0].reference, torch.cat([part.image for part in parts]), parts[0].text)
