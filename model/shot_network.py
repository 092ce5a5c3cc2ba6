"""The network told about one shot, in the shapes that guidance and caches ask for, from the shot's tables.

c latent channels, t latents of a window, h w latent size, n tokens of one latent, s text rows, d hidden width.
"""

from dataclasses import dataclass, replace

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from model.guidance import Branch, guide
from model.latent_cache import Features
from model.schedule import Step
from model.tables import ShotTables
from model.transformer import Prepared, Stream
from model.windows import Window


@dataclass(frozen=True, eq=False)
class TabledNetwork:
    """`model.guidance.BranchNetwork` and `model.latent_cache.FeatureNetwork` over the video transformer."""

    tables: ShotTables

    @torch.no_grad()
    def velocity(
        self, x: Float[Tensor, "c t h w"], window: Window, step: Step, branch: Branch
    ) -> Float[Tensor, "c t h w"]:
        """Return the velocity of one window in one branch, in float32."""
        network, options = self.tables.network, self.tables.options
        prepared = self.tables.prepared(window, step, branch)
        features = network.features(network.embed(x[None], prepared), prepared, options)
        return network.head(features, prepared, options)[0].float()

    @torch.no_grad()
    def features(self, x: Float[Tensor, "c t h w"], window: Window, step: Step, branch: Branch) -> Features:
        """Return what the released feature cache keeps: the input of the last single block."""
        network = self.tables.network
        prepared = self.tables.prepared(window, step, branch)
        tokens = network.features(network.embed(x[None], prepared), prepared, self.tables.options)[0]
        n, num_image = prepared.grid[1] * prepared.grid[2], prepared.layout.num_image
        return Features(tokens[:n], rearrange(tokens[n:num_image], "(t n) d -> t n d", n=n), tokens[num_image:])

    @torch.no_grad()
    def head(
        self, features: Features, x: Float[Tensor, "c t h w"], window: Window, step: Step, branch: Branch
    ) -> Float[Tensor, "c t h w"]:
        """Return the velocity from kept features; x only gives the shape."""
        prepared = self.tables.prepared(window, step, branch)
        image = rearrange(features.image, "t n d -> (t n) d")
        tokens = torch.cat([features.reference, image, features.text])[None]
        return self.tables.network.head(tokens, prepared, self.tables.options)[0].float()


@dataclass(frozen=True, eq=False)
class SharedGuided:
    """Guidance (a `model.sampler.Denoiser`) whose two branches share the blocks before the first voice.

    Where both read the same prompt (the released late phase), their tokens are equal up to the first audio adapter:
    the blocks before it are run once. Same shapes, so the same bits as running both.
    """

    tables: ShotTables

    @torch.no_grad()
    def velocity(self, x: Float[Tensor, "c t h w"], window: Window, step: Step) -> Float[Tensor, "c t h w"]:
        """Return v_u + g (v_c - v_u)."""
        cond = self.tables.prepared(window, step, "cond")
        if step.guidance == 1:
            return self.rest(self.prefix(x, cond), cond)
        uncond = self.tables.prepared(window, step, "uncond")
        stream = self.prefix(x, uncond)
        other = stream if same_prompt(uncond, cond) else self.prefix(x, cond)
        return guide(self.rest(stream, uncond), self.rest(other, cond), step.guidance)

    def prefix(self, x: Float[Tensor, "c t h w"], prepared: Prepared) -> Stream:
        """Run the blocks before the first voice."""
        network = self.tables.network
        silent = replace(prepared, voices=())
        blocks = range(network.config.adapter_every)
        return network.run_double(network.embed(x[None], silent), silent, blocks, self.tables.options)

    def rest(self, stream: Stream, prepared: Prepared) -> Float[Tensor, "c t h w"]:
        """Let the voices act for the first time and run everything after."""
        network, options = self.tables.network, self.tables.options
        if prepared.voices:
            stream = replace(stream, image=network.speak(stream.image, prepared, 0))
        blocks = range(network.config.adapter_every, len(network.double_blocks))
        stream = network.run_double(stream, prepared, blocks, options)
        features = network.run_single(torch.cat([stream.image, stream.text], dim=1), prepared, options)
        return network.head(features, prepared, options)[0].float()


def same_prompt(one: Prepared, other: Prepared) -> bool:
    """Say whether two branches differ in their voices alone; tables hand out equal parts as the same objects."""
    return one.text is other.text and one.modulations is other.modulations
