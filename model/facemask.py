"""Where a voice may act: face boxes as masks over pixels, latent cells and tokens.

c characters, t latents, h w sides (pixels, latents of 8 pixels, or tokens of 16). Boxes are (x, y, width, height) in
pixels.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from einops import reduce
from jaxtyping import Float, UInt8
from torch import Tensor

from model.sizes import latent_size

RELEASED_MARGIN = 3.0  # both sides of the box times three: nine times its area

Box = tuple[float | int, float | int, float | int, float | int]


class Face(NamedTuple):
    """A face and how far around it its voice may act; margin 1 is the box itself."""

    box: Box
    margin: float | int = RELEASED_MARGIN


def whole_picture(width: int, height: int) -> Face:
    """Return the face that the release assumes where none was found: everything is masked in."""
    return Face((0.0, 0.0, float(width), float(height)))


def expand(face: Face, width: int, height: int) -> tuple[int, int, int, int]:
    """Return (left, top, right, bottom) of the enlarged box inside the picture, half-open, by the released rounding.

    Raises: ValueError for an empty box or one outside the picture.
    """
    x, y, w, h = face.box
    if w <= 0 or h <= 0 or face.margin <= 0 or x + w <= 0 or y + h <= 0 or x >= width or y >= height:
        raise ValueError(
            f"face {face.box} x {face.margin}: no part of it lies in a picture of {width} x {height} pixels"
        )
    left, right = _span(x, w, face.margin, width)
    top, bottom = _span(y, h, face.margin, height)
    return left, top, right, bottom


def _span(start: float | int, size: float | int, margin: float | int, limit: int) -> tuple[int, int]:
    centre, half = (start + start + size) // 2, margin * size // 2  # floored floats, as in the release
    return int(max(centre - half, 0)), int(min(centre + half, limit))


def pixel_mask(face: Face, width: int, height: int) -> UInt8[Tensor, "h w"]:
    """Return one face's mask over pixels: 1 inside the enlarged box."""
    left, top, right, bottom = expand(face, width, height)
    mask = torch.zeros(height, width, dtype=torch.uint8)
    mask[top:bottom, left:right] = 1
    return mask


def latent_masks(faces: Sequence[Face | None], width: int, height: int) -> Float[Tensor, "c h w"]:
    """Return one mask a character over latent cells, in 0, 1/4, 1/2, 1; over characters they sum to at most 1.

    Where enlarged boxes overlap, a pixel belongs to the face that is nearest in units of that face's own box. None is a
    character out of the picture: all zeros. One face gives the released mask: bilinear at 1/8 reads the 2 x 2 pixels
    (8i + 3, 8i + 4), so only those are computed.
    """
    columns, rows = latent_size(width, height)
    y, x = _read_pixels(rows), _read_pixels(columns)
    nearest = torch.full((2 * rows, 2 * columns), torch.inf, dtype=torch.float64)
    owner = torch.full((2 * rows, 2 * columns), -1)
    for index, face in enumerate(faces):
        if face is None:
            continue
        left, top, right, bottom = expand(face, width, height)
        inside = ((y >= top) & (y < bottom))[:, None] & ((x >= left) & (x < right))[None]
        distance = _distance(face.box, x, y).where(inside, torch.inf)
        owner[distance < nearest] = index
        nearest = torch.minimum(nearest, distance)
    owned = torch.stack([owner == index for index in range(len(faces))]).float()
    masks: Tensor = reduce(owned, "c (h i) (w j) -> c h w", "mean", i=2, j=2)
    return masks


def _read_pixels(cells: int) -> Tensor:
    return (8 * torch.arange(cells)[:, None] + torch.tensor([3, 4])).flatten().double()


def _distance(box: Box, x: Float[Tensor, "w"], y: Float[Tensor, "h"]) -> Float[Tensor, "h w"]:
    """Return how far pixel centres are from the box's centre, in boxes (largest of the two axes)."""
    left, top, w, h = box
    across, down = ((x + 0.5 - left) / w - 0.5).abs(), ((y + 0.5 - top) / h - 0.5).abs()
    return torch.maximum(across[None], down[:, None])


def moving_masks(tracks: Sequence[Sequence[Face | None]], width: int, height: int) -> Float[Tensor, "c t h w"]:
    """Return masks of faces that move: `tracks[character][latent]`, all of one length."""
    if len({len(track) for track in tracks}) != 1:
        raise ValueError(f"face tracks have {[len(track) for track in tracks]} latents; all must have the same number")
    moments = list(zip(*tracks, strict=True))
    made = {faces: latent_masks(faces, width, height) for faces in dict.fromkeys(moments)}
    return torch.stack([made[faces] for faces in moments], dim=1)


def track_face(
    keys: Sequence[tuple[int, Box]], num_latents: int, margin: float | int = RELEASED_MARGIN
) -> tuple[Face, ...]:
    """Return a face for every latent from (frame, box) keys in order: straight lines between them, still outside.

    Latent 0 shows frame 0; latent l shows frames 4l - 3 to 4l and takes the box of their middle.
    """
    if not keys or any(a[0] >= b[0] for a, b in pairwise(keys)):
        raise ValueError(f"face keys at frames {[frame for frame, _ in keys]}: need one or more, in rising order")
    return tuple(Face(_box_at(keys, max(4 * latent - 1.5, 0.0)), margin) for latent in range(num_latents))


def _box_at(keys: Sequence[tuple[int, Box]], frame: float | int) -> Box:
    if frame <= keys[0][0]:
        return keys[0][1]
    for (start, a), (end, b) in pairwise(keys):
        if frame < end:
            share = (frame - start) / (end - start)
            x, y, w, h = (p + share * (q - p) for p, q in zip(a, b))
            return x, y, w, h
    return keys[-1][1]


def token_mask(latent_mask: Float[Tensor, "*c h w"]) -> Float[Tensor, "*c h2 w2"]:
    """Return what the network reads of a latent mask: every second cell, not their mean (as in the release)."""
    return latent_mask[..., ::2, ::2]
