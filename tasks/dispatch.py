"""Segments and shots as deployment runs of their own, and the barrier that waits for them.

A child run is created once per parent run and work item, however often the parent is started again. "Done" is what the
store says, never a run's state: the states only tell whether anything is still moving.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from prefect import get_client, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from prefect.runtime import flow_run

from db.records import WorkItem
from tasks.errors import TransientError
from tasks.ingest import load_plan
from tasks.plan.types import Plan
from tasks.pod import open_pod
from tasks.pointer import find_done
from tasks.work import segment_item, shot_item

BATCH = 200
POLL_SECONDS = 2.0
GRACE_SECONDS = 60.0  # a failed child is a verdict only after nothing has moved for so long
MOVING = {"SCHEDULED", "PENDING", "RUNNING", "PAUSED", "CANCELLING"}


class ChildrenFailed(TransientError):
    """Some children did not finish; press Retry on them, the parent then goes on by itself."""


@dataclass(frozen=True)
class Child:
    """One work item as a run of a deployment."""

    item: WorkItem
    deployment: str
    name: str
    parameters: Mapping[str, Any]


def run_segments(episode: str, order: str, store: str, database: str) -> int:
    """Give every missing segment to a worker and wait until all are done; return how many there were.

    Raises: ChildrenFailed when some stay undone.
    """
    with open_pod(store, database) as pod:
        plan = load_plan(pod.store, order)
    shared = {"episode": episode, "order": order, "store": store, "database": database}
    children = [
        Child(
            segment_item(s), "segment/segment", f"{shot.id} {s.index}", {**shared, "shot": shot.id, "segment": s.index}
        )
        for shot in plan.shots
        for s in shot.segments
    ]
    return run_children(children, store, database)


def run_shots(episode: str, order: str, store: str, database: str) -> int:
    """Give every missing shot picture to a worker and wait until all are done; return how many there were.

    Raises: ChildrenFailed when some stay undone.
    """
    with open_pod(store, database) as pod:
        plan: Plan = load_plan(pod.store, order)
    shared = {"episode": episode, "order": order, "store": store, "database": database}
    children = [Child(shot_item(plan, shot), "shot/shot", shot.id, {**shared, "shot": shot.id}) for shot in plan.shots]
    return run_children(children, store, database)


def run_children(children: Sequence[Child], store: str, database: str) -> int:
    """Start a run for each child that is not done and wait for them; return how many were started."""
    missing = undone(children, store, database)
    if missing:
        runs = [start_child(child, str(flow_run.id)) for child in missing]
        wait_for(runs, lambda: not undone(missing, store, database))
        left = undone(missing, store, database)
        if left:
            names = ", ".join(child.name for child in left[:10]) + (", ..." if len(left) > 10 else "")
            raise ChildrenFailed(f"{len(left)} of {len(missing)} are not done: {names}; retry those runs")
    return len(missing)


def undone(children: Sequence[Child], store: str, database: str) -> list[Child]:
    """Return the children whose output is not in the store."""
    with open_pod(store, database) as pod:
        return [child for child in children if find_done(pod.store, child.item) is None]


@task(name="dispatch", task_run_name="dispatch {child.name}", cache_policy=NO_CACHE, retries=3, retry_delay_seconds=2)
def start_child(child: Child, parent: str) -> UUID:
    """Create the child's run, or find the one that this parent has created before; return its id."""
    run: Any = run_deployment(
        child.deployment,
        parameters=dict(child.parameters),
        timeout=0,
        as_subflow=True,
        idempotency_key=f"{parent}:{child.item.key}",
    )
    return UUID(str(run.id))


def wait_for(runs: Sequence[UUID], all_done: Callable[[], bool]) -> None:
    """Return when everything is done, or when nothing has moved for a while: what then is undone has failed."""
    still_since: float | None = None
    while not all_done():
        moving = any_moving(runs)
        if moving:
            still_since = None
        else:
            still_since = still_since or time.monotonic()
            if time.monotonic() - still_since > GRACE_SECONDS:
                return
        time.sleep(POLL_SECONDS)


def any_moving(runs: Sequence[UUID]) -> bool:
    """Say whether any run may still get somewhere; a server that does not answer is no verdict."""
    try:
        return any(run.state is None or run.state.type.value in MOVING for run in read_runs(runs))
    except Exception:  # noqa: BLE001 - whatever the API says, not knowing is not failing
        return True


def read_runs(runs: Sequence[UUID]) -> list[FlowRun]:
    """Return the runs' present states, asked for in batches."""
    found: list[FlowRun] = []
    with get_client(sync_client=True) as client:
        for first in range(0, len(runs), BATCH):
            some = FlowRunFilter(id=FlowRunFilterId(any_=list(runs[first : first + BATCH])))
            found += client.read_flow_runs(flow_run_filter=some, limit=BATCH)
    return found
