"""Hair of ten styles, behind and in front of the head. Head units, y down, (0, 0) mid-head."""

import numpy as np

from tasks.puppet.canvas import Frame, Points, ellipse, ink, mix, smooth
from tasks.puppet.expression import Expression
from tasks.puppet.identity import Identity

_FRINGES: dict[str, list[tuple[float, float]]] = {  # inner edge, right temple to left temple
    "bob": [(0.93, 0.28), (0.8, -0.2), (0.46, -0.4), (0.05, -0.34), (-0.4, -0.4), (-0.78, -0.22), (-0.93, 0.28)],
    "short": [(0.93, -0.05), (0.84, -0.34), (0.5, -0.36), (0.1, -0.56), (-0.4, -0.66), (-0.82, -0.46), (-0.93, -0.05)],
    "spiky": [(0.93, -0.05), (0.72, -0.5), (0.5, -0.28), (0.24, -0.56), (-0.04, -0.3), (-0.34, -0.56),
            (-0.62, -0.32), (-0.93, -0.05)],
    "long": [(0.95, 0.45), (0.84, -0.1), (0.42, -0.5), (0.0, -0.84), (-0.42, -0.5), (-0.84, -0.1), (-0.95, 0.45)],
    "bun": [(0.93, -0.08), (0.74, -0.46), (0.3, -0.66), (0.0, -0.7), (-0.3, -0.66), (-0.74, -0.46), (-0.93, -0.08)],
    "curly": [(0.98, 0.0), (0.78, -0.36), (0.5, -0.44), (0.26, -0.56), (0.0, -0.5), (-0.26, -0.58), (-0.5, -0.44),
            (-0.78, -0.36), (-0.98, 0.0)],
    "ponytail": [(0.93, 0.0), (0.78, -0.42), (0.34, -0.62), (-0.18, -0.5), (-0.62, -0.28), (-0.86, -0.1), (-0.93, 0.1)],
    "buzz": [(0.92, -0.2), (0.78, -0.54), (0.4, -0.72), (0.0, -0.74), (-0.4, -0.72), (-0.78, -0.54), (-0.92, -0.2)],
    "beanie": [(0.93, 0.05), (0.84, -0.22), (0.46, -0.34), (0.0, -0.36), (-0.46, -0.34), (-0.84, -0.22), (-0.93, 0.05)],
    "pigtails": [(0.93, 0.05), (0.76, -0.36), (0.36, -0.42), (0.0, -0.74), (-0.36, -0.42), (-0.76, -0.36),
            (-0.93, 0.05)],
}  # fmt: skip
_HEIGHT = {"buzz": 1.03, "bun": 1.08, "ponytail": 1.1, "spiky": 1.14, "curly": 1.16}


def head_outline(who: Identity) -> Points:
    """Return the head's outline, ear to chin to ear and over the top: (n, 2)."""
    half = [(0.0, -1.0), (0.5, -0.92), (0.88, -0.56), (1.0, -0.02), (0.93, 0.42), (who.jaw + 0.04, 0.8), (0.28, 0.99)]
    right = [(x * who.head_width, y) for x, y in half]
    left = [(-x, y) for x, y in reversed(right[1:])]
    return smooth([*right, (0.0, 1.02), *left])


def draw_back_hair(at: Frame, who: Identity) -> None:
    """Draw what hangs or stands behind the head."""
    wide, dark = who.head_width, mix(who.hair, ink(who.hair), 0.3)
    side = -1.0 if who.flip else 1.0
    if who.hair_style == "bob":
        at.fill(
            smooth(
                [
                    (0, -1.24),
                    (0.86, -1.0),
                    (1.2 * wide, -0.1),
                    (1.22 * wide, 0.7),
                    (0.7, 0.96),
                    (-0.7, 0.96),
                    (-1.22 * wide, 0.7),
                    (-1.2 * wide, -0.1),
                    (-0.86, -1.0),
                ]
            ),
            dark,
        )
    elif who.hair_style == "long":
        at.fill(
            smooth(
                [
                    (0, -1.24),
                    (0.88, -1.0),
                    (1.2 * wide, -0.1),
                    (1.26 * wide, 1.0),
                    (1.1, 1.9),
                    (-1.1, 1.9),
                    (-1.26 * wide, 1.0),
                    (-1.2 * wide, -0.1),
                    (-0.88, -1.0),
                ]
            ),
            dark,
        )
    elif who.hair_style == "bun":
        at.fill(ellipse(0.0, -1.26, 0.4, 0.36), who.hair)
        at.fill(ellipse(0.0, -0.3, 1.04 * wide, 0.86), dark)
    elif who.hair_style == "curly":
        angle = np.linspace(-0.25 * np.pi, 1.25 * np.pi, 13)
        for turn in angle:
            at.fill(ellipse(1.06 * wide * np.cos(turn), -0.3 - 0.86 * np.sin(turn), 0.34, 0.34, 14), dark)
    elif who.hair_style == "ponytail":
        at.fill(
            smooth(
                [
                    (side * 0.5, -1.0),
                    (side * 1.2, -0.9),
                    (side * 1.5, -0.1),
                    (side * 1.34, 0.9),
                    (side * 1.08, 0.5),
                    (side * 1.0, -0.2),
                ]
            ),
            dark,
        )
    elif who.hair_style == "pigtails":
        for sign in (-1, 1):
            at.fill(
                smooth(
                    [
                        (sign * 0.9, -0.6),
                        (sign * 1.4, -0.62),
                        (sign * 1.62, 0.0),
                        (sign * 1.36, 0.62),
                        (sign * 1.08, 0.1),
                    ]
                ),
                who.hair,
            )
    elif who.hair_style in ("short", "spiky", "beanie"):
        at.fill(ellipse(0.0, -0.2, 1.05 * wide, 0.8), dark)


def _outer(who: Identity, height: float) -> list[tuple[float, float]]:
    """Return the outer edge of the front hair, left temple to right temple."""
    side = who.head_width * (1.0 if who.hair_style == "buzz" else 1.07)
    start = _FRINGES[who.hair_style][0][1]
    arch = [(-1.0, start), (-1.0, min(start, -0.1) - 0.15), (-0.84, -0.74), (-0.46, -1.0), (0.0, -1.09)]
    left = [(x * side, y * (height if y < -0.3 else 1.0)) for x, y in arch]
    return left + [(-x, y) for x, y in reversed(left[:-1])]


def _spikes(who: Identity) -> Points:
    tips = np.linspace(np.pi * 1.02, -0.02 * np.pi, 15)
    reach = np.where(np.arange(15) % 2 == 1, 1.34, 1.02)
    return np.stack([who.head_width * 1.02 * reach * np.cos(tips), -0.1 - reach * np.sin(tips)], axis=1)


def draw_front_hair(at: Frame, who: Identity, face: Expression) -> None:
    """Draw the hair over the forehead, its shine, and hats."""
    fringe = np.array(_FRINGES[who.hair_style]) * [who.head_width, 1.0]
    fringe = fringe * [-1, 1] if who.flip else fringe
    fringe = fringe[::-1] if who.flip else fringe
    middle = 1.0 - np.clip(np.abs(fringe[:, 0]), 0, 1)
    fringe = fringe + np.stack([0.13 * face.yaw * middle, 0.05 * face.pitch * middle], axis=1)
    outer = np.array(_outer(who, _HEIGHT.get(who.hair_style, 1.14)))
    if who.hair_style == "spiky":
        at.fill(np.concatenate([_spikes(who), smooth(fringe, closed=False)]), who.hair)
    elif who.hair_style == "curly":
        at.fill(np.concatenate([smooth(outer, closed=False), smooth(fringe, closed=False)]), who.hair, 0)
        for x, y in fringe[1:-1]:
            at.fill(ellipse(x, y - 0.12, 0.22, 0.22, 14), who.hair, 0)
    else:
        at.fill(np.concatenate([smooth(outer, closed=False), smooth(fringe, closed=False)]), who.hair)
    if who.hair_style in ("bob", "long", "short", "ponytail", "bun", "pigtails"):
        lean = -1 if who.flip else 1
        arc = smooth([(lean * 0.3, -0.93), (lean * 0.52, -0.86), (lean * 0.68, -0.7)], closed=False)
        at.line(arc + np.array((0.08 * face.yaw, 0.0)), mix(who.hair, (255, 255, 255), 0.42), 0.09)
    if who.hair_style == "beanie":
        at.fill(
            smooth(
                [
                    (-1.06, -0.42),
                    (-0.96, -0.92),
                    (-0.5, -1.3),
                    (0, -1.38),
                    (0.5, -1.3),
                    (0.96, -0.92),
                    (1.06, -0.42),
                    (0.5, -0.54),
                    (0, -0.58),
                    (-0.5, -0.54),
                ]
            ),
            who.accent,
        )
        at.fill(
            smooth(
                [
                    (-1.1, -0.3),
                    (-1.08, -0.56),
                    (-0.5, -0.7),
                    (0, -0.74),
                    (0.5, -0.7),
                    (1.08, -0.56),
                    (1.1, -0.3),
                    (0.5, -0.42),
                    (0, -0.46),
                    (-0.5, -0.42),
                ]
            ),
            mix(who.accent, (255, 255, 255), 0.35),
        )
    if who.hair_style in ("bob", "pigtails") and who.earrings:
        for sign in (-1, 1):
            at.fill(smooth([(0.5, -0.92), (0.5 + sign * 0.26, -1.1), (0.5 + sign * 0.26, -0.78)]), who.accent, 0.045)
