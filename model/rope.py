"""Rotary positions of image tokens: three axes, adjacent pairs, theta 256, the reference picture at time -1.

t latents of the window, h w token grid, n image tokens = (t + 1) h w, reference first, p pairs = head width / 2.
"""

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from model.config import NetworkConfig


@dataclass(frozen=True, eq=False)
class Rope:
    """Cosine and sine of every token's angles; one table serves every layer, step and window of a size.

    With text rows behind (`with_text`), whose angle is zero, the table covers the whole joint sequence.
    """

    cos: Float[Tensor, "n p"]
    sin: Float[Tensor, "n p"]

    def with_text(self, num_text: int) -> "Rope":
        """Return the table with `num_text` unrotated rows at its end."""
        rest = (num_text, self.cos.shape[1])
        return Rope(torch.cat([self.cos, self.cos.new_ones(rest)]), torch.cat([self.sin, self.sin.new_zeros(rest)]))

    def rows(self, start: int, stop: int) -> "Rope":
        """Return the table of some tokens."""
        return Rope(self.cos[start:stop], self.sin[start:stop])


def positions(
    num_latents: int, height: int, width: int, config: NetworkConfig, device: torch.device | str = "cpu"
) -> Float[Tensor, "n 3"]:
    """Return (t, y, x) of every image token, the reference picture's first.

    The reference stands at t = -1. With `ref_shift` "xy" it is also moved by the grid's own size in y and x
    (Eq. 2, arXiv:2505.20156); the release does not move it.
    """
    axes = [torch.arange(count, dtype=torch.float32, device=device) for count in (num_latents, height, width)]
    video = rearrange(torch.stack(torch.meshgrid(*axes, indexing="ij")), "place t h w -> (t h w) place")
    reference = video[: height * width].clone()
    reference[:, 0] = -1.0
    if config.ref_shift == "xy":
        reference[:, 1] += height
        reference[:, 2] += width
    return torch.cat([reference, video])


def rope_table(
    num_latents: int, height: int, width: int, config: NetworkConfig, device: torch.device | str = "cpu"
) -> Rope:
    """Build the table for a window of `num_latents` on a token grid of `height` x `width`, in float32."""
    place = positions(num_latents, height, width, config, device)
    angles = []
    for axis, width_of_axis in enumerate(config.rope_widths):
        exponent = torch.arange(0, width_of_axis, 2, dtype=torch.float32, device=device) / width_of_axis
        frequency = 1.0 / (config.rope_theta**exponent)
        angles.append(torch.outer(place[:, axis], frequency))
    angle = torch.cat(angles, dim=1)  # (n, p)
    return Rope(angle.cos(), angle.sin())


def rotate(x: Float[Tensor, "b n h d"], rope: Rope) -> Float[Tensor, "b n h d"]:
    """Rotate adjacent pairs (a, b) to (a cos - b sin, b cos + a sin).

    In float32, because positions times frequencies differ by less than half precision resolves.
    """
    if torch.compiler.is_compiling():  # the compiler fuses real arithmetic and knows no complex numbers
        a, b = rearrange(x.float(), "b n h (p two) -> two b n h p", two=2)
        cos, sin = rope.cos[:, None], rope.sin[:, None]
        turned = torch.stack((a * cos - b * sin, b * cos + a * sin), dim=-1)
    else:  # one pass over memory instead of seven, to the same bits
        pairs = torch.view_as_complex(rearrange(x.float(), "b n h (p two) -> b n h p two", two=2).contiguous())
        turned = torch.view_as_real(pairs * torch.complex(rope.cos, rope.sin)[:, None])
    return turned.flatten(-2).to(x.dtype)
