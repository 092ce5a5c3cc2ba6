"""Backgrounds as simple scenes: soft flat shapes that leave the faces in front. Colours are RGB."""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.random import Generator

from tasks.puppet.canvas import Frame, Image, ellipse, mix, smooth
from tasks.puppet.identity import Colour


def _rect(x0: float, y0: float, x1: float, y1: float) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])


def _tone(rng: Generator, colour: Colour, jitter: float = 10.0) -> Colour:
    red, green, blue = np.clip(np.array(colour) + rng.normal(0, jitter, 3), 0, 255).astype(int).tolist()
    return red, green, blue


def _gradient(image: Image, top: Colour, bottom: Colour) -> None:
    share = np.linspace(0, 1, image.shape[0])[:, None, None]
    image[:] = (np.array(top) * (1 - share) + np.array(bottom) * share).astype(np.uint8)


def _hills(at: Frame, rng: Generator, colour: Colour, height: float, wide: float) -> None:
    xs = np.linspace(-0.1, wide + 0.1, 6)
    top = [(float(x), height + float(rng.uniform(-0.07, 0.07))) for x in xs]
    line = smooth(top, closed=False)
    at.fill(np.concatenate([line, [(wide + 0.1, 1.2), (-0.1, 1.2)]]), colour, 0)


def draw_park(at: Frame, rng: Generator, wide: float) -> None:
    _gradient(at.image, _tone(rng, (168, 216, 240)), _tone(rng, (226, 240, 236)))
    for _ in range(2):
        x, y = rng.uniform(0.1, wide - 0.1), rng.uniform(0.08, 0.26)
        for step, size in ((-0.09, 0.06), (0.0, 0.09), (0.1, 0.065)):
            at.fill(ellipse(x + step, y, size * 1.3, size), (250, 252, 252), 0)
    _hills(at, rng, _tone(rng, (164, 208, 156)), 0.52, wide)
    for x in rng.uniform(0.0, wide, 3):
        at.fill(_rect(x - 0.02, 0.5, x + 0.02, 0.75), (150, 116, 88), 0)
        at.fill(ellipse(float(x), 0.44, 0.13, 0.15), _tone(rng, (124, 182, 120)), 0)
    _hills(at, rng, _tone(rng, (134, 190, 124)), 0.72, wide)


def draw_beach(at: Frame, rng: Generator, wide: float) -> None:
    _gradient(at.image, _tone(rng, (150, 212, 240)), _tone(rng, (244, 236, 220)))
    at.fill(ellipse(float(rng.uniform(0.1, wide - 0.1)), 0.2, 0.1, 0.1), (255, 236, 160), 0)
    at.fill(_rect(-0.1, 0.5, wide + 0.1, 1.1), _tone(rng, (96, 180, 204)), 0)
    at.fill(_rect(-0.1, 0.5, wide + 0.1, 0.53), (150, 212, 224), 0)
    _hills(at, rng, _tone(rng, (244, 220, 168)), 0.74, wide)


def draw_room(at: Frame, rng: Generator, wide: float) -> None:
    wall = _tone(rng, [(244, 222, 196), (204, 222, 216), (232, 212, 226), (214, 220, 240)][int(rng.integers(4))])
    at.image[:] = wall
    at.fill(_rect(-0.1, 0.8, wide + 0.1, 1.1), mix(wall, (150, 104, 84), 0.55), 0)
    x = float(rng.uniform(0.1, wide - 0.5))
    at.fill(_rect(x, 0.1, x + 0.42, 0.56), (252, 250, 244), 0)
    at.fill(_rect(x + 0.03, 0.13, x + 0.39, 0.53), _tone(rng, (170, 212, 236)), 0)
    at.fill(_rect(x + 0.2, 0.1, x + 0.22, 0.56), (252, 250, 244), 0)
    y = (x + 0.5 * wide) % max(wide - 0.3, 0.1)
    at.fill(_rect(y, 0.16, y + 0.24, 0.42), mix(wall, (255, 255, 255), 0.6), 0)
    at.fill(ellipse(y + 0.12, 0.29, 0.07, 0.08), _tone(rng, (232, 150, 110), 30), 0)


def draw_library(at: Frame, rng: Generator, wide: float) -> None:
    wood = _tone(rng, (168, 122, 92))
    at.image[:] = mix(wood, (70, 48, 48), 0.35)
    books = [(206, 108, 92), (226, 178, 104), (112, 154, 138), (108, 124, 172), (208, 196, 176)]
    for shelf in range(4):
        floor = 0.24 + 0.27 * shelf
        x = 0.01
        while x < wide:
            thick, tall = float(rng.uniform(0.05, 0.09)), float(rng.uniform(0.15, 0.2))
            colour = mix(_tone(rng, books[int(rng.integers(5))]), wood, 0.3)
            at.fill(_rect(x, floor - tall, x + thick - 0.008, floor), colour, 0)
            x += thick
        at.fill(_rect(-0.1, floor, wide + 0.1, floor + 0.04), wood, 0)


def draw_studio(at: Frame, rng: Generator, wide: float) -> None:
    base = [(248, 196, 120), (128, 196, 190), (236, 150, 140), (150, 168, 224), (192, 164, 216)][int(rng.integers(5))]
    colour = _tone(rng, base)
    at.image[:] = colour
    x, y = float(rng.uniform(0.2, wide - 0.2)), float(rng.uniform(0.3, 0.6))
    for size, share in ((0.75, 0.14), (0.52, 0.28), (0.3, 0.42)):
        at.fill(ellipse(x, y, size, size, 40), mix(colour, (255, 255, 255), share), 0)


def draw_city(at: Frame, rng: Generator, wide: float) -> None:
    _gradient(at.image, _tone(rng, (250, 206, 178)), _tone(rng, (250, 232, 210)))
    for depth, colour in ((0.0, (206, 178, 190)), (1.0, (166, 144, 172))):
        x = -0.05
        while x < wide:
            width, top = float(rng.uniform(0.14, 0.26)), float(rng.uniform(0.2, 0.46)) + 0.16 * depth
            at.fill(_rect(x, top, x + width, 1.1), _tone(rng, colour, 6), 0)
            if depth:
                for row in np.arange(top + 0.05, 0.95, 0.11):
                    for column in np.arange(x + 0.03, x + width - 0.04, 0.07):
                        at.fill(_rect(column, row, column + 0.03, row + 0.05), (250, 226, 170), 0)
            x += width + 0.015


SCENES: dict[str, Callable[[Frame, Generator, float], None]] = {
    "park": draw_park, "beach": draw_beach, "room": draw_room,
    "library": draw_library, "studio": draw_studio, "city": draw_city,
}  # fmt: skip


def draw_scene(seed: int, width: int, height: int) -> tuple[Image, str]:
    """Return a background (height, width, 3) uint8 and the scene's name; the same for ever for a seed."""
    rng = np.random.default_rng([seed, 7])
    name = list(SCENES)[int(rng.integers(len(SCENES)))]
    image: Image = np.zeros((height, width, 3), np.uint8)
    SCENES[name](Frame(image, 0.0, 0.0, float(height)), rng, width / height)
    return np.asarray(cv2.GaussianBlur(image, (0, 0), height / 170), np.uint8), name
