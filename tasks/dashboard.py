"""What a run shows in the Prefect dashboard: tables, a contact sheet, a link; nothing outside a flow run."""

import base64
from typing import Any

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.context import get_run_context
from prefect.exceptions import MissingContextError

from tasks.plan.types import Plan
from tasks.pod import open_pod
from tasks.pointer import find_done
from tasks.store import Store
from tasks.work import film_item, segment_item


def watched() -> bool:
    """Say whether this code runs inside a flow run."""
    try:
        get_run_context()
    except MissingContextError:
        return False
    return True


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
    _table(f"plan-{plan.episode}", rows, f"{plan.title}: {plan.num_frames / plan.fps:.2f} s, profile {plan.profile}")


def show_segments(plan: Plan, store: str, database: str) -> None:
    """Show where every segment stands, by whom, in which attempt and how long it took."""
    if not watched():
        return
    with open_pod(store, database) as pod:
        standing = pod.ledger.statuses([segment_item(s) for shot in plan.shots for s in shot.segments])
        rows = []
        for shot in plan.shots:
            for segment in shot.segments:
                status = standing.get(segment_item(segment))
                attempts = pod.ledger.attempts(segment_item(segment))
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
    _table(f"segments-{plan.episode}", rows, "segments")


def show_film(plan: Plan, key: str, store: str, out: str) -> None:
    """Show the film's contact sheet and where it lies."""
    if not watched():
        return
    with open_pod(store) as pod:
        sheet = _sheet(pod.store, plan)
        where = f"{out}/{plan.episode}.{plan.output.container}" if out else f"{pod.store.url}/{key}"
    picture = f"![contact sheet](data:image/jpeg;base64,{base64.b64encode(sheet).decode()})" if sheet else ""
    text = f"# {plan.title}\n\n{plan.num_frames} frames, {plan.num_frames / plan.fps:.2f} s\n\n`{where}`\n\n{picture}\n"
    create_markdown_artifact(text, key=f"film-{plan.episode}".replace("_", "-"), description=plan.title)
    link = where if "://" in where else f"file://{where}"
    create_link_artifact(link, link_text=where, key=f"film-link-{plan.episode}".replace("_", "-"))


def _sheet(store: Store, plan: Plan) -> bytes:
    pointer = find_done(store, film_item(plan))
    if pointer is None:
        return b""
    import json

    artifacts = json.loads(store.get(pointer.record.key))["artifacts"]
    keys = [a["object_key"] for a in artifacts if a["kind"] == "contact_sheet"]
    return store.get(keys[0]) if keys else b""


def _table(key: str, rows: list[dict[str, Any]], description: str) -> None:
    if watched() and rows:
        create_table_artifact(rows, key=key.replace("_", "-"), description=description)
