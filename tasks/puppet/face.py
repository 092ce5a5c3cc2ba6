"""Draws one character: body, hair, head and a large expressive face. Head units, y down, (0, 0) mid-head."""

import numpy as np

from tasks.puppet.canvas import Frame, Points, ellipse, ink, mix, smooth
from tasks.puppet.expression import Expression
from tasks.puppet.hair import draw_back_hair, draw_front_hair, head_outline
from tasks.puppet.identity import Colour, Identity

LIP: Colour = (196, 84, 92)
INSIDE: Colour = (112, 30, 48)
TONGUE: Colour = (232, 116, 124)
WHITE: Colour = (255, 253, 248)


def turned(points: Points, face: Expression, depth: float = 1.0) -> Points:
    """Return face points moved by the head's yaw and pitch; nearer parts move more."""
    across = points[:, 0]
    out: Points = points + np.array((0.2 * face.yaw * depth, 0.13 * face.pitch * depth))
    out[:, 0] -= 0.06 * abs(face.yaw) * across + 0.09 * face.yaw * depth * np.minimum(across * across, 1.0)
    return out


def draw_body(at: Frame, who: Identity) -> None:
    """Draw neck-down clothes; the body stands still while the head moves."""
    shoulders = smooth(
        [(-0.4, 1.16), (-1.0, 1.34), (-1.36, 1.8), (-1.5, 3.6), (1.5, 3.6), (1.36, 1.8), (1.0, 1.34), (0.4, 1.16)]
    )
    at.fill(shoulders, who.cloth)
    dark = mix(who.cloth, ink(who.cloth), 0.3)
    if who.cloth_style == "stripes":
        for top in (1.62, 2.02, 2.42):
            half = 1.2 if top < 1.8 else 1.32
            at.fill(np.array([(-half, top), (half, top), (half, top + 0.2), (-half, top + 0.2)]), who.accent, 0)
    if who.cloth_style == "dungarees":
        at.fill(np.array([(-0.8, 1.9), (0.8, 1.9), (0.95, 3.6), (-0.95, 3.6)]), who.accent)
        for side in (-1, 1):
            at.line(np.array([(side * 0.62, 1.3), (side * 0.66, 1.95)]), ink(who.accent, 0.25), 0.2)
    if who.cloth_style == "hoodie":
        at.fill(smooth([(-0.86, 1.22), (0.0, 1.0), (0.86, 1.22), (0.6, 1.72), (0.0, 1.86), (-0.6, 1.72)]), dark)
        for side in (-1, 1):
            at.line(np.array([(side * 0.2, 1.72), (side * 0.24, 2.2)]), WHITE, 0.06)


def draw_neck(at: Frame, head: Frame, who: Identity) -> None:
    """Draw the neck from the body up to the moving head, and the collar over it."""
    shift = (head.x - at.x) / at.unit * 0.6
    shade = mix(who.skin, ink(who.skin), 0.28)
    at.fill(smooth([(-0.3 + shift, 0.6), (-0.3, 1.2), (0.0, 1.44), (0.3, 1.2), (0.3 + shift, 0.6)]), shade, 0.05)
    if who.cloth_style == "collar":
        for side in (-1, 1):
            at.fill(
                np.array([(side * 0.04, 1.52), (side * 0.36, 1.1), (side * 0.66, 1.36), (side * 0.42, 1.66)]),
                WHITE,
                0.05,
            )
    elif who.cloth_style == "turtleneck":
        at.fill(
            smooth([(-0.4, 1.02), (0, 1.1), (0.4, 1.02), (0.46, 1.36), (0, 1.46), (-0.46, 1.36)]),
            mix(who.cloth, WHITE, 0.2),
            0.05,
        )
    elif who.cloth_style in ("tee", "stripes"):
        at.line(
            smooth([(-0.42, 1.17), (-0.2, 1.42), (0.2, 1.42), (0.42, 1.17)], closed=False),
            mix(who.cloth, ink(who.cloth), 0.35),
            0.09,
        )


def draw_head(at: Frame, who: Identity, face: Expression) -> None:
    """Draw ears, the head's outline and its cheeks."""
    dark = mix(who.skin, ink(who.skin), 0.22)
    for side in (-1, 1):
        centre = side * who.head_width - 0.1 * face.yaw
        at.fill(ellipse(centre, 0.2, 0.16, 0.22), who.skin)
        at.line(ellipse(centre + side * 0.01, 0.2, 0.07, 0.11, 12)[3:10], dark, 0.04)
        if who.earrings:
            at.fill(ellipse(centre, 0.47, 0.075, 0.075, 10), (250, 212, 96), 0.03)
    at.fill(head_outline(who), who.skin)
    if who.beard:
        chin = [(-0.99, 0.2), (-0.8, 0.3), (-0.52, 0.42), (0.0, 0.36), (0.52, 0.42), (0.8, 0.3), (0.99, 0.2)]
        lower = [
            (x * (who.head_width + 0.02), y)
            for x, y in [(0.9, 0.62), (0.56, 0.98), (0.0, 1.14), (-0.56, 0.98), (-0.9, 0.62)]
        ]
        at.fill(smooth(np.array([(x * who.head_width, y) for x, y in chin] + lower)), who.hair)
    pink = mix(who.skin, (238, 104, 104), 0.22 + 0.38 * float(np.clip(face.blush, 0, 1.3)))
    if not who.beard:
        for side in (-1, 1):
            spot = turned(ellipse(side * 0.56, 0.47, 0.17, 0.1, 14), face, 0.9)
            at.fill(spot, pink if face.blush > 0.02 else mix(who.skin, pink, 0.5), 0)
    if who.freckles and not who.beard:
        for x, y in ((-0.5, 0.4), (-0.6, 0.48), (-0.42, 0.47), (0.5, 0.4), (0.6, 0.48), (0.42, 0.47)):
            at.fill(turned(ellipse(x, y, 0.025, 0.025, 6), face), dark, 0)


def _lids(who: Identity, face: Expression, side: int) -> tuple[Points, Points, Points]:
    """Return one eye's xs and its upper and lower edges, eye-local: (n,), (n,), (n,)."""
    xs = np.linspace(-1, 1, 17)
    arch = np.sqrt(np.maximum(0, 1 - xs**2))
    opened = 0.84 * float(np.clip(face.eye_open, 0, 1.4))
    slant = face.lid_slant * side * xs  # towards the ear positive
    top = -arch * np.clip(opened * (1 - 0.3 * abs(face.lid_slant)) - 0.34 * slant * min(opened, 1.0), 0.0, 1.4)
    bottom = arch * (1 - 0.72 * float(np.clip(face.squint, 0, 1.2))) * (0.22 + 0.82 * min(opened, 1.0))
    bottom = bottom if opened > 0.12 else arch * 0.3
    top = np.minimum(top, bottom - 0.02) if opened > 0.12 else arch * 0.26
    return xs, top, bottom


def draw_eye(at: Frame, who: Identity, face: Expression, side: int) -> None:
    """Draw one eye: white, iris with highlight, lid line and lashes."""
    xs, top, bottom = _lids(who, face, side)
    wide, tall = who.eye_size, who.eye_size * 1.18
    centre = np.array([side * who.eye_gap, 0.1])

    def put(x: Points, y: Points) -> Points:
        return turned(np.stack([x * wide, y * tall], axis=1) + centre, face)

    line = ink(mix(who.hair, (60, 36, 44), 0.6), 0.75)
    shape = put(np.concatenate([xs, xs[::-1]]), np.concatenate([top, bottom[::-1]]))
    if face.eye_open > 0.12:
        at.fill(shape, WHITE, 0.03, mix(who.skin, line, 0.6))
        gaze_x, gaze_y = 0.24 * face.gaze_x + 0.1 * face.yaw, 0.2 * face.gaze_y
        for size, colour in (
            (who.iris, ink(who.eye, 0.55)),
            (who.iris * 0.86, who.eye),
            (who.iris * 0.5 * face.pupil, (30, 22, 38)),
        ):
            ring = ellipse(gaze_x, gaze_y, size, size * 1.05, 22)
            floor = np.interp(ring[:, 0], xs, bottom) - 0.02
            ceiling = np.interp(ring[:, 0], xs, top) + 0.02
            at.fill(put(ring[:, 0], np.clip(ring[:, 1], ceiling, np.maximum(floor, ceiling))), colour, 0)
        if np.interp(gaze_x + 0.2, xs, top) < gaze_y - 0.25:
            shine = ellipse(gaze_x + 0.2, gaze_y - 0.26, 0.17, 0.2, 12)
            at.fill(put(shine[:, 0], shine[:, 1]), WHITE, 0)
    at.line(put(xs, top), line, 0.085 if who.lashes else 0.065)
    if who.lashes:
        tip = float(top[15]) if side > 0 else float(top[1])
        at.line(put(np.array([side * 0.92, side * 1.2]), np.array([tip, tip - 0.16])), line, 0.07)


def draw_brow(at: Frame, who: Identity, face: Expression, side: int) -> None:
    """Draw one eyebrow; raise and tilt carry most of the emotion."""
    xs = np.array([-0.95, -0.3, 0.35, 0.95]) * side  # from the nose outwards
    base = -0.36 - 0.2 * face.brow_raise
    ys = base + np.array([-0.2, -0.09, 0.02, 0.13]) * face.brow_tilt + np.array([0.03, -0.03, -0.04, 0.03])
    points = np.stack([xs * who.eye_size * 0.95 + side * (who.eye_gap + 0.01), ys], axis=1)
    at.line(turned(smooth(points, closed=False), face), ink(who.hair, 0.66), who.brow_thickness)


def mouth_edges(who: Identity, face: Expression) -> tuple[Points, Points, Points]:
    """Return the mouth's xs, upper and lower edge in head units: (n,) each."""
    half = who.mouth_width * (1 + 0.3 * float(np.clip(face.mouth_width, -1.2, 1.2)))
    opened = float(np.clip(face.mouth_open, 0, 1.1))
    half *= 1 - 0.1 * opened
    share = np.linspace(-1, 1, 15)
    bow = (share**2 - 0.5) * -0.19 * (face.smile + 0.18)
    arch = np.sqrt(np.maximum(0, 1 - share**2))
    upper = 0.6 + bow - arch * 0.13 * opened
    lower = 0.6 + bow + arch * 0.36 * opened
    return share * half, upper, lower


def draw_mouth(at: Frame, who: Identity, face: Expression) -> None:
    """Draw the mouth: a line when shut; lips, teeth and tongue when open."""
    xs, upper, lower = mouth_edges(who, face)
    line = ink(mix(who.skin, LIP, 0.6), 0.55)
    gap = float((lower - upper).max())

    def put(x: Points, y: Points) -> Points:
        return turned(np.stack([x, y], axis=1), face, 1.0)

    if gap < 0.035:
        at.line(put(xs, (upper + lower) / 2), line, 0.066)
        lip = ellipse(0.0, float(lower.max() if face.smile < 0 else lower[7]) + 0.1, 0.1, 0.025, 10)
        at.line(turned(lip[1:5], face), mix(who.skin, line, 0.35), 0.04)
        return
    at.fill(put(np.concatenate([xs, xs[::-1]]), np.concatenate([upper, lower[::-1]])), INSIDE, 0)
    low = np.minimum(upper + 0.34 * (lower - upper), upper + 0.1)
    at.fill(put(np.concatenate([xs, xs[::-1]]) * 0.86, np.concatenate([upper, low[::-1]])), WHITE, 0)
    if gap > 0.16:
        high = np.maximum(lower - 0.36 * (lower - upper), lower - 0.13)
        at.fill(put(np.concatenate([xs, xs[::-1]]) * 0.66, np.concatenate([high, lower[::-1]])), TONGUE, 0)
    ring = put(np.concatenate([xs, xs[::-1]]), np.concatenate([upper, lower[::-1]]))
    at.line(np.concatenate([ring, ring[:1]]), line, 0.07)


def draw_nose(at: Frame, who: Identity, face: Expression) -> None:
    """Draw a small nose that shows where the head is turned."""
    dark = mix(who.skin, ink(who.skin), 0.42)
    if who.nose == 0:
        at.line(turned(smooth([(-0.07, 0.36), (0.0, 0.41), (0.07, 0.36)], closed=False), face, 1.35), dark, 0.055)
    elif who.nose == 1:
        at.line(turned(smooth([(0.02, 0.2), (0.09, 0.37), (-0.02, 0.4)], closed=False), face, 1.35), dark, 0.055)
    else:
        at.fill(turned(ellipse(0.0, 0.35, 0.1, 0.08, 14), face, 1.35), mix(who.skin, (236, 120, 104), 0.3), 0.035)


def draw_character(body: Frame, head: Frame, who: Identity, face: Expression) -> None:
    """Draw a whole character, back to front."""
    draw_back_hair(head, who)
    draw_body(body, who)
    draw_neck(body, head, who)
    draw_head(head, who, face)
    draw_nose(head, who, face)
    if who.moustache:
        shape = smooth([(-0.3, 0.55), (-0.12, 0.45), (0.0, 0.48), (0.12, 0.45), (0.3, 0.55), (0.0, 0.54)])
        head.fill(turned(shape, face), who.hair, 0.04)
    draw_mouth(head, who, face)
    for side in (-1, 1):
        draw_eye(head, who, face, side)
    draw_front_hair(head, who, face)
    for side in (-1, 1):
        draw_brow(head, who, face, side)
        if who.glasses:
            frame = turned(ellipse(side * who.eye_gap, 0.12, 0.36, 0.36, 24), face)
            head.line(np.concatenate([frame, frame[:1]]), ink(who.accent, 0.6), 0.06)
    if who.glasses:
        head.line(turned(np.array([(-0.07, 0.08), (0.07, 0.08)]), face), ink(who.accent, 0.6), 0.06)
    if face.tear > 0.5:
        drop = smooth([(0.52, 0.44), (0.6, 0.6), (0.52, 0.68), (0.44, 0.6)])
        head.fill(turned(drop, face), (150, 208, 244), 0.035)
