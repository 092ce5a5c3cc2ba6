"""Who runs again, decided from the truth in store and ledger; called by the resume and the reconcile flow.

Three things stop without anybody's fault: a run whose pod died (Prefect never retries it), an episode that gave up
before its last child came through, and a run that Prefect believes to be alive although its worker is silent. One goes
on although it should not: the children of an episode that somebody cancelled.
"""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

from db.records import WorkItem
from tasks.admission import judge
from tasks.exchange import NeighbourFailed
from tasks.plan.types import Plan
from tasks.pod import PATIENCE_SECONDS, Pod, open_pod
from tasks.pointer import find_done
from tasks.runs import (
    STOPPABLE,
    Run,
    cancel_runs,
    children_of,
    count_moving,
    parent_of,
    read_run,
    requeue,
)
from tasks.take import why_gave_up
from tasks.waivers import load_order, waiver_of
from tasks.work import film_item, segment_item, shot_item

log = logging.getLogger(__name__)
T = TypeVar("T")
STARTS = 5  # of an episode, by which what fails without an attempt in the ledger is known to stay
SETTLE_SECONDS = 30.0  # a crash is believed after this long: at once, a pod that still lives renders twice


@dataclass(frozen=True)
class Purpose:
    """What a run is for."""

    plan: Plan
    item: WorkItem


def purpose_of(pod: Pod, run: Run) -> Purpose:
    """Return the plan and the work item that a run is for. Raises: ObjectMissing, KeyError, StoreError."""
    plan = load_order(pod, str(run.parameters["order"]))
    return Purpose(plan, _item_of(plan, run))


def _item_of(plan: Plan, run: Run) -> WorkItem:
    if run.kind == "episode":
        return film_item(plan)
    shot = {part.id: part for part in plan.shots}[str(run.parameters["shot"])]
    if run.kind == "shot":
        return shot_item(plan, shot)
    return segment_item(shot.segments[int(run.parameters["segment"])])


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
    with pod_of(run) as pod:
        purpose = purpose_of(pod, run)
        if find_done(pod.store, purpose.item) or waiver_of(pod.ledger, purpose.item):
            return "nothing: its output is there or is not wanted"
        verdict = judge(pod.ledger, purpose.item, purpose.plan.key)
    if not verdict.allowed:
        return f"nothing: {verdict.reason}"
    moved = requeue(run, f"{why}, it goes on from its last step", in_front=run.kind == "segment")
    return f"{run.name} is queued again" if moved else "nothing: it moved meanwhile"


def resume_parent(parent: Run) -> str:
    """Start an episode again that gave up, unless one of its children is still red or running.

    Where the children are through and it fails all the same, its film's limits decide, and how often it has started.
    """
    if parent.state not in ("FAILED", "CRASHED"):
        return f"nothing: the episode is {parent.state.lower()}"
    if moving := count_moving(parent.id):
        return f"nothing: {moving} of its children are on their way"
    children = children_of(parent.id)
    with pod_of(parent) as pod:
        plan = load_order(pod, str(parent.parameters["order"]))
        blocking = [child for child in children if _blocks(pod, plan, child)]
        woken = [child.name for child in blocking if _may_go_on(pod, plan, child) and _wake(child)]
        verdict, film = judge(pod.ledger, film_item(plan), plan.key), find_done(pod.store, film_item(plan))
    if woken:
        return f"{', '.join(woken[:5])} go on: what they waited for is there or on its way"
    if blocking:
        names = ", ".join(child.name for child in blocking[:5])
        return f"nothing: {len(blocking)} of its {len(children)} children are not through: {names}"
    if film is not None:
        return "nothing: its film is in the store, copying it out is what failed"
    if not verdict.allowed:
        return f"nothing: {verdict.reason}"
    changed = any(child.since > parent.since - SETTLE_SECONDS for child in children)
    if parent.run_count > STARTS and not changed:
        return f"nothing: it has started {parent.run_count} times and no child has moved since the last"
    moved = requeue(parent, "its children are through")
    return f"{parent.name} goes on" if moved else "nothing: it moved meanwhile"


def wake_neighbours(run_id: UUID) -> list[str]:
    """Put those back in the queue that gave up because this segment had failed: it is tried again; return their names.

    A server that does not answer is no reason to fail: the next round of reconciling finds them too.
    """
    try:
        run = read_run(run_id)
        parent = parent_of(run) if run else None
        red = children_of(parent.id, ["FAILED"]) if parent else []
    except Exception as exc:  # noqa: BLE001 - whatever the API says, this segment renders
        log.warning("neighbours not woken", extra={"run": str(run_id), "failure": str(exc)})
        return []
    mine = [one for one in red if run and one.kind == "segment" and one.parameters["shot"] == run.parameters["shot"]]
    return [one.name for one in mine if careful(_has_waited, one) and careful(_wake, one)]


def _wake(run: Run) -> bool:
    return requeue(run, "its neighbour goes on", in_front=True)


def _has_waited(run: Run) -> bool:
    with pod_of(run) as pod:
        return _waited_in_vain(pod, load_order(pod, str(run.parameters["order"])), run)


def _waited_in_vain(pod: Pod, plan: Plan, run: Run) -> bool:
    """Say whether a red segment is red only because another one of its take had failed."""
    if run.kind != "segment" or run.state != "FAILED":
        return False
    attempts = pod.ledger.attempts(_item_of(plan, run))
    return bool(attempts) and attempts[-1].message.startswith(NeighbourFailed.__name__)


def _may_go_on(pod: Pod, plan: Plan, run: Run) -> bool:
    """Say whether a red segment waited in vain and no other of its take has failed for good now."""
    if not _waited_in_vain(pod, plan, run):
        return False
    shot = next(part for part in plan.shots if part.id == run.parameters["shot"])
    return not why_gave_up(pod, shot)


def cancel_children(parent: Run) -> str:
    """Cancel what a cancelled episode has dispatched and is not through."""
    left = [child for child in children_of(parent.id) if child.state in STOPPABLE]
    if not left:
        return "nothing: none of its children is on its way"
    return f"{cancel_runs(left, 'its episode was cancelled')} children of {parent.name} are cancelled"


def _blocks(pod: Pod, plan: Plan, child: Run) -> bool:
    """Say whether an episode would only fail again because of this child."""
    item = _item_of(plan, child)
    return child.state != "COMPLETED" and not (find_done(pod.store, item) or waiver_of(pod.ledger, item))


def pod_of(run: Run) -> AbstractContextManager[Pod]:
    store, database = (str(run.parameters.get(name, "")) for name in ("store", "database"))
    return open_pod(store, database, PATIENCE_SECONDS)


def careful(action: Callable[..., T], run: Run, *more: object) -> T | None:
    """Do one thing of many: what is wrong with one run must not keep the others from being looked after."""
    try:
        return action(run, *more)
    except Exception as exc:  # noqa: BLE001
        log.warning("a run could not be looked after", extra={"run": run.name, "failure": str(exc)})
        return None
