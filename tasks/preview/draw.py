"""Plates with named boxes and masks as pictures, and time lines as SVG. Pure."""

import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from model.facemask import latent_masks
from tasks.plan.spans import segment_frames, window_frames
from tasks.plan.types import Plan, ShotPlan
from tasks.preview.notices import pixel_face, track_of
from tasks.preview.types import PEAKS_PER_SECOND, Image, Preview

COLOURS = ("#d9480f", "#1971c2", "#2f9e44", "#9c36b5", "#e8a200", "#0c8599")
TINT = 0.13  # how much a mask colours the picture; its border is drawn
LEAST_WIDTH = 640  # a small plate is shown larger, so that names can be read


def colour_of(plan: Plan, character: str) -> str:
    """Return a character's colour: the same on every part of the page."""
    everybody = sorted(
        {who.character for shot in plan.shots for who in shot.characters}
        | {turn.character for shot in plan.shots for turn in shot.turns}
    )
    return COLOURS[everybody.index(character) % len(COLOURS)] if character in everybody else "#868e96"


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def plate_picture(preview: Preview, shot: ShotPlan) -> Pillow.Image:
    """Return a shot's plate at film proportions with each face's box, name and the cells where its voice may act."""
    plan = preview.plan
    scale = max(1, -(-LEAST_WIDTH // plan.width))
    picture = Pillow.fromarray(preview.plates[shot.id]).resize(
        (plan.width * scale, plan.height * scale), Pillow.Resampling.LANCZOS
    )
    if not shot.characters:
        return picture
    pixels: NDArray[np.floating[Any]] = np.asarray(picture, np.float32)
    masks = latent_masks([pixel_face(who, plan) for who in shot.characters], plan.width, plan.height).numpy()
    for who, mask in zip(shot.characters, masks, strict=True):
        cells = np.kron(mask, np.ones((8 * scale, 8 * scale), np.float32))[: pixels.shape[0], : pixels.shape[1]]
        border = np.abs(np.diff(cells, axis=0, prepend=0)) + np.abs(np.diff(cells, axis=1, prepend=0))
        share = np.clip(TINT * cells + (border > 0), 0, 0.85)[..., None]
        pixels = pixels * (1 - share) + np.array(_rgb(colour_of(plan, who.character)), np.float32) * share
    picture = Pillow.fromarray(pixels.astype(np.uint8))
    points = max(14, picture.width // 36)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=points)
    for who in shot.characters:
        colour = colour_of(plan, who.character)
        for key, (_, face) in enumerate([(0, who.face), *who.face_keys[1:]]):
            left, top = face.x * picture.width, face.y * picture.height
            right, bottom = left + face.w * picture.width, top + face.h * picture.height
            draw.rectangle(
                (left, top, right, bottom), outline=colour, width=max(2, picture.width // 240) if not key else 1
            )
        name = preview.names.get(who.character, who.character)
        left, top = who.face.x * picture.width, max(who.face.y * picture.height - points * 1.4, 0)
        draw.rectangle((left, top, left + draw.textlength(name, font=font) + 10, top + points * 1.35), fill=colour)
        draw.text((left + 5, top + 1), name, fill="white", font=font)
    return picture


def png_bytes(picture: Pillow.Image) -> bytes:
    """Return a picture as PNG."""
    out = io.BytesIO()
    picture.save(out, "PNG", optimize=True)
    return out.getvalue()


def save_picture(picture: Pillow.Image, path: Path) -> None:
    """Write a picture as PNG."""
    path.write_bytes(png_bytes(picture))


LANE, RULER, STRIP = 44, 18, 16


def _wave(peaks: Sequence[float], start: float, origin: float, per_second: float, top: float, most: int) -> str:
    """Return a waveform's outline as SVG points: at most `most` columns, mirrored around the lane's middle."""
    values = np.asarray(peaks, np.float32)
    if not len(values):
        return ""
    step = max(1, -(-len(values) // most))
    values = np.pad(values, (0, -len(values) % step)).reshape(-1, step).max(axis=1)
    height = np.clip(values, 0, 1) ** 0.6 * (LANE / 2 - 3)
    xs = (start - origin + np.arange(len(values)) * step / PEAKS_PER_SECOND) * per_second
    middle = top + LANE / 2
    upper = [f"{x:.1f},{middle - h:.1f}" for x, h in zip(xs, height, strict=True)]
    lower = [f"{x:.1f},{middle + h:.1f}" for x, h in zip(xs[::-1], height[::-1], strict=True)]
    return " ".join(upper + lower)


def _lane(preview: Preview, character: str, begin: float, end: float, per_second: float, top: float) -> list[str]:
    plan, colour = preview.plan, colour_of(preview.plan, character)
    parts = []
    turns = {turn for shot in plan.shots for turn in shot.turns if turn.character == character}
    for turn in sorted(turns):
        a, b = max(turn.start_seconds, begin), min(turn.end_seconds, end)
        if b > a:
            title = (
                f"{preview.names.get(character, character)} speaks {turn.start_seconds:.2f} to {turn.end_seconds:.2f} s"
            )
            parts.append(
                f'<rect x="{(a - begin) * per_second:.1f}" y="{top + 2}" width="{(b - a) * per_second:.1f}"'
                f' height="{LANE - 4}" rx="3" fill="{colour}" fill-opacity=".28">'
                f"<title>{html.escape(title)}</title></rect>"
            )
    for track in track_of(preview.tracks, character):
        first = max(0, int((begin - track.start_seconds) * PEAKS_PER_SECOND))
        last = max(0, int((end - track.start_seconds) * PEAKS_PER_SECOND) + 1)
        start = max(track.start_seconds + first / PEAKS_PER_SECOND, begin)
        points = _wave(list(track.peaks[first:last]), start, begin, per_second, top, 900)
        parts.append(f'<polygon points="{points}" fill="{colour}"/>')
    label = html.escape(preview.names.get(character, character))
    parts.append(f'<text x="6" y="{top + 14}" class="lane">{label}</text>')
    return parts


def _ruler(begin: float, end: float, per_second: float, height: float) -> list[str]:
    every = next(step for step in (1, 2, 5, 10, 30, 60, 300, 600, 3600) if step * per_second >= 48 or step == 3600)
    parts = []
    second = -(-begin // every) * every
    while second <= end:
        x = (second - begin) * per_second
        parts.append(f'<line x1="{x:.1f}" y1="{RULER}" x2="{x:.1f}" y2="{height}" class="tick"/>')
        parts.append(f'<text x="{x + 3:.1f}" y="12" class="small">{second // 60:.0f}:{second % 60:02.0f}</text>')
        second += every
    return parts


def _strip(
    spans: Sequence[tuple[float, float, str]], begin: float, per_second: float, top: float, kind: str
) -> list[str]:
    parts = []
    for index, (a, b, label) in enumerate(spans):
        x, width = (a - begin) * per_second, (b - a) * per_second
        shade = "odd" if index % 2 else "even"
        parts.append(
            f'<rect x="{x:.1f}" y="{top}" width="{max(width - 1, 1):.1f}" height="{STRIP - 2}" class="{kind} {shade}">'
            f"<title>{html.escape(label)}</title></rect>"
        )
        if width > 7 * len(label) + 6:
            parts.append(f'<text x="{x + 4:.1f}" y="{top + STRIP - 5}" class="small">{html.escape(label)}</text>')
    return parts


def timeline_svg(preview: Preview, shots: Sequence[ShotPlan], width: int) -> str:
    """Return the time line of some neighbouring shots: voices, turns, cuts with reasons, segments, windows."""
    plan = preview.plan
    begin = shots[0].start_frame / plan.fps
    end = (shots[-1].start_frame + shots[-1].num_frames) / plan.fps
    per_second = width / max(end - begin, 0.04)
    speakers = {turn.character for shot in shots for turn in shot.turns}
    everybody = sorted({who.character for shot in shots for who in shot.characters} | speakers)
    bottom = RULER + LANE * len(everybody)
    height = bottom + 3 * STRIP + 6
    parts = _ruler(begin, end, per_second, bottom)
    for lane, character in enumerate(everybody):
        parts += _lane(preview, character, begin, end, per_second, RULER + LANE * lane)
    shot_spans, segments, windows = [], [], []
    for shot in shots:
        start = shot.start_frame / plan.fps
        shot_spans.append((start, start + shot.num_frames / plan.fps, shot.id))
        for segment in shot.segments:
            a, b = segment_frames(plan, shot, segment)
            segments.append((start + a / plan.fps, start + b / plan.fps, f"segment {segment.index}"))
        frames = window_frames(plan, shot)
        windows += [(start + a / plan.fps, start + b / plan.fps, f"w{k}") for k, (a, b) in enumerate(frames)]
    for row, (spans, kind) in enumerate(((shot_spans, "shot"), (segments, "segment"), (windows, "window"))):
        parts += _strip(spans, begin, per_second, bottom + 4 + row * STRIP, kind)
    for cut in (cut for shot in shots for cut in shot.cuts):
        x = (cut.frame / plan.fps - begin) * per_second
        parts.append(f'<line x1="{x:.1f}" y1="{RULER}" x2="{x:.1f}" y2="{bottom + 4}" class="cut"/>')
        label = html.escape(f"{cut.reason} ({cut.cost:g})" if cut.cost else cut.reason)
        parts.append(f'<text x="{x + 4:.1f}" y="{bottom - 4}" class="small cutname">{label}</text>')
    body = "".join(parts)
    return f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">{body}</svg>'


def to_image(picture: Pillow.Image) -> Image:
    """Return a Pillow picture as RGB pixels."""
    return np.asarray(picture.convert("RGB"), np.uint8)
