"""Which tiles a shot is decoded in: integers only. All positions in latents; one latent is 4 frames of 8x8 pixels."""

from typing import NamedTuple

TIME = 4  # frames of a latent, the first excepted
SPACE = 8  # pixels of a latent, either way


class Tiling(NamedTuple):
    """Sides of a tile and steps between tiles, in latents; a tile of time reads one latent more than `time`."""

    space: int = 32
    space_stride: int = 24
    time: int = 16
    time_stride: int = 12


class Tile(NamedTuple):
    """One independent piece of work: half-open ranges, its place, and how many frames of it are kept."""

    time_index: int
    row_index: int
    column_index: int
    latents: tuple[int, int]
    rows: tuple[int, int]
    columns: tuple[int, int]
    num_frames: int
    last_column: bool


def plan_tiles(num_latents: int, height: int, width: int, tiling: Tiling) -> tuple[Tile, ...]:
    """Return a shot's tiles by time, then row, then column; the kept frames sum to 4 (latents - 1) + 1.

    A last tile of time of a single latent, which the release decodes for no frame at all, is left out.
    """
    if min(num_latents, height, width) < 1:
        raise ValueError(f"{num_latents} latents of {height} x {width} cells: nothing to decode")
    tiled = max(height, width) > tiling.space  # one side too large: both are tiled, as in the release
    rows, columns = (
        _ranges(side, tiling.space, tiling.space_stride) if tiled else [(0, side)] for side in (height, width)
    )
    tiles = []
    for time_index, (latents, num_frames) in enumerate(plan_time(num_latents, tiling)):
        for i, row in enumerate(rows):
            for j, column in enumerate(columns):
                tiles.append(Tile(time_index, i, j, latents, row, column, num_frames, j == len(columns) - 1))
    return tuple(tiles)


def plan_time(num_latents: int, tiling: Tiling) -> list[tuple[tuple[int, int], int]]:
    """Return (latents of a tile of time, frames kept of it) in order; tiles k > 0 drop their first frame."""
    if num_latents <= tiling.time:
        return [((0, num_latents), TIME * (num_latents - 1) + 1)]
    plan = []
    for start in range(0, num_latents - 1, tiling.time_stride):
        end = min(start + tiling.time + 1, num_latents)
        kept = min(TIME * tiling.time_stride, TIME * (num_latents - 1 - start)) + (start == 0)
        plan.append(((start, end), kept))
    return plan


def _ranges(side: int, size: int, stride: int) -> list[tuple[int, int]]:
    return [(start, min(start + size, side)) for start in range(0, side, stride)]
