"""Anti-aliased flat drawing: points in head units are turned, scaled and filled with sub-pixel precision."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.puppet.identity import Colour

Points = NDArray[np.float64]
Image = NDArray[np.uint8]
INK = np.array((52.0, 34.0, 52.0))  # outlines lean towards dark plum, never black
_BITS = 5


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Return `first` moved towards `second` by `share` 0..1."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def ink(colour: Colour, share: float = 0.68) -> Colour:
    """Return the outline colour that goes with a fill."""
    return mix(colour, (int(INK[0]), int(INK[1]), int(INK[2])), share)


def smooth(points: "Points | list[tuple[float, float]]", closed: bool = True, detail: int = 6) -> Points:
    """Return a Catmull-Rom curve through the points: (n, 2) to (n·detail, 2)."""
    knots = np.asarray(points, dtype=np.float64)
    if closed:
        around = np.concatenate([knots[-1:], knots, knots[:2]])
    else:
        around = np.concatenate([2 * knots[:1] - knots[1:2], knots, 2 * knots[-1:] - knots[-2:-1]])
    share = (np.arange(detail) / detail)[None, :, None]
    a, b, c, d = (around[i : len(around) - 3 + i, None, :] for i in range(4))
    curve = 0.5 * (
        2 * b + (c - a) * share + (2 * a - 5 * b + 4 * c - d) * share**2 + (3 * b - a - 3 * c + d) * share**3
    )
    curve = curve.reshape(-1, 2)
    return curve if closed else np.concatenate([curve, knots[-1:]])


def ellipse(x: float, y: float, width: float, height: float, count: int = 20) -> Points:
    """Return the outline of an ellipse with half axes `width` and `height`: (count, 2)."""
    return _circle(count) * (width, height) + (x, y)


@lru_cache(maxsize=64)
def _circle(count: int) -> Points:
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


@dataclass(frozen=True)
class Frame:
    """Where a head or body stands: centre and pixels per head unit on the canvas, roll in radians."""

    image: Image
    x: float
    y: float
    unit: float
    roll: float = 0.0

    def place(self, points: Points) -> NDArray[np.int32]:
        """Return canvas points with sub-pixel bits: (n, 2)."""
        cos, sin = np.cos(self.roll) * self.unit, np.sin(self.roll) * self.unit
        turn = np.array(((cos, sin), (-sin, cos))) * (1 << _BITS)
        return np.asarray(np.rint(points @ turn + (self.x * (1 << _BITS), self.y * (1 << _BITS))), np.int32)

    def fill(self, points: Points, colour: Colour, outline: float = 0.055, edge: Colour | None = None) -> None:
        """Fill a closed shape; `outline` is its line width in head units (0: none)."""
        placed = self.place(points)
        cv2.fillPoly(self.image, [placed], colour, cv2.LINE_AA, _BITS)
        if outline:
            width = max(1, round(outline * self.unit))
            cv2.polylines(self.image, [placed], True, edge or ink(colour), width, cv2.LINE_AA, _BITS)

    def line(self, points: Points, colour: Colour, width: float = 0.055) -> None:
        """Draw an open line; `width` in head units."""
        thick = max(1, round(width * self.unit))
        cv2.polylines(self.image, [self.place(points)], False, colour, thick, cv2.LINE_AA, _BITS)
