"""How alike two faces are: by a detector's identity vectors where it has them, by colours where it has not.

Colours tell drawn characters apart and little else: the margin of the assignment refuses what they cannot tell.
"""

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.faces.types import DetectedFace, Image, Vector
from tasks.plan.types import FaceBox

ROWS, COLUMNS = 12, 10
AROUND = 0.3  # hair and collar count: this share of the box is added on every side
EMBEDDED_LEAST, EMBEDDED_MARGIN = 0.25, 0.1  # cosine; insightface calls 0.28 to 0.4 the same person
COLOUR_LEAST, COLOUR_MARGIN = 0.35, 0.08
SCALES, SHIFTS = (0.94, 1.0, 1.06), (-0.05, 0.0, 0.05)


def colour_signature(image: Image, box: FaceBox) -> NDArray[np.float64]:
    """Return the colours of a face and its hair as a vector: a coarse Lab picture, the middle counting most."""
    height, width = image.shape[:2]
    w, h = box.w * width, box.h * height
    x, y = box.x * width - AROUND * w, box.y * height - AROUND * h
    step_x, step_y = w * (1 + 2 * AROUND) / COLUMNS, h * (1 + 2 * AROUND) / ROWS
    soft = cv2.blur(image, (max(1, round(step_x)), max(1, round(step_y))))
    warp = np.array([[step_x, 0, x + step_x / 2], [0, step_y, y + step_y / 2]], np.float32)
    small = cv2.warpAffine(
        soft, warp, (COLUMNS, ROWS), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
    )
    lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB).astype(np.float64)
    across = (np.arange(COLUMNS) + 0.5) / COLUMNS * 2 - 1
    down = (np.arange(ROWS) + 0.5) / ROWS * 2 - 1
    weight = np.exp(-1.5 * (across[None, :] ** 2 + down[:, None] ** 2))
    return np.asarray((lab * np.sqrt(weight / weight.sum())[..., None]).ravel())


def colour_likeness(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return 1 for the same colours, falling with their weighted distance: 0.5 at 20 Lab units."""
    return float(0.5 ** (np.linalg.norm(a - b) / 20))


def cosine(a: Vector, b: Vector) -> float:
    """Return the cosine of the angle between two identity vectors."""
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def likeness(portrait: tuple[Image, DetectedFace], plate: tuple[Image, DetectedFace]) -> float:
    """Return how alike two detected faces are, by vectors if both have one, else by colours."""
    (image_a, a), (image_b, b) = portrait, plate
    if a.embedding is not None and b.embedding is not None:
        return cosine(a.embedding, b.embedding)
    own = colour_signature(image_a, a.box)
    return max(colour_likeness(own, colour_signature(image_b, box)) for box in _nudged(b.box))


def _nudged(box: FaceBox) -> Iterator[FaceBox]:
    """Yield the box moved and scaled a little: two detections of one face differ by that much."""
    for scale in SCALES:
        w, h = box.w * scale, box.h * scale
        for right in SHIFTS:
            for down in SHIFTS:
                x, y = box.x + (box.w - w) / 2 + right * w, box.y + (box.h - h) / 2 + down * h
                yield FaceBox(x, y, w, h)
