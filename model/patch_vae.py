"""A small causal 3D autoencoder, 4x8x8, that works on blocks of pixels: the puppet's, made for CPUs.

Same contract as the released one (the first latent is one frame, each later one four; 16 channels; mean and log
variance), other inside: blocks of 4x8x8 pixels become vectors, few wide layers run on the latent grid, and a light
last stage on 4x4 cells takes the blocks' edges away. No norm runs over time or place, so tiles decode alike anywhere.

b batch, c latent channels, t latents, h w latent sides, f frames = 4 t - 3, k values of a block, d width.
"""

from types import SimpleNamespace
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from model.config import VaeConfig

TIME, SIDE, CELL = 4, 8, 4
_EXTRA = 16  # features beside the pixels of a 4x4 cell for the last stage


def to_blocks(clip: Float[Tensor, "b 3 f _ _"]) -> Float[Tensor, "b k t h w"]:
    """Cut a clip into blocks of pixels; frame 0 stands four times in its own."""
    first = clip[:, :, :1].expand(-1, -1, TIME - 1, -1, -1)
    padded = torch.cat([first, clip], dim=2)
    blocks: Tensor = rearrange(padded, "b c (t p) (h q) (w r) -> b (p q r c) t h w", p=TIME, q=SIDE, r=SIDE)
    return blocks


class Mix(nn.Module):
    """x + proj(silu(conv(norm(x)))): a causal 2x3x3 convolution over this latent and the one before."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.conv = nn.Conv3d(width, width, (2, 3, 3), padding=(0, 1, 1))
        self.proj = nn.Conv3d(width, width, 1)
        nn.init.zeros_(self.proj.weight)

    def forward(self, x: Float[Tensor, "b d t h w"]) -> Float[Tensor, "b d t h w"]:
        """Mix in space and with the past."""
        y = rearrange(self.norm(rearrange(x, "b d t h w -> b t h w d")), "b t h w d -> b d t h w")
        y = self.conv(torch.cat([y[:, :, :1], y], dim=2))
        out: Tensor = x + self.proj(functional.silu(y))
        return out


class Refine(nn.Module):
    """Two 3x3 convolutions over 4x4 cells of every frame; what they add takes the edges of blocks away."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, 64, 3, padding=1)
        self.second = nn.Conv2d(64, 3 * CELL * CELL, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Float[Tensor, "bf c h w"]) -> Float[Tensor, "bf o h w"]:
        """Return what to add to the pixels of every cell."""
        out: Tensor = self.second(functional.silu(self.first(x)))
        return out


class Encoder(nn.Module):
    """Pixels to mean and log variance."""

    def __init__(self, width: int, blocks: int, latent_channels: int) -> None:
        super().__init__()
        self.into = nn.Conv3d(3 * TIME * SIDE * SIDE, width, 1)
        self.blocks = nn.Sequential(*(Mix(width) for _ in range(blocks)))
        self.out = nn.Conv3d(width, 2 * latent_channels, 1)

    def forward(self, clip: Float[Tensor, "b 3 f _ _"]) -> Float[Tensor, "b c2 t h w"]:
        """Return mean and log variance, stacked on channels."""
        out: Tensor = self.out(self.blocks(self.into(to_blocks(clip))))
        return out


class Decoder(nn.Module):
    """Latents to pixels."""

    def __init__(self, width: int, blocks: int, latent_channels: int) -> None:
        super().__init__()
        cells = SIDE // CELL
        self.into = nn.Conv3d(latent_channels, width, (2, 3, 3), padding=(0, 1, 1))
        self.blocks = nn.Sequential(*(Mix(width) for _ in range(blocks)))
        self.pixels = nn.Conv3d(width, 3 * TIME * SIDE * SIDE, 1)
        self.extra = nn.Conv3d(width, _EXTRA * TIME * cells * cells, 1)
        self.refine = Refine(3 * CELL * CELL + _EXTRA)

    def forward(self, z: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b 3 f _ _"]:
        """Return frames of -1..1, not clamped."""
        x = self.blocks(self.into(torch.cat([z[:, :, :1], z], dim=2)))
        cells = SIDE // CELL
        pixels = rearrange(
            self.pixels(x), "b (p y q x r c) t h w -> b (t p) (q r c) (h y) (w x)",
            p=TIME, y=cells, q=CELL, x=cells, r=CELL, c=3,
        )[:, TIME - 1 :]  # fmt: skip
        extra = rearrange(
            self.extra(x), "b (p y x e) t h w -> b (t p) e (h y) (w x)", p=TIME, y=cells, x=cells, e=_EXTRA
        )[:, TIME - 1 :]
        both = torch.cat([pixels, extra], dim=2).flatten(0, 1)  # (b f, 64, h, w)
        fine = pixels + self.refine(both).unflatten(0, pixels.shape[:2])
        frames: Tensor = rearrange(fine, "b f (q r c) h w -> b c f (h q) (w r)", q=CELL, r=CELL, c=3)
        return frames


class PatchVae(nn.Module):
    """Encoder and decoder with the attributes that `model.vae` uses of the released autoencoder."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        encoder_width, decoder_width = config.channels
        self.encoder = Encoder(encoder_width, config.layers_per_block, config.latent_channels)
        self.decoder = Decoder(decoder_width, 2 * config.layers_per_block, config.latent_channels)
        self.post_quant_conv = nn.Identity()

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""
        return self.encoder.out.weight.dtype

    def encode(self, clip: Float[Tensor, "b 3 f _ _"]) -> Any:
        """Return the posterior as diffusers does: `.latent_dist.parameters`."""
        return SimpleNamespace(latent_dist=SimpleNamespace(parameters=self.encoder(clip)))

    def enable_tiling(self, height: int, width: int, frames: int, rows: int, columns: int, hop: int) -> None:
        """Set tile sizes and strides in pixels and frames."""
        self.tile_sample_min_height, self.tile_sample_min_width, self.tile_sample_min_num_frames = height, width, frames
        self.tile_sample_stride_height, self.tile_sample_stride_width = rows, columns
        self.tile_sample_stride_num_frames = hop

    @torch.no_grad()
    def start_linear(self, clips: Float[Tensor, "b 3 f _ _"]) -> None:
        """Start from principal components of example clips: a linear codec that training then bends."""
        blocks = rearrange(to_blocks(clips), "b k t h w -> (b t h w) k").double()
        values, vectors = torch.linalg.eigh(blocks.T @ blocks / len(blocks))
        best, spread = vectors.flip(1).float(), values.flip(0).clamp(min=1e-6).sqrt().float()
        width, count = self.encoder.into.out_channels, self.encoder.out.out_channels // 2
        self.encoder.into.weight.copy_((best[:, :width] / spread[:width].clamp(min=0.2)).T[..., None, None, None])
        self.encoder.out.weight.mul_(0)
        for i in range(count):
            self.encoder.out.weight[i, i] = spread[i].clamp(min=0.2) / spread[i]
        for layer in (self.encoder.out, self.encoder.into, self.decoder.into, self.decoder.pixels):
            assert layer.bias is not None
            layer.bias.zero_()
            if layer is self.encoder.out:
                layer.bias[count:] = -5.0
        self.decoder.into.weight[:count] = 0
        for i in range(count):
            self.decoder.into.weight[i, i, 1, 1, 1] = 1
        self.decoder.pixels.weight.mul_(0.02)
        self.decoder.pixels.weight[:, :count] = (best[:, :count] * spread[:count])[..., None, None, None]
