"""A feature cache that asks before it skips: off by default, approximate, kept per latent.

After the first blocks each latent's change is compared with its change at the last full run. Where no latent of a
window moved by more than `threshold`, what the remaining blocks added then is added now (the first-block test known
from ParaAttention and TeaCache, arXiv:2411.19108). Both are kept per latent of the shot, not per window, so that
windows may move between steps.

c latent channels, t latents of a window, h w latent size, n tokens of one latent, d hidden width.
"""

from dataclasses import dataclass, field

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from model.guidance import Branch
from model.schedule import Step
from model.tables import ShotTables
from model.transformer import Prepared, Stream
from model.windows import Window


@dataclass(frozen=True, eq=False)
class Kept:
    """One latent at its last full run: what the first blocks did to it, and what all later ones did."""

    first: Float[Tensor, "n d"]
    later: Float[Tensor, "n d"]


@dataclass(eq=False)
class ResidualCache:
    """A branch network that skips everything after the first blocks while that changes little.

    `threshold` is a relative change: 0 never skips, 0.2 is coarse. `full` and `skipped` count calls. For one shot.
    """

    tables: ShotTables
    threshold: float
    kept: dict[tuple[Branch, int], Kept] = field(default_factory=dict)
    full: int = 0
    skipped: int = 0

    @torch.no_grad()
    def velocity(
        self, x: Float[Tensor, "c t h w"], window: Window, step: Step, branch: Branch
    ) -> Float[Tensor, "c t h w"]:
        """Return the velocity of one window in one branch, in float32."""
        network, options = self.tables.network, self.tables.options
        prepared = self.tables.prepared(window, step, branch)
        before = network.embed(x[None], prepared)
        after = network.run_double(before, prepared, range(network.config.adapter_every), options)
        first = latents_of(after.image - before.image, prepared)
        keys = [(branch, latent) for latent in window.latents]
        if self.is_still(first, keys):
            self.skipped += 1
            later = torch.stack([self.kept[key].later for key in keys])
        else:
            self.full += 1
            later = latents_of(self.finish(after, prepared) - after.image, prepared)
            self.kept |= {key: Kept(*pair) for key, *pair in zip(keys, first, later)}
        image = latents_of(after.image, prepared) + later
        padded = torch.cat([before.image[0, : image.shape[1]], rearrange(image, "t n d -> (t n) d")])
        return network.project(padded[None], prepared)[0].float()

    def is_still(self, first: Float[Tensor, "t n d"], keys: list[tuple[Branch, int]]) -> bool:
        """Say whether every latent is known and its first blocks do nearly what they did."""
        if any(key not in self.kept for key in keys):
            return False
        kept = torch.stack([self.kept[key].first for key in keys])
        change = (first - kept).float().abs().mean((1, 2)) / kept.float().abs().mean((1, 2))
        return bool((change < self.threshold).all())

    def finish(self, stream: Stream, prepared: Prepared) -> Float[Tensor, "1 m d"]:
        """Run every later block; return the image tokens."""
        network, options = self.tables.network, self.tables.options
        blocks = range(network.config.adapter_every, len(network.double_blocks))
        stream = network.run_double(stream, prepared, blocks, options)
        features = network.run_single(torch.cat([stream.image, stream.text], dim=1), prepared, options)
        modulation = prepared.modulations.single[-1]
        last: Tensor = network.single_blocks[-1](features, modulation, prepared.rope, prepared.layout, options)
        return last[:, : stream.image.shape[1]]


def latents_of(image: Float[Tensor, "1 m d"], prepared: Prepared) -> Float[Tensor, "t n d"]:
    """Return the latents' tokens of an image stream without the reference's."""
    latents: Tensor = rearrange(image[0], "(t n) d -> t n d", t=prepared.grid[0] + 1)
    return latents[1:]
