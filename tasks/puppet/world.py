"""The drawn world: plates, portraits and clips of cartoon characters, deterministic from a seed.

Pictures are RGB uint8 (height, width, 3). Boxes are faces, normalised 0..1, brow to chin and ear to ear.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from tasks.plan.types import FaceBox
from tasks.puppet.canvas import Frame, Image
from tasks.puppet.expression import Expression, express
from tasks.puppet.face import draw_character
from tasks.puppet.identity import Colour, Identity, draw_identity
from tasks.puppet.motion import Acting, act
from tasks.puppet.scene import draw_scene

SIZE = (192, 128)  # width, height that the shipped weights were trained at
_UNITS = {1: 0.3, 2: 0.258, 3: 0.176, 4: 0.134}  # head unit as a share of the height, at 3:2
_LIFTS = {1: 0.47, 2: 0.5, 3: 0.54, 4: 0.57}  # of mid-head, from the top
_TOKEN = 16  # pixels
_FACE = (0.95, -0.8, 1.03)  # half width (of the head's own), top and bottom of the face box, head units


@dataclass(frozen=True)
class Stand:
    """Where a character stands: mid-head and head unit, as shares of width, height and height."""

    x: float
    y: float
    unit: float


def roomy_size(characters: int) -> tuple[int, int]:
    """Return a picture as high as SIZE in which so many faces are as large as two are in SIZE: (width, height)."""
    return max(SIZE[0], SIZE[0] // 2 * characters), SIZE[1]


def stands(seed: int, characters: int, size: tuple[int, int] = SIZE) -> tuple[Stand, ...]:
    """Return where 1 to 4 characters stand, left to right, with a little disorder, on the network's grid."""
    rng = np.random.default_rng([seed, characters, 3])
    aspect = size[0] / size[1] / 1.5
    largest = _UNITS[min(characters, 2)]  # two fill the height: a wider picture gives more of them room, not size
    room = min(_UNITS[characters] * aspect, largest)
    lift = _LIFTS[2 if room == largest and characters > 1 else characters]
    xs = [(k + 0.5 + float(rng.uniform(-0.12, 0.12))) / characters for k in range(characters)]
    return tuple(Stand(_snapped(x, size[0]), _snapped(lift, size[1]), room) for x in xs)


def _snapped(share: float, pixels: int) -> float:
    """Return a place on the network's grid of tokens: a small network draws sharper where lips fall alike."""
    return round(share * pixels / _TOKEN) * _TOKEN / pixels


def face_box(stand: Stand, who: Identity, size: tuple[int, int]) -> FaceBox:
    """Return the face box of a character at rest."""
    half, top, bottom = _FACE
    wide = half * who.head_width * stand.unit * size[1] / size[0]
    x, y = stand.x - wide, stand.y + top * stand.unit
    return FaceBox(x=round(x, 4), y=round(y, 4), w=round(2 * wide, 4), h=round((bottom - top) * stand.unit, 4))


def draw_frame(
    background: Image,
    cast: tuple[Identity, ...],
    places: tuple[Stand, ...],
    faces: tuple[Expression, ...],
    scale: int = 2,
) -> Image:
    """Draw characters over a background that is `scale` times the picture: (h·s, w·s, 3) to (h, w, 3)."""
    canvas = background.copy()
    height, width = canvas.shape[:2]
    for who, place, face in zip(cast, places, faces, strict=True):
        unit = place.unit * height
        x, y = place.x * width, place.y * height
        body = Frame(canvas, x + 0.03 * unit * face.yaw, y + 0.12 * unit * face.bob, unit)
        head = Frame(
            canvas, x + 0.12 * unit * face.yaw + 0.5 * unit * np.sin(face.roll), y + unit * face.bob, unit, face.roll
        )
        draw_character(body, head, who, face)
    return np.asarray(cv2.resize(canvas, (width // scale, height // scale), interpolation=cv2.INTER_AREA), np.uint8)


def draw_plate(seed: int, characters: int = 2, size: tuple[int, int] = SIZE) -> tuple[Image, list[FaceBox]]:
    """Draw a plate of 1 to 4 calm characters with shut mouths; return it and their face boxes, left to right."""
    cast = tuple(draw_identity(seed, k) for k in range(characters))
    places = stands(seed, characters, size)
    background, _ = draw_scene(seed, 2 * size[0], 2 * size[1])
    picture = draw_frame(background, cast, places, (Expression(),) * characters)
    return picture, [face_box(place, who, size) for place, who in zip(places, cast, strict=True)]


def draw_portrait(seed: int, character: int, emotion: str = "neutral", strength: float = 1.0, size: int = 256) -> Image:
    """Draw one character's face filling a square picture, as reference or emotion picture."""
    who = draw_identity(seed, character)
    background, _ = draw_scene(seed + 7919 * (character + 1), 2 * size, 2 * size)
    return draw_frame(background, (who,), (Stand(0.5, 0.54, 0.34),), (replace(express(emotion, strength)),))


LIGHTS: dict[str, tuple[float, float, float]] = {"night": (0.5, 0.56, 0.84), "sunset": (1.06, 0.84, 0.66)}
DYES: dict[str, Colour] = {"blue": (70, 116, 204), "pink": (238, 130, 180), "green": (84, 176, 98)}


@dataclass(frozen=True)
class ClipSpec:
    """A clip of a plate's characters: how each acts, and what the prompt changes against the plate."""

    seed: int
    acting: tuple[Acting, ...]
    fps: float = 25.0
    light: str = ""  # a word of LIGHTS
    dye: str = ""  # a word of DYES: everybody's hair
    size: tuple[int, int] = SIZE


def prompt_of(spec: ClipSpec) -> str:
    """Return the prompt that a clip answers to."""
    words = [spec.light] if spec.light else []
    return " ".join([*words, *((spec.dye, "hair") if spec.dye else ())])


def draw_clip(spec: ClipSpec, motion_seed: int = 0) -> Image:
    """Draw a clip of the plate `draw_plate(spec.seed, len(spec.acting))`: (f, height, width, 3) uint8."""
    count = len(spec.acting)
    cast = tuple(draw_identity(spec.seed, k) for k in range(count))
    if spec.dye:
        cast = tuple(replace(who, hair=DYES[spec.dye]) for who in cast)
    places = stands(spec.seed, count, spec.size)
    background, _ = draw_scene(spec.seed, 2 * spec.size[0], 2 * spec.size[1])
    tracks = [act(hash_seed(spec.seed, motion_seed, k), acting, spec.fps) for k, acting in enumerate(spec.acting)]
    frames = np.stack([draw_frame(background, cast, places, faces) for faces in zip(*tracks, strict=True)])
    if spec.light:
        frames = np.clip(frames * np.array(LIGHTS[spec.light]), 0, 255).astype(np.uint8)
    return frames


def hash_seed(*numbers: int) -> int:
    """Return one 63-bit seed for a tuple of them."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))
