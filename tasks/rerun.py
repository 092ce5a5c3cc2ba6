"""Who runs again, decided from the truth in store and ledger; called by the resume and the reconcile flow.

Three things stop without anybody's fault: a run whose pod died (Prefect never retries it), an episode that gave up
before its last child came through, and a run that Prefect believes to be alive although its worker is silent. One goes
on although it should not: the children of an episode that somebody cancelled.
"""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

from db.records import Attempt, ItemStatus, WorkItem
from tasks.admission import judge
from tasks.plan.types import Plan
from tasks.pod import Pod, open_pod
from tasks.pointer import find_done
from tasks.reconcile import reconcile
from tasks.runs import (
    STOPPABLE,
    Run,
    cancel_runs,
    children_of,
    count_moving,
    find_runs,
    mark_crashed,
    parent_of,
    read_run,
    requeue,
)
from tasks.settings import settings
from tasks.waivers import load_order, waiver_of
from tasks.work import film_item, segment_item, shot_item

log = logging.getLogger(__name__)
T = TypeVar("T")
SETTLE_SECONDS = 30.0  # a crash is believed after this long: at once, a pod that still lives renders twice
SILENT_SECONDS = 60.0  # a run stays Running so long after its claim was passed over before it counts as dead
UNSTARTED_SECONDS = 300.0  # from a worker's taking a run to its process's first word: imports, on a busy machine
LOOK_BACK_SECONDS = 14 * 24 * 3600.0


@dataclass(frozen=True)
class Purpose:
    """What a run is for."""

    plan: Plan
    item: WorkItem


def purpose_of(pod: Pod, run: Run) -> Purpose:
    """Return the plan and the work item that a run is for. Raises: ObjectMissing, KeyError, StoreError."""
    plan = load_order(pod, str(run.parameters["order"]))
    if run.kind == "episode":
        return Purpose(plan, film_item(plan))
    shot = {part.id: part for part in plan.shots}[str(run.parameters["shot"])]
    if run.kind == "shot":
        return Purpose(plan, shot_item(plan, shot))
    return Purpose(plan, segment_item(shot.segments[int(run.parameters["segment"])]))


def look_after(run_id: UUID) -> str:
    """Do what one ended run asks for; return what was done, in a sentence."""
    run = read_run(run_id)
    if run is None or run.moving:
        return "nothing: the run is on its way"
    if run.state == "CRASHED":
        return restart(run, "it crashed")
    if run.state == "CANCELLED":
        return cancel_children(run)
    parent = parent_of(run)
    return resume_parent(parent) if parent else "nothing: nobody waits for it"


def restart(run: Run, why: str) -> str:
    """Put a crashed run back in the queue if its output is still wanted and its limits allow it."""
    with _pod_of(run) as pod:
        purpose = purpose_of(pod, run)
        if find_done(pod.store, purpose.item) or waiver_of(pod.ledger, purpose.item):
            return "nothing: its output is there or is not wanted"
        verdict = judge(pod.ledger, purpose.item, purpose.plan.key)
    if not verdict.allowed:
        return f"nothing: {verdict.reason}"
    moved = requeue(run, f"{why}, it goes on from its last step", in_front=run.kind == "segment")
    return f"{run.name} is queued again" if moved else "nothing: it moved meanwhile"


def resume_parent(parent: Run) -> str:
    """Start an episode again that gave up, unless one of its children is still red or running."""
    if parent.state not in ("FAILED", "CRASHED"):
        return f"nothing: the episode is {parent.state.lower()}"
    children = children_of(parent.id)
    blocking = [child for child in children if _blocks(child)]
    if blocking:
        names = ", ".join(child.name for child in blocking[:5])
        return f"nothing: {len(blocking)} of its {len(children)} children are not through: {names}"
    moved = requeue(parent, "its children are through")
    return f"{parent.name} goes on" if moved else "nothing: it moved meanwhile"


def cancel_children(parent: Run) -> str:
    """Cancel what a cancelled episode has dispatched and is not through."""
    left = [child for child in children_of(parent.id) if child.state in STOPPABLE]
    if not left:
        return "nothing: none of its children is on its way"
    return f"{cancel_runs(left, 'its episode was cancelled')} children of {parent.name} are cancelled"


def reconcile_stored(store: str, database: str) -> list[str]:
    """Bring the ledger up to what the store says; return what was done. Raises: StoreError, LedgerAway."""
    with open_pod(store, database) as pod:
        found = reconcile(pod.store, pod.ledger)
    said = [f"{item}: winner written down" for item in found.adopted]
    said += [f"{item}: claim ended, its worker fell silent" for item in found.expired]
    return said + [f"{item}: store and ledger disagree, run farm fsck --repair" for item in found.unsettled]


def reconcile_round(store: str, database: str, use_prefect: bool) -> list[str]:
    """Do everything that a reconcile run does, whatever part of the farm is away meanwhile; return what was done."""
    said = _attempt("the ledger", lambda: reconcile_stored(store, database))
    return said + _attempt("the runs", reconcile_runs) if use_prefect else said


def _attempt(what: str, action: Callable[[], list[str]]) -> list[str]:
    try:
        return action()
    except Exception as exc:  # noqa: BLE001 - the next round comes in minutes
        return [f"{what}: not looked after ({exc})"]


def reconcile_runs(now: float | None = None) -> list[str]:
    """Do for every run what `look_after` does for one, from what is true now; return what was done.

    A lost event so costs minutes, not an episode.
    """
    now = now or time.time()
    done: list[str | None] = [
        *_wake_silent(find_runs(states=["RUNNING"]), now),
        *_wake_unstarted(find_runs(states=["PENDING"]), now),
    ]
    for run in find_runs(states=["CRASHED"]):
        if SETTLE_SECONDS <= now - run.since <= LOOK_BACK_SECONDS:
            done.append(_careful(restart, run, "it crashed and nobody put it back"))
    for run in find_runs(["episode"], ["FAILED"]):
        if SETTLE_SECONDS <= now - run.since <= LOOK_BACK_SECONDS and children_of(run.id):
            done.append(_careful(resume_parent, run))
    for run in find_runs(["episode"], ["CANCELLED"]):
        if now - run.since <= LOOK_BACK_SECONDS and count_moving(run.id, states=STOPPABLE):
            done.append(_careful(cancel_children, run))
    return [line for line in done if line and not line.startswith("nothing")]


def _wake_silent(runs: Sequence[Run], now: float) -> list[str]:
    """Call runs dead at which nobody is: their worker, or its network, is gone, and nobody could tell the server."""
    said = []
    for run in runs:
        if now - run.since < SILENT_SECONDS:
            continue
        look = _episode_is_silent if run.kind == "episode" else _child_is_silent
        if _careful(look, run, now) and mark_crashed(run, "its worker fell silent"):
            said.append(f"{run.name} was silent and counts as crashed")
    return said


def _child_is_silent(run: Run, now: float) -> bool:
    with _pod_of(run) as pod:
        purpose = purpose_of(pod, run)
        status, attempts = pod.ledger.status(purpose.item), pod.ledger.attempts(purpose.item)
        if not silent(status, attempts[-1] if attempts else None, run.since, now):
            return False
        if status is None or status.state != "done" or run.kind == "shot":
            return True
        shot = next(part for part in purpose.plan.shots if part.id == run.parameters["shot"])
        return find_done(pod.store, shot_item(purpose.plan, shot)) is not None  # else its neighbours may listen to it


def _episode_is_silent(run: Run, now: float) -> bool:
    """Say whether an episode waits for nothing and does nothing; one that renders by itself has no children to tell."""
    if run.parameters.get("dispatch") != "deployments" or count_moving(run.id):
        return False
    moved = max([run.since, *(child.since for child in children_of(run.id))])
    with _pod_of(run) as pod:
        film = purpose_of(pod, run).item
        status, attempts = pod.ledger.status(film), pod.ledger.attempts(film)
    quiet_since = moved + settings().grace_seconds  # so long it waits for a failed child to be retried
    return silent(status, attempts[-1] if attempts else None, quiet_since, now)


def _wake_unstarted(runs: Sequence[Run], now: float) -> list[str]:
    """Call runs dead that a worker took and never started: it, or the server, ended in between."""
    lost = [run for run in runs if unstarted(run, now)]
    return [f"{run.name} never started and counts as crashed" for run in lost if mark_crashed(run, "it never started")]


def unstarted(run: Run, now: float) -> bool:
    """Say whether nobody will start a pending run any more; a Job of a cluster may wait for its GPU for hours."""
    waits_for_cluster = run.infrastructure.count(":") >= 2
    return run.state == "PENDING" and not waits_for_cluster and now - run.since > UNSTARTED_SECONDS


def silent(status: ItemStatus | None, last: Attempt | None, since: float, now: float) -> bool:
    """Say whether a run in Running since `since` is dead: nobody has held its item for too long.

    Soon after its attempt was passed over; else after as long as a process may need to get to its claim, or from its
    claim's end to its own.
    """
    if status is not None and status.state == "running":
        return False
    ended = last.ended_at or 0.0 if last else 0.0
    if last and last.state == "lost" and since < ended:
        return ended < now - SILENT_SECONDS
    return max(since, ended) < now - UNSTARTED_SECONDS


def _blocks(child: Run) -> bool:
    """Say whether an episode would only fail again because of this child."""
    if child.state == "COMPLETED":
        return False
    with _pod_of(child) as pod:
        item = purpose_of(pod, child).item
        return not (find_done(pod.store, item) or waiver_of(pod.ledger, item))


def _pod_of(run: Run) -> AbstractContextManager[Pod]:
    return open_pod(str(run.parameters.get("store", "")), str(run.parameters.get("database", "")))


def _careful(action: Callable[..., T], run: Run, *more: object) -> T | None:
    """Do one thing of many: what is wrong with one run must not keep the others from being looked after."""
    try:
        return action(run, *more)
    except Exception as exc:  # noqa: BLE001
        log.warning("a run could not be looked after", extra={"run": run.name, "failure": str(exc)})
        return None
