"""Who a drawn character is: every lasting trait, drawn from a seed. Colours are RGB 0..255."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

Colour = tuple[int, int, int]

SKINS: tuple[Colour, ...] = (
    (255, 224, 196), (250, 208, 172), (241, 190, 150), (222, 166, 122),
    (196, 136, 94), (160, 106, 72), (124, 80, 56), (255, 214, 200),
)  # fmt: skip
HAIRS: tuple[Colour, ...] = (
    (58, 42, 50), (92, 58, 44), (140, 84, 48), (196, 128, 62), (238, 196, 98), (214, 92, 52),
    (176, 60, 70), (120, 96, 170), (74, 116, 178), (60, 140, 132), (226, 140, 172), (214, 214, 224),
)  # fmt: skip
EYES: tuple[Colour, ...] = ((74, 140, 196), (84, 156, 96), (134, 88, 52), (72, 66, 96), (60, 150, 160), (168, 120, 48))
CLOTHES: tuple[Colour, ...] = (
    (232, 96, 88), (244, 168, 72), (248, 212, 96), (112, 184, 112), (72, 168, 168),
    (84, 132, 208), (136, 112, 200), (224, 128, 176), (240, 236, 224), (84, 88, 112),
)  # fmt: skip
HAIR_STYLES = ("bob", "short", "spiky", "long", "bun", "curly", "ponytail", "buzz", "beanie", "pigtails")
CLOTH_STYLES = ("tee", "collar", "hoodie", "stripes", "turtleneck", "dungarees")


@dataclass(frozen=True)
class Identity:
    """Lasting traits; lengths in head units (1 = from the eyes' height to the chin)."""

    skin: Colour
    hair: Colour
    eye: Colour
    cloth: Colour
    accent: Colour
    hair_style: str
    cloth_style: str
    head_width: float
    jaw: float
    eye_size: float
    eye_gap: float
    iris: float
    brow_thickness: float
    nose: int  # 0 button, 1 line, 2 round
    mouth_width: float
    freckles: bool
    glasses: bool
    beard: bool
    moustache: bool
    earrings: bool
    lashes: bool
    flip: bool


def _pick(rng: Generator, colours: tuple[Colour, ...], jitter: float = 7.0) -> Colour:
    colour = np.array(colours[int(rng.integers(len(colours)))]) + rng.normal(0, jitter, 3)
    red, green, blue = np.clip(colour, 0, 255).astype(int).tolist()
    return red, green, blue


def draw_identity(seed: int, character: int) -> Identity:
    """Return the character number `character` of the cast `seed`; the same for ever."""
    rng = np.random.default_rng([seed, character, 1])
    style = HAIR_STYLES[int(rng.integers(len(HAIR_STYLES)))]
    rough = style in ("short", "spiky", "buzz", "beanie", "curly")
    return Identity(
        skin=_pick(rng, SKINS, 4.0),
        hair=_pick(rng, HAIRS, 6.0),
        eye=_pick(rng, EYES),
        cloth=_pick(rng, CLOTHES),
        accent=_pick(rng, CLOTHES),
        hair_style=style,
        cloth_style=CLOTH_STYLES[int(rng.integers(len(CLOTH_STYLES)))],
        head_width=float(rng.uniform(0.84, 0.98)),
        jaw=float(rng.uniform(0.5, 0.78)),
        eye_size=float(rng.uniform(0.25, 0.31)),
        eye_gap=float(rng.uniform(0.36, 0.42)),
        iris=float(rng.uniform(0.64, 0.76)),
        brow_thickness=float(rng.uniform(0.07, 0.11)),
        nose=int(rng.integers(3)),
        mouth_width=float(rng.uniform(0.3, 0.37)),
        freckles=bool(rng.random() < 0.22),
        glasses=bool(rng.random() < 0.2),
        beard=bool(rough and rng.random() < 0.18),
        moustache=bool(rough and rng.random() < 0.14),
        earrings=bool(not rough and rng.random() < 0.4),
        lashes=bool(not rough or rng.random() < 0.25),
        flip=bool(rng.random() < 0.5),
    )
