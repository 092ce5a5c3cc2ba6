"""Finds the drawn world's faces: a few linear filters over colour, slid over the picture at many sizes.

The filters (20 x 20 x 3; one for each kind of skin, hair and beard) tell drawn faces from everything else in drawn
scenes; scripts/train_drawn_faces.py makes them from the world's own drawings. They know nothing about photographs.
"""

from functools import lru_cache
from importlib import resources

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.faces.types import DetectedFace, Image, clip_box, without_doubles

SIDE = 20  # the filter's; a face box is stretched to it
STEP = 2 ** (1 / 6)
LEAST_SHARE, MOST_SHARE = 0.12, 0.75  # of the picture's height that a face takes
LONGEST_SIDE = 416  # larger pictures are searched smaller
LEAST = 1.07  # of what a wrong place reaches on one plate in fifty; 80 unseen plates: 0 faces missed, 1 false
ASPECTS = (0.86, 1.0)  # box width by height, in pixels

Array = NDArray[np.float32]


@lru_cache(maxsize=1)
def load_filters() -> Array:
    """Return the filters (k, 20, 20, 3), and as their norm per channel the inverse of the response that is a face."""
    from safetensors.numpy import load

    tensors = load(resources.files("tasks.faces").joinpath("drawn.safetensors").read_bytes())
    return np.asarray(tensors["filters"] / tensors["thresholds"][:, None, None, None], np.float32)


def responses(image: Array, pattern: Array) -> Array:
    """Return how much each 20 x 20 place (h - 19, w - 19) looks like a face: mean over channels of correlations."""
    maps = []
    for channel in range(3):
        plane, part = (np.ascontiguousarray(one[..., channel]) for one in (image, pattern))
        maps.append(cv2.matchTemplate(plane, part, cv2.TM_CCOEFF_NORMED) * float(np.linalg.norm(part)))
    return np.asarray(np.nan_to_num(np.mean(maps, axis=0), nan=0.0, posinf=0.0, neginf=0.0), np.float32)


def scan(image: Image, filters: Array, least: float = 1.0) -> list[tuple[int, DetectedFace]]:
    """Return (filter, face) for every place and size whose response exceeds `least` and its neighbours'."""
    height, width = image.shape[:2]
    shrink = min(1.0, LONGEST_SIDE / max(height, width))
    small = cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA) if shrink < 1 else image
    found = []
    face_height = LEAST_SHARE * small.shape[0]
    while face_height <= MOST_SHARE * small.shape[0]:
        for aspect in ASPECTS:
            fx, fy = SIDE / (aspect * face_height), SIDE / face_height
            scaled = cv2.resize(small, None, fx=fx, fy=fy, interpolation=cv2.INTER_AREA).astype(np.float32)
            if min(scaled.shape[:2]) > SIDE:
                found += [(k, face) for k, pattern in enumerate(filters) for face in _peaks(scaled, pattern, least)]
        face_height *= STEP
    return found


def _peaks(scaled: Array, pattern: Array, least: float) -> list[DetectedFace]:
    answer = responses(scaled, pattern)
    places = np.argwhere((answer > least) & (answer >= cv2.dilate(answer, np.ones((5, 5), np.uint8))))
    height, width = scaled.shape[:2]
    return [
        DetectedFace(clip_box(x / width, y / height, SIDE / width, SIDE / height), float(answer[y, x]))
        for y, x in places
    ]


class DrawnFaceDetector:
    """Finds cartoon faces as the shipped world draws them."""

    name = "drawn"
    licence = "part of avatar-farm (Apache-2.0)"

    def detect(self, image: Image) -> list[DetectedFace]:
        """Return the drawn faces in a picture, from left to right."""
        found = [face for _, face in scan(image, load_filters(), LEAST)]
        return without_doubles([DetectedFace(one.box, min(1.0, one.score / 2)) for one in found])
