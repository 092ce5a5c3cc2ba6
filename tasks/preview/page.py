"""The preview as one HTML file: no script to load, no font, no network; readable on a phone. Pure."""

import base64
import html
from collections.abc import Sequence
from importlib import resources

from tasks.plan.spans import window_frames
from tasks.plan.types import ShotPlan
from tasks.preview.draw import colour_of, plate_picture, png_bytes, timeline_svg
from tasks.preview.types import Notice, Preview

WIDEST_OVERVIEW = 1600
PIXELS_PER_SECOND = 56
OPEN_SHOTS = 12  # more shots than this start folded


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{seconds % 60:05.2f}"


def _facts(preview: Preview) -> str:
    plan = preview.plan
    windows = sum(len(window_frames(plan, shot)) for shot in plan.shots)
    segments = sum(len(shot.segments) for shot in plan.shots)
    cells = {
        "duration": _clock(plan.num_frames / plan.fps),
        "picture": f"{plan.width} × {plan.height}, {plan.fps:g} fps",
        "frames": f"{plan.num_frames:,}",
        "shots": str(len(plan.shots)),
        "segments (pods)": str(segments),
        "windows": str(windows),
        "network": f"{plan.profile}, {plan.steps} steps",
        "fusion": plan.fusion,
    }
    items = "".join(
        f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd></div>" for name, value in cells.items()
    )
    return f'<dl class="facts">{items}</dl>'


def _notice(preview: Preview, notice: Notice) -> str:
    where = [f"<b>{_clock(notice.start_seconds)}</b>"]
    if notice.shot:
        where.append(f"shot {html.escape(notice.shot)}")
    if notice.character:
        where.append(html.escape(preview.names.get(notice.character, notice.character)))
    return f'<p class="notice">{" · ".join(where)}: {html.escape(notice.text)} <small>[{notice.rule}]</small></p>'


def _notices(preview: Preview, notices: Sequence[Notice]) -> str:
    if not notices:
        return '<p class="notice fine">Nothing to look at: faces, masks, stems and cuts are fine.</p>'
    return "".join(_notice(preview, notice) for notice in notices)


def _head(first: str, *numbers: str) -> str:
    return f"<tr><th>{first}</th>" + "".join(f'<th class="n">{number}</th>' for number in numbers) + "</tr>"


def _row(first: str, *numbers: str) -> str:
    return f"<tr><td>{first}</td>" + "".join(f'<td class="n">{number}</td>' for number in numbers) + "</tr>"


def _costs(preview: Preview) -> str:
    rows = "".join(
        _row(
            html.escape(cost.machine), f"{cost.calls:,}", f"{cost.petaflop:.3g}", f"{cost.hours:.3g}", f"{cost.usd:.2f}"
        )
        for cost in preview.costs
    )
    head = _head("machine", "calls", "petaflop", "hours", "USD")
    return f'<section class="card scroll"><table>{head}{rows}</table></section>'


def _characters(preview: Preview, shot: ShotPlan) -> str:
    plan, rows = preview.plan, []
    for who in shot.characters:
        spoken = sum(turn.end_seconds - turn.start_seconds for turn in shot.turns if turn.character == who.character)
        face = f"{who.face.w * plan.width:.0f} × {who.face.h * plan.height:.0f} px"
        emotions = f"{len(who.emotion_keys)}" if any(key for _, key, _ in who.emotion_keys) else "–"
        name = html.escape(preview.names.get(who.character, who.character))
        dot = f'<span class="dot" style="background:{colour_of(plan, who.character)}"></span>'
        rows.append(_row(dot + name, f"{spoken:.2f} s", face, emotions))
    head = (
        '<tr><th>character</th><th class="n">speaks</th><th class="n">face</th><th class="n">emotion changes</th></tr>'
    )
    return f'<div class="scroll"><table>{head}{"".join(rows)}</table></div>'


def _shot(preview: Preview, shot: ShotPlan, is_open: bool) -> str:
    plan = preview.plan
    start, seconds = shot.start_frame / plan.fps, shot.num_frames / plan.fps
    picture = base64.b64encode(png_bytes(plate_picture(preview, shot))).decode("ascii")
    line = timeline_svg(preview, [shot], max(600, round(seconds * PIXELS_PER_SECOND)))
    cuts = ", ".join(f"{_clock(cut.frame / plan.fps)} {cut.reason}" for cut in shot.cuts) or "–"
    own = [notice for notice in preview.notices if notice.shot == shot.id]
    title = f"{html.escape(shot.id)} · {_clock(start)} · {seconds:.2f} s · {len(shot.segments)} segments"
    return (
        f'<details id="shot-{html.escape(shot.id)}"{" open" if is_open else ""}><summary>{title}</summary>'
        f'<p class="prompt">{html.escape(shot.prompt) or "no prompt"} · cut: {html.escape(cuts)}</p>'
        f'<img class="plate" alt="plate of {html.escape(shot.id)} with faces and masks" '
        f'src="data:image/png;base64,{picture}">'
        f"{_characters(preview, shot)}"
        f'<div class="scroll">{line}</div>{"".join(_notice(preview, notice) for notice in own)}</details>'
    )


def preview_html(preview: Preview) -> str:
    """Return the whole page: facts, what to look at, time line, cost, and every shot with its plate."""
    plan = preview.plan
    style = resources.files("tasks.preview").joinpath("page.css").read_text(encoding="utf-8")
    overview = min(WIDEST_OVERVIEW, max(640, round(plan.num_frames / plan.fps * PIXELS_PER_SECOND)))
    shots = "".join(_shot(preview, shot, len(plan.shots) <= OPEN_SHOTS) for shot in plan.shots)
    title = html.escape(plan.title)
    lead = html.escape(" · ".join(part for part in (plan.show, plan.episode, f"plan {plan.key[:12]}") if part))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}: preview</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{style}</style></head><body><main>'
        f'<h1>{title}</h1><p class="lead">{lead}</p>{_facts(preview)}'
        f"<h2>To look at</h2>{_notices(preview, preview.notices)}"
        f'<h2>Who speaks when</h2><section class="card scroll">{timeline_svg(preview, plan.shots, overview)}</section>'
        f"<h2>Cost, if everything is rendered anew</h2>{_costs(preview)}"
        f"<h2>Shots</h2>{shots}</main></body></html>\n"
    )
