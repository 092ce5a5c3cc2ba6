"""The plain path from a shot to its denoiser: the transformer told about one window at a time, no tables.

c latent channels, t latents of a window, h w latent size, n tokens of one latent, s text rows, d hidden width.
"""

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from model.blocks import PLAIN, Options
from model.guidance import Branch, Guided
from model.latent_cache import CachedNetwork, Features
from model.schedule import Step
from model.shot import ShotConditions
from model.transformer import Prepared, VideoTransformer
from model.windows import Window


@dataclass(frozen=True, eq=False)
class ShotNetwork:
    """`model.guidance.BranchNetwork` and `model.latent_cache.FeatureNetwork` over the transformer and one shot."""

    network: VideoTransformer
    conditions: ShotConditions
    options: Options = PLAIN

    @torch.no_grad()
    def velocity(
        self, x: Float[Tensor, "c t h w"], window: Window, step: Step, branch: Branch
    ) -> Float[Tensor, "c t h w"]:
        """Return the velocity of one window in one branch, in float32."""
        told = self.conditions.window(window, step, branch)
        return self.network(x[None].float(), self.time(x, step), [told], self.options)[0]

    @torch.no_grad()
    def features(self, x: Float[Tensor, "c t h w"], window: Window, step: Step, branch: Branch) -> Features:
        """Return what the released feature cache keeps: the input of the last single block."""
        prepared = self.prepared(x, window, step, branch)
        tokens = self.network.features(self.network.embed(x[None].float(), prepared), prepared, self.options)[0]
        n, num_image = prepared.grid[1] * prepared.grid[2], prepared.layout.num_image
        return Features(tokens[:n], rearrange(tokens[n:num_image], "(t n) d -> t n d", n=n), tokens[num_image:])

    @torch.no_grad()
    def head(
        self, features: Features, x: Float[Tensor, "c t h w"], window: Window, step: Step, branch: Branch
    ) -> Float[Tensor, "c t h w"]:
        """Return the velocity from kept features; x only gives the shape."""
        prepared = self.prepared(x, window, step, branch)
        image = rearrange(features.image, "t n d -> (t n) d")
        tokens = torch.cat([features.reference, image, features.text])[None]
        return self.network.head(tokens, prepared, self.options)[0].float()

    def prepared(self, x: Float[Tensor, "c t h w"], window: Window, step: Step, branch: Branch) -> Prepared:
        """Return what the blocks read."""
        told = self.conditions.window(window, step, branch)
        return self.network.prepare(self.time(x, step), [told], self.network.grid_of(x[None], [told]), self.options)

    def time(self, x: Float[Tensor, "c t h w"], step: Step) -> Float[Tensor, "1"]:
        """Return the step's timestep as the network takes it."""
        return torch.tensor([step.t], device=x.device)


def build_denoiser(
    network: VideoTransformer, conditions: ShotConditions, cache: bool = False, options: Options = PLAIN
) -> Guided:
    """Return the shot's denoiser (`model.sampler.Denoiser`); `cache` keeps features for the schedule's cached steps."""
    shot = ShotNetwork(network, conditions, options)
    return Guided(CachedNetwork(shot) if cache else shot)
