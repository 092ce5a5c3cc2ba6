"""What a run shows in the Prefect dashboard: tables, a contact sheet, a link; nothing outside a flow run."""

import base64
import json
import logging
import re
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.context import get_run_context
from prefect.exceptions import MissingContextError

from db.records import WorkItem
from tasks.overview import standings
from tasks.plan.types import Plan
from tasks.pod import PATIENCE_SECONDS, Pod, open_pod
from tasks.pointer import find_done
from tasks.settings import settings
from tasks.store import Store, open_store
from tasks.waivers import load_order
from tasks.work import film_item, segment_item, shot_item

log = logging.getLogger(__name__)
P = ParamSpec("P")


def artifact_key(*words: object) -> str:
    """Return a key as Prefect allows them: small letters, digits and dashes."""
    return re.sub("[^a-z0-9]+", "-", "-".join(str(word) for word in words).lower()).strip("-")


def as_picture(what: str, jpeg: bytes) -> str:
    """Return a picture as markdown that carries its own bytes."""
    return f"![{what}](data:image/jpeg;base64,{base64.b64encode(jpeg).decode()})"


def watched() -> bool:
    """Say whether this code runs inside a flow run."""
    try:
        get_run_context()
    except MissingContextError:
        return False
    return True


def harmless(show: Callable[P, None]) -> Callable[P, None]:
    """Make what only shows something cost the picture, and never the run, whatever is away."""

    @wraps(show)
    def shown(*args: P.args, **kwargs: P.kwargs) -> None:
        if not watched():
            return
        try:
            show(*args, **kwargs)
        except Exception as exc:  # noqa: BLE001
            log.warning("not shown", extra={"what": show.__name__, "failure": str(exc)})

    return shown


@harmless
def show_plan(plan: Plan) -> None:
    """Show the shots as a table."""
    rows = [
        {
            "shot": shot.id,
            "starts": f"{shot.start_frame / plan.fps:.2f} s",
            "lasts": f"{shot.num_frames / plan.fps:.2f} s",
            "characters": ", ".join(who.character for who in shot.characters),
            "segments": len(shot.segments),
            "cut": shot.cuts[0].reason,
        }
        for shot in plan.shots
    ]
    _table(
        artifact_key("plan", plan.episode),
        rows,
        f"{plan.title}: {plan.num_frames / plan.fps:.2f} s, profile {plan.profile}",
    )


@harmless
def show_segments(plan: Plan, store: str, database: str) -> None:
    """Show where every segment stands, by whom, in which attempt and how long it took."""
    with open_pod(store, database, PATIENCE_SECONDS) as pod:
        known = standings(pod.ledger, [segment_item(s) for shot in plan.shots for s in shot.segments])
        rows = []
        for shot in plan.shots:
            for segment in shot.segments:
                standing = known[segment_item(segment)]
                status, attempts = standing.status, standing.attempts
                rows.append(
                    {
                        "shot": shot.id,
                        "segment": segment.index,
                        "windows": segment.num_windows,
                        "state": status.state if status else "planned",
                        "attempts": len(attempts),
                        "seconds": round(sum(a.useful_seconds for a in attempts), 1),
                        "worker": status.worker if status else "",
                        "key": segment.key[:12],
                    }
                )
    _table(artifact_key("segments", plan.episode), rows, "segments")


@harmless
def show_segment(order: str, shot: str, segment: int, store: str, database: str) -> None:
    """Show on a segment's run its newest frame, its attempts and where its latents lie."""
    with open_pod(store, database, PATIENCE_SECONDS) as pod:
        plan = load_order(pod, order)
        part = next(one for one in plan.shots if one.id == shot).segments[segment]
        text = _made(pod, segment_item(part), f"{plan.title}: {shot} {segment}", "thumbnail")
    create_markdown_artifact(text, key=artifact_key("segment", plan.episode, shot, segment), description=shot)


@harmless
def show_shot(order: str, shot: str, store: str, database: str) -> None:
    """Show on a shot's run its contact sheet, its attempts and where its picture lies."""
    with open_pod(store, database, PATIENCE_SECONDS) as pod:
        plan = load_order(pod, order)
        part = next(one for one in plan.shots if one.id == shot)
        text = _made(pod, shot_item(plan, part), f"{plan.title}: {shot}", "contact_sheet")
    create_markdown_artifact(text, key=artifact_key("shot", plan.episode, shot), description=shot)


@harmless
def show_film(plan: Plan, key: str, store: str, out: str) -> None:
    """Show the film's contact sheet and where it lies."""
    objects = open_store(store or settings().store_url, endpoint=settings().s3_endpoint)
    sheet = picture_of(objects, film_item(plan), "contact_sheet")
    where = f"{out}/{plan.episode}.{plan.output.container}" if out else f"{objects.url}/{key}"
    picture = as_picture("contact sheet", sheet) if sheet else ""
    text = f"# {plan.title}\n\n{plan.num_frames} frames, {plan.num_frames / plan.fps:.2f} s\n\n`{where}`\n\n{picture}\n"
    create_markdown_artifact(text, key=artifact_key("film", plan.episode), description=plan.title)
    link = where if "://" in where else f"file://{where}"
    create_link_artifact(link, link_text=where, key=artifact_key("film-link", plan.episode))


def picture_of(store: Store, item: WorkItem, kind: str) -> bytes:
    """Return the picture that was published with an item, as JPEG; empty when there is none."""
    pointer = find_done(store, item)
    if pointer is None:
        return b""
    artifacts = json.loads(store.get(pointer.record.key))["artifacts"]
    keys = [a["object_key"] for a in artifacts if a["kind"] == kind]
    return store.get(keys[0]) if keys else b""


def _made(pod: Pod, item: WorkItem, title: str, kind: str) -> str:
    """Return what was made of an item as a page: picture, attempts, place."""
    pointer, picture = find_done(pod.store, item), picture_of(pod.store, item, kind)
    lines = [f"# {title}", as_picture(kind, picture) if picture else "no picture"]
    lines.append(f"`{pod.store.url}/{pointer.object.key}`" if pointer else "not in the store")
    rows = [
        f"| {a.number} | {a.state} | {a.worker} | {a.useful_seconds + a.wasted_seconds:.1f} | {_cell(a.message)} |"
        for a in pod.ledger.attempts(item)
    ]
    lines.append("\n".join(["| attempt | state | worker | seconds | why |", "|---|---|---|---|---|", *rows]))
    return "\n\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")[:200]


def _table(key: str, rows: list[dict[str, Any]], description: str) -> None:
    if watched() and rows:
        create_table_artifact(rows, key=key, description=description)
