"""Causal 3D VAE, 4x8x8: diffusers' AutoencoderKLHunyuanVideo with the released tiling, streamed tile by tile.

b batch, c latent channels, t latents, f frames, h w sides in latents, y x in pixels, n tokens of one latent frame,
d width.
Pixels run from -1 to 1; latents are normalised: (z - latent_mean) / latent_std, in the release z * 0.476986.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from model.config import VaeConfig
from model.patch_vae import PatchVae
from model.tiles import SPACE, TIME, Tile, Tiling, plan_tiles

ReadLatents = Callable[[int, int], Tensor]  # latents [start, end) of a shot as (c, t, h, w)


def build_vae(config: VaeConfig) -> Any:
    """Build the autoencoder with random weights; parameter names are those of the released file
    (the puppet's own kind, `patches`, has its own).

    Two buffers of our own, `latent_mean` and `latent_std` (c,), hold the normalisation; a file may lack them.
    """
    vae = PatchVae(config) if config.patches else _released_vae(config)
    vae.register_buffer("latent_mean", torch.zeros(config.latent_channels))
    vae.register_buffer("latent_std", torch.full((config.latent_channels,), 1 / config.scaling))
    pixels, frames, keep = config.tile_pixels, config.tile_frames, 1 - config.overlap
    pixels_stride, frames_stride = round(pixels * keep), round(frames * keep)
    vae.enable_tiling(pixels, pixels, frames, pixels_stride, pixels_stride, frames_stride)
    return vae


def _released_vae(config: VaeConfig) -> Any:
    from diffusers import AutoencoderKLHunyuanVideo

    vae = AutoencoderKLHunyuanVideo(
        latent_channels=config.latent_channels,
        block_out_channels=config.channels,
        layers_per_block=config.layers_per_block,
        norm_num_groups=config.norm_groups,
        scaling_factor=config.scaling,
    )
    vae.use_framewise_encoding = vae.use_framewise_decoding = True
    for block in (vae.encoder.mid_block, vae.decoder.mid_block):
        # the original builds its mask row by row, 17408 rows for a released tile
        block.forward = partial(_mid_block, block, causal=config.causal_attention)
    return vae


def _mid_block(block: Any, x: Float[Tensor, "b d f h w"], causal: bool) -> Float[Tensor, "b d f h w"]:
    x = block.resnets[0](x)
    for attention, resnet in zip(block.attentions, block.resnets[1:], strict=True):
        x = resnet(x + _frame_attention(attention, x, causal))
    return x


def _frame_attention(attention: Any, x: Float[Tensor, "b d f h w"], causal: bool) -> Float[Tensor, "b d f h w"]:
    """Attend over all pixels of this frame and the frames before it; one head.

    Frame by frame without a mask: half of the masked product, and no mask to hold.
    """
    num_frames, height, width = x.shape[2:]
    y = attention.group_norm(rearrange(x, "b d f h w -> b d (f h w)"))
    y = rearrange(y, "b d n -> b n d")
    q, k, v = (layer(y)[:, None] for layer in (attention.to_q, attention.to_k, attention.to_v))  # (b, 1, n, d)
    if causal:
        n = height * width
        parts = [
            functional.scaled_dot_product_attention(q[:, :, end - n : end], k[:, :, :end], v[:, :, :end])
            for end in range(n, n * num_frames + 1, n)
        ]
        y = torch.cat(parts, dim=2)[:, 0]
    else:
        y = functional.scaled_dot_product_attention(q, k, v)[:, 0]
    y = attention.to_out[0](y)
    result: Tensor = rearrange(y, "b (f h w) d -> b d f h w", f=num_frames, h=height)
    return result


def set_latent_statistics(vae: Any, mean: Float[Tensor, "c"], std: Float[Tensor, "c"]) -> None:
    """Normalise latents by these instead of by the release's one factor; they are saved with the weights."""
    vae.latent_mean.copy_(mean)
    vae.latent_std.copy_(std)


def normalise(vae: Any, z: Float[Tensor, "*b c t h w"]) -> Float[Tensor, "*b c t h w"]:
    """Return the autoencoder's z as the network's latents."""
    mean, std = (rearrange(s, "c -> c 1 1 1") for s in (vae.latent_mean, vae.latent_std))
    result: Tensor = (z - mean.to(z)) / std.to(z)
    return result


def denormalise(vae: Any, latents: Float[Tensor, "*b c t h w"]) -> Float[Tensor, "*b c t h w"]:
    """Return the network's latents as the autoencoder's z."""
    mean, std = (rearrange(s, "c -> c 1 1 1") for s in (vae.latent_mean, vae.latent_std))
    result: Tensor = latents * std.to(latents) + mean.to(latents)
    return result


def to_unit(pixels: UInt8[Tensor, "*shape"], dtype: torch.dtype = torch.float32) -> Float[Tensor, "*shape"]:
    """Return bytes as -1..1, computed in `dtype` (the release: fp16)."""
    return pixels.to(dtype) / 127.5 - 1


def to_pixels(frames: Float[Tensor, "*shape"]) -> UInt8[Tensor, "*shape"]:
    """Return -1..1 as bytes, rounded (the release truncates, half a grey level darker)."""
    return ((frames.float() / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)


def moments(vae: Any, clip: Float[Tensor, "3 f y x"]) -> Float[Tensor, "c2 t h w"]:
    """Return mean and log variance of z, stacked on channels, with the released tiling. f = 4 (t - 1) + 1."""
    frames, height, width = clip.shape[1:]
    if (frames - 1) % 4 or height % 8 or width % 8:
        raise ValueError(f"clip of {frames} frames, {height} x {width} pixels: frames must be 4n + 1, sides 8n")
    result: Tensor = vae.encode(clip[None]).latent_dist.parameters[0]
    return result


def encode_clip(
    vae: Any, clip: Float[Tensor, "3 f y x"], generator: torch.Generator | None = None
) -> Float[Tensor, "c t h w"]:
    """Encode a clip; the posterior's mode, or a sample of it when a generator (on the CPU) is given."""
    return _draw(vae, moments(vae, clip), generator)


def encode_image(
    vae: Any, image: Float[Tensor, "3 y x"], num_latents: int = 1, generator: torch.Generator | None = None
) -> Float[Tensor, "c t h w"]:
    """Encode a still picture as `num_latents` latents of a clip that shows it all the time.

    Every latent of a still clip has the moments of its single frame, so one frame is encoded instead of 4 (t - 1) + 1;
    test_a_still_clip_is_its_one_frame pins it. Mode: all latents equal. Generator: a sample each, as in the release.
    """
    one = moments(vae, rearrange(image, "c h w -> c 1 h w"))
    return _draw(vae, one.expand(-1, num_latents, -1, -1), generator)


def _draw(
    vae: Any, parameters: Float[Tensor, "c2 t h w"], generator: torch.Generator | None
) -> Float[Tensor, "c t h w"]:
    mean, log_variance = parameters.chunk(2, dim=0)
    if generator is None:
        return normalise(vae, mean)
    noise = torch.randn(mean.shape, generator=generator, dtype=torch.float32).to(mean)  # CPU draw: same on any device
    return normalise(vae, mean + (log_variance.clamp(-30, 20) / 2).exp() * noise)


def tiling_of(vae: Any) -> Tiling:
    """Return the tile sizes of this autoencoder, in latents."""
    return Tiling(
        space=vae.tile_sample_min_height // SPACE,
        space_stride=vae.tile_sample_stride_height // SPACE,
        time=vae.tile_sample_min_num_frames // TIME,
        time_stride=vae.tile_sample_stride_num_frames // TIME,
    )


def decode(vae: Any, latents: Float[Tensor, "c t h w"]) -> Float[Tensor, "3 f y x"]:
    """Decode a whole shot, -1..1 (not clamped), f = 4 (t - 1) + 1. Equal to decode_frames joined."""
    frames: Tensor = rearrange(torch.cat(list(decode_frames(vae, latents))), "f c h w -> c f h w")
    return frames


def decode_frames(vae: Any, latents: Float[Tensor, "c t h w"]) -> Iterator[Float[Tensor, "f 3 y x"]]:
    """Yield a shot's frames in order, one tile of time (the release: 49, then 48 frames) at a time."""
    height, width = latents.shape[2:]
    yield from stream_frames(vae, lambda start, end: latents[:, start:end], latents.shape[1], height, width)


@torch.no_grad()
def stream_frames(
    vae: Any,
    read: ReadLatents,
    num_latents: int,
    height: int,
    width: int,
    first_time: int = 0,
    end_time: int | None = None,
) -> Iterator[Float[Tensor, "f 3 y x"]]:
    """Yield the frames of time tiles [first_time, end_time) of a shot whose latents are read tile by tile.

    Holds two time tiles of pixels, whatever the shot's length. A run that starts at a later tile decodes the tile
    before it too, for the blend. Several machines may share a shot: any division gives the same frames.
    """
    tiling = tiling_of(vae)
    tiles = plan_tiles(num_latents, height, width, tiling)
    last = tiles[-1].time_index + 1 if end_time is None else end_time
    previous: Tensor | None = None
    for time_index in range(max(first_time - 1, 0), last):
        here = [tile for tile in tiles if tile.time_index == time_index]
        start, end = here[0].latents
        frames = join_space((decode_tile(vae, read(start, end), tile) for tile in here), here, tiling)
        if previous is not None:
            blend(previous, frames, axis=1, extent=TIME * (tiling.time - tiling.time_stride))
        previous = frames
        if time_index >= first_time:
            yield rearrange(frames[:, : here[0].num_frames], "c f h w -> f c h w")


def decode_tile(vae: Any, latents: Float[Tensor, "c t h w"], tile: Tile) -> Float[Tensor, "3 f y x"]:
    """Decode one tile from the latents of its time range (whole height and width); tiles know nothing of each other.

    A later tile of time loses its first frame: that one was decoded without its past.
    """
    part = latents[:, :, slice(*tile.rows), slice(*tile.columns)]
    z = denormalise(vae, part.to(vae.dtype))[None]
    frames: Tensor = vae.decoder(vae.post_quant_conv(z))[0]
    return frames[:, 1:] if tile.time_index else frames


def join_space(
    decoded: Iterator[Float[Tensor, "3 _ _ _"]], tiles: list[Tile], tiling: Tiling
) -> Float[Tensor, "3 f y x"]:
    """Join the tiles of one time range (in plan order) with linear blends over their overlap, down and then right."""
    extent, stride = SPACE * (tiling.space - tiling.space_stride), SPACE * tiling.space_stride
    if len(tiles) == 1:
        return next(iter(decoded))
    lines: list[Tensor] = []
    above: list[Tensor] = []
    line: list[Tensor] = []
    for tile, frames in zip(tiles, decoded, strict=True):
        if tile.row_index:
            blend(above[tile.column_index], frames, axis=2, extent=extent)
        if tile.column_index:
            blend(line[-1], frames, axis=3, extent=extent)
        line.append(frames)
        if tile.last_column:
            lines.append(torch.cat([part[:, :, :stride, :stride] for part in line], dim=3))
            above, line = line, []
    return torch.cat(lines, dim=2)


def blend(before: Float[Tensor, "3 _ _ _"], after: Float[Tensor, "3 _ _ _"], axis: int, extent: int) -> None:
    """Fade the end of `before` into the start of `after` along an axis, in place: weight 0 at the first cell."""
    extent = min(before.shape[axis], after.shape[axis], extent)
    shape = [1] * 4
    shape[axis] = extent
    weight = (torch.arange(extent, dtype=torch.float32) / extent).reshape(shape).to(after)
    head = after.narrow(axis, 0, extent)
    tail = before.narrow(axis, before.shape[axis] - extent, extent)
    head.copy_(tail * (1 - weight) + head * weight)
