"""Segments and shots as deployment runs of their own, and the barrier that waits for them.

A child run is created once per parent run and work item, however often the parent is started again; one that has ended
without its output is put back in the queue, as long as its limits allow. "Done" is what the store says, never a run's
state: the states only tell whether anything is still moving.

The segments of one shot are due at one moment, a little ahead, and no two shots at the same: workers take runs in the
order in which they are due, so a shot begins only when the one before it has all its workers, and two half-started
shots cannot hold each other up. A segment that waits too long all the same saves its step and goes to the queue's end.
"""

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from prefect.runtime import flow_run

from db.errors import LedgerAway
from tasks.admission import judge
from tasks.board import Board
from tasks.children import Child, Group, start_children
from tasks.errors import TransientError
from tasks.plan.types import Plan, ShotPlan
from tasks.pod import PATIENCE_SECONDS, Pod, open_pod
from tasks.pointer import find_done
from tasks.runs import Run, children_of, count_moving, read_runs, requeue
from tasks.settings import settings
from tasks.stand_in_line import asked_for
from tasks.take import missing_segments, silent_beside
from tasks.waivers import load_order
from tasks.work import segment_item, shot_item

log = logging.getLogger(__name__)
ASKING = 8  # threads that ask the store at the same time: ten thousand segments, an answer takes 20 ms
ENDED_WITHOUT_OUTPUT = ("COMPLETED", "CRASHED")  # a FAILED one waits for a person
CANCELLED = ("CANCELLING", "CANCELLED")  # had its person; taken up when a person has the whole episode start again


class ChildrenFailed(TransientError):
    """Some children did not finish; press Retry on them, the parent then goes on by itself."""


@dataclass(frozen=True)
class Patience:
    """How the barrier looks: often enough to be quick, seldom enough for thousands of children."""

    poll_seconds: float = 2.0
    share: float = 0.05  # of its time that it may spend looking: a look at 10,000 children is not for free
    grace_seconds: float = 60.0  # a failed child is a verdict only after nothing has moved for so long
    settle_seconds: float = 45.0  # a crashed child is the automation's business first (less when grace is shorter)
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def run_segments(episode: str, order: str, store: str, database: str) -> int:
    """Give every missing segment to a worker and wait until all are done; return how many there were.

    Raises: ChildrenFailed when some stay undone.
    """
    with open_pod(store, database, PATIENCE_SECONDS) as pod:
        plan = load_order(pod, order)
        shared = {"episode": episode, "order": order, "store": store, "database": database}
        with ThreadPoolExecutor(max_workers=ASKING) as threads:
            groups = list(threads.map(lambda shot: segments_of(pod, plan, shot, shared), plan.shots))
        return run_groups(pod, plan, [group for group in groups if group.children])


def run_shots(episode: str, order: str, store: str, database: str) -> int:
    """Give every missing shot picture to a worker and wait until all are done; return how many there were.

    Raises: ChildrenFailed when some stay undone.
    """
    with open_pod(store, database, PATIENCE_SECONDS) as pod:
        plan = load_order(pod, order)
        shared = {"episode": episode, "order": order, "store": store, "database": database}
        children = [
            Child(shot_item(plan, shot), "shot/shot", shot.id, {**shared, "shot": shot.id}) for shot in plan.shots
        ]
        return run_groups(pod, plan, [Group("pictures", (child,)) for child in undone(pod, children)])


def segments_of(pod: Pod, plan: Plan, shot: ShotPlan, shared: Mapping[str, Any]) -> Group:
    """Return the runs that a shot needs: its missing segments, and done ones that have to speak again."""
    if find_done(pod.store, shot_item(plan, shot)) is not None:
        return Group(shot.id)
    missing = missing_segments(pod, shot)
    silent = {segment.index for segment in silent_beside(pod, plan, shot, missing)}
    wanted = {segment.index for segment in missing} | silent
    return Group(
        shot.id,
        tuple(
            Child(
                segment_item(segment),
                "segment/segment",
                f"{shot.id} {segment.index}",
                {**shared, "shot": shot.id, "segment": segment.index},
                again=segment.index in silent,
            )
            for segment in shot.segments
            if segment.index in wanted
        ),
    )


def run_groups(pod: Pod, plan: Plan, groups: Sequence[Group], patience: Patience | None = None) -> int:
    """Start a run for each child, group by group, and wait until none is missing; return how many were started."""
    parent = UUID(str(flow_run.id))
    found = children_of(parent)  # created by an earlier start of this run
    runs = start_children(parent, groups, found)
    wanted = [child for child in runs.values() if not child.again]
    for run in found:
        if run.id in runs:
            revive(pod, plan, runs[run.id], run)
    cancelled = [run for run in found if run.id in runs and run.state in CANCELLED] if found and asked_for() else []
    what = "segment" if any(child.item.kind == "segment" for child in wanted) else "shot"
    board = Board(pod, plan, what)
    wait_for(pod, plan, parent, runs, patience or Patience(grace_seconds=settings().grace_seconds), board, cancelled)
    left = undone(pod, wanted)
    if left:
        names = ", ".join(child.name for child in left[:10]) + (", ..." if len(left) > 10 else "")
        raise ChildrenFailed(f"{len(left)} of {len(wanted)} are not done: {names}; retry those runs")
    return len(wanted)


def undone(pod: Pod, children: Sequence[Child]) -> list[Child]:
    """Return the children whose output is not in the store."""
    with ThreadPoolExecutor(max_workers=ASKING) as threads:
        found = threads.map(lambda child: find_done(pod.store, child.item), children)
        return [child for child, pointer in zip(children, found) if pointer is None]


def revive(pod: Pod, plan: Plan, child: Child, run: Run, states: Collection[str] = ENDED_WITHOUT_OUTPUT) -> bool:
    """Put a run of before back in the queue that has ended although it is needed now; False when that is not so."""
    if run.state not in states or (not child.again and find_done(pod.store, child.item)):
        return False
    verdict = judge(pod.ledger, child.item, plan.key)
    if not verdict.allowed:
        log.warning("not tried again", extra={"run": run.name, "reason": verdict.reason})
        return False
    why = "its neighbours need its latents again" if child.again else "its output is missing"
    return requeue(run, why, in_front=True)  # its place among the shots: no two may be half started


def wait_for(
    pod: Pod,
    plan: Plan,
    parent: UUID,
    runs: Mapping[UUID, Child],
    patience: Patience,
    board: Board,
    cancelled: Sequence[Run] = (),
) -> None:
    """Return when everything is done, or when nothing has moved for a while: what then is undone has failed.

    `cancelled` are runs that are taken up again although somebody cancelled them, as soon as their end is through.
    """
    still_since: float | None = None
    wanted = {run: child for run, child in runs.items() if not child.again}
    missing, kinds = wanted, sorted({child.item.kind for child in runs.values()})
    while missing:
        begun, before = patience.clock(), missing
        cancelled = _take_up(pod, plan, runs, cancelled)
        if _is_moving(parent, kinds):
            still_since, missing = None, _without_done(pod, missing)
        else:
            missing = _without(missing, undone(pod, list(missing.values())))
            still_since = still_since or begun
            waited = begun - still_since
            if waited > min(patience.settle_seconds, patience.grace_seconds):
                states = states_of(list(missing)) or []
                revived = [revive(pod, plan, missing[run.id], run) for run in states]
                still_since = None if any(revived) else still_since
            if still_since and waited > patience.grace_seconds:
                return
        fresh = [child for run, child in before.items() if run not in missing]
        board.show(fresh, len(wanted) - len(missing), len(wanted))
        if missing:
            patience.sleep(max(patience.poll_seconds, (patience.clock() - begun) / patience.share))


def _take_up(pod: Pod, plan: Plan, runs: Mapping[UUID, Child], cancelled: Sequence[Run]) -> Sequence[Run]:
    """Put those of the cancelled runs back in the queue that are cancelled by now; return what is on its way there."""
    if not cancelled:
        return ()
    now = states_of([run.id for run in cancelled])
    if now is None:
        return cancelled
    for run in now:
        revive(pod, plan, runs[run.id], run, ["CANCELLED"])
    return [run for run in now if run.state == "CANCELLING"]


def _is_moving(parent: UUID, kinds: Iterable[str]) -> bool:
    """Say whether any child may get somewhere by itself; a server that does not answer is no verdict."""
    try:
        return count_moving(parent, kinds) > 0
    except Exception as exc:  # noqa: BLE001 - whatever the API says, not knowing is not failing
        log.warning("children not counted", extra={"failure": str(exc)})
        return True


def _without_done(pod: Pod, missing: Mapping[UUID, Child]) -> dict[UUID, Child]:
    """Leave out what is done: the ledger says where to look, in a few queries; the store decides."""
    try:
        known = pod.ledger.statuses([child.item for child in missing.values()])
    except LedgerAway:
        return dict(missing)  # the next look may know more; before a verdict the store is asked for every one
    told = [child for child in missing.values() if (status := known.get(child.item)) and status.state == "done"]
    undone_all_the_same = {child.item for child in undone(pod, told)}
    done = {child.item for child in told} - undone_all_the_same
    return {run: child for run, child in missing.items() if child.item not in done}


def _without(missing: Mapping[UUID, Child], left: Iterable[Child]) -> dict[UUID, Child]:
    items = {child.item for child in left}
    return {run: child for run, child in missing.items() if child.item in items}


def states_of(runs: Sequence[UUID]) -> list[Run] | None:
    """Return the runs' present states; None when the server does not answer, which is no verdict."""
    try:
        return read_runs(runs)
    except Exception as exc:  # noqa: BLE001 - whatever the API says, not knowing is not failing
        log.warning("states not read", extra={"failure": str(exc)})
        return None
