"""From latents, timesteps and pooled text to the network's width, and from its width back to latents.

b batch, c latent channels, t latents, h w latent size, n tokens = t (h/2) (w/2), d hidden width.
"""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from model.linear import Linear, fitting, modulated_norm


class PatchEmbed(nn.Module):
    """A (1, p, p) convolution with stride p, done as one matrix product over flattened patches."""

    def __init__(self, channels: int, hidden: int, patch: int, bias: bool = True) -> None:
        super().__init__()
        self.patch = patch
        self.proj = nn.Conv3d(channels, hidden, (1, patch, patch), stride=(1, patch, patch), bias=bias)

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b n d"]:
        """Return tokens frame by frame, row by row."""
        p = self.patch
        patches = rearrange(x, "b c t (h p) (w q) -> b (t h w) (c p q)", p=p, q=p)
        weight = rearrange(self.proj.weight, "d c 1 p q -> d (c p q)")
        return F.linear(fitting(patches, weight), weight, self.proj.bias)


def sinusoid(value: Float[Tensor, "*b"], width: int = 256) -> Float[Tensor, "*b width"]:
    """Return [cos | sin] of value x frequency in float32; timesteps reach 1000, beyond half precision."""
    half = width // 2
    frequency = torch.exp(-math.log(10000.0) * torch.arange(half, dtype=torch.float32, device=value.device) / half)
    angle = value.float()[..., None] * frequency
    return torch.cat([angle.cos(), angle.sin()], dim=-1)


class ScalarEmbed(nn.Module):
    """A number (timestep, frames a second, motion) to a vector: sinusoid, Linear, SiLU, Linear."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(Linear(256, hidden), nn.SiLU(), Linear(hidden, hidden))

    def forward(self, value: Float[Tensor, "*b"]) -> Float[Tensor, "*b d"]:
        """Embed every value on its own."""
        out: Tensor = self.mlp(sinusoid(value))
        return out


class VectorEmbed(nn.Module):
    """Pooled text to the network's width."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.in_layer = Linear(width, hidden)
        self.out_layer = Linear(hidden, hidden)

    def forward(self, x: Float[Tensor, "b p"]) -> Float[Tensor, "b d"]:
        """Linear, SiLU, Linear."""
        out: Tensor = self.out_layer(F.silu(self.in_layer(x)))
        return out


class FinalLayer(nn.Module):
    """The last modulation and the projection of each token to its patch of velocity."""

    def __init__(self, hidden: int, channels: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.linear = Linear(hidden, channels * patch * patch)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), Linear(hidden, 2 * hidden))

    def modulation(self, vec: Float[Tensor, "b d"]) -> Float[Tensor, "b fd"]:
        """Return shift and scale side by side."""
        out: Tensor = self.adaLN_modulation(vec)
        return out

    def forward(
        self, x: Float[Tensor, "b n d"], modulation: Float[Tensor, "b fd"], grid: tuple[int, int, int]
    ) -> Float[Tensor, "b c t h w"]:
        """Return the velocity on the latent grid; `grid` is (t, token rows, token columns)."""
        shift, scale = modulation.chunk(2, dim=-1)
        patches: Tensor = self.linear(modulated_norm(x, shift, scale))
        t, h, w = grid
        p = self.patch
        velocity: Tensor = rearrange(patches, "b (t h w) (c p q) -> b c t (h p) (w q)", t=t, h=h, w=w, p=p, q=p)
        return velocity
