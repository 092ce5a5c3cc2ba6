"""What a detector finds, and what a detector is. Images are RGB, uint8, (h, w, 3); boxes normalised 0..1."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tasks.plan.types import FaceBox

Image = NDArray[np.uint8]
Vector = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class DetectedFace:
    """A face, how sure the detector is (0..1), and its identity vector where the detector has one.

    Identity vectors live in memory only; nothing here is ever written.
    """

    box: FaceBox
    score: float
    embedding: Vector | None = None


class Detector(Protocol):
    """Finds faces. `name` and `licence` are shown to the person who uses it."""

    name: str
    licence: str

    def detect(self, image: Image) -> list[DetectedFace]:
        """Return the faces in a picture, from left to right."""
        ...


def overlap(a: FaceBox, b: FaceBox) -> float:
    """Return intersection over union of two boxes."""
    wide = min(a.x + a.w, b.x + b.w) - max(a.x, b.x)
    high = min(a.y + a.h, b.y + b.h) - max(a.y, b.y)
    shared = max(wide, 0.0) * max(high, 0.0)
    return shared / (a.w * a.h + b.w * b.h - shared)


def clip_box(x: float, y: float, w: float, h: float) -> FaceBox:
    """Return the part of a box inside the picture, rounded to 1/10,000."""
    left, top = min(max(x, 0.0), 0.9999), min(max(y, 0.0), 0.9999)
    right, bottom = min(max(x + w, left + 0.0001), 1.0), min(max(y + h, top + 0.0001), 1.0)
    return FaceBox(round(left, 4), round(top, 4), round(right - left, 4), round(bottom - top, 4))


def without_doubles(faces: list[DetectedFace], most_overlap: float = 0.3) -> list[DetectedFace]:
    """Return the surest faces that do not cover each other, from left to right."""
    kept: list[DetectedFace] = []
    for face in sorted(faces, key=lambda one: (-one.score, one.box.x, one.box.y)):
        if all(overlap(face.box, other.box) <= most_overlap and not _inside(face.box, other.box) for other in kept):
            kept.append(face)
    return sorted(kept, key=lambda one: (one.box.x, one.box.y))


def _inside(a: FaceBox, b: FaceBox) -> bool:
    """Return whether one box's middle lies in the other, either way."""
    return any(
        box.x < other.x + other.w / 2 < box.x + box.w and box.y < other.y + other.h / 2 < box.y + box.h
        for box, other in ((a, b), (b, a))
    )
