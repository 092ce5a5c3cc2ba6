"""Flow runs as the farm sees them: what each is for, where it stands, and how to put it back in the queue."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from uuid import UUID

from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterName,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.exceptions import ObjectNotFound
from prefect.states import AwaitingRetry, Cancelling, Crashed, to_state_create

BATCH = 200
BULK = 20  # the server sets one after the other, and the client gives up after a minute
OURS = "farm: "  # how the message of every state begins that the farm itself sets
PERSON = "Retry from the UI"  # what the dashboard writes when somebody presses Retry
TYPED = "Retried via CLI"  # what `prefect flow-run retry` writes
MOVING = {"SCHEDULED", "PENDING", "RUNNING", "PAUSED", "CANCELLING"}
STOPPABLE = MOVING - {"CANCELLING"}
ALL_STATES = {state.value for state in StateType}
CHILDREN = ("segment", "shot")
FLOWS = (*CHILDREN, "episode")


@dataclass(frozen=True)
class Run:
    """One flow run; `since` is when it entered its state, in seconds since 1970."""

    id: UUID
    name: str
    state: str  # SCHEDULED, RUNNING, COMPLETED, FAILED, CRASHED, ...
    state_id: str
    since: float
    run_count: int
    parameters: dict[str, Any]
    parent_task: UUID | None
    expected_start: datetime | None
    idempotency_key: str = ""
    infrastructure: str = ""  # what a worker started for it: a process id, or cluster:namespace:job; empty: nothing yet

    @property
    def moving(self) -> bool:
        """Say whether it may still get somewhere by itself."""
        return self.state in MOVING

    @property
    def kind(self) -> str:
        """Return segment, shot or episode."""
        if "segment" in self.parameters:
            return "segment"
        return "shot" if "shot" in self.parameters else "episode"


def as_run(run: FlowRun) -> Run:
    """Return what the farm needs to know of a run."""
    state = run.state
    return Run(
        id=run.id,
        name=run.name,
        state=state.type.value if state else "SCHEDULED",
        state_id=str(state.id) if state else "",
        since=state.timestamp.timestamp() if state else time.time(),
        run_count=run.run_count,
        parameters=dict(run.parameters),
        parent_task=run.parent_task_run_id,
        expected_start=run.expected_start_time,
        idempotency_key=run.idempotency_key or "",
        infrastructure=run.infrastructure_pid or "",
    )


def read_run(run_id: UUID) -> Run | None:
    """Return one run, None when Prefect does not know it."""
    with get_client(sync_client=True) as client:
        try:
            return as_run(client.read_flow_run(run_id))
        except ObjectNotFound:
            return None


def read_runs(ids: Sequence[UUID]) -> list[Run]:
    """Return the runs' present states, asked for in batches."""
    found: list[Run] = []
    with get_client(sync_client=True) as client:
        for first in range(0, len(ids), BATCH):
            some = FlowRunFilter(id=FlowRunFilterId(any_=list(ids[first : first + BATCH])))
            found += [as_run(run) for run in client.read_flow_runs(flow_run_filter=some, limit=BATCH)]
    return found


def find_runs(flows: Iterable[str] = FLOWS, states: Iterable[str] = (), names: Iterable[str] = ()) -> list[Run]:
    """Return every run of these flows that is in one of these states and has one of these names (none given: any)."""
    types, called = [StateType(state) for state in states], list(names)
    wanted = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=types)) if types else None,
        name=FlowRunFilterName(any_=called) if called else None,
    )
    with get_client(sync_client=True) as client:
        return [as_run(run) for run in _pages(client, wanted, tuple(flows))]


def parent_of(run: Run) -> Run | None:
    """Return the run that dispatched this one, None when nobody did."""
    if run.parent_task is None:
        return None
    with get_client(sync_client=True) as client:
        try:
            parent = client.read_task_run(run.parent_task).flow_run_id
        except ObjectNotFound:
            return None
    return read_run(parent) if parent else None


def children_of(parent: UUID, states: Iterable[str] = ()) -> list[Run]:
    """Return the runs that a run has dispatched and that are in one of these states (none given: any)."""
    types = [StateType(state) for state in states]
    wanted = FlowRunFilter(
        parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[parent]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=types)) if types else None,
    )
    with get_client(sync_client=True) as client:
        return [as_run(run) for run in _pages(client, wanted, CHILDREN)]


def count_moving(parent: UUID, flows: Iterable[str] = CHILDREN, states: Iterable[str] = MOVING) -> int:
    """Return how many of the runs that a run has dispatched may still get somewhere by themselves."""
    types = [StateType(state) for state in sorted(states)]
    wanted = FlowRunFilter(
        parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[parent]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=types)),
    )
    with get_client(sync_client=True) as client:
        return client.count_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=list(flows))), flow_run_filter=wanted
        )


def requeue(run: Run, why: str, *, delay_seconds: float = 0.0, in_front: bool = False) -> bool:
    """Put a run that has ended back in the queue; False when it has moved on since it was judged.

    `in_front` gives it the place it had: the other segments of its take hold their GPUs and wait for it.
    """
    when = min(later(), run.expected_start) if in_front and run.expected_start else later(delay_seconds)
    return _set_state(run, AwaitingRetry(scheduled_time=when, message=OURS + why))


def cancel_runs(runs: Sequence[Run], why: str) -> int:
    """Cancel runs: at once where nothing was started for them, else as soon as a worker has ended it.

    Returns how many; one that has ended meanwhile is left as it is.
    """
    state = to_state_create(Cancelling(message=OURS + why)).model_dump(mode="json", exclude_unset=True)
    path: Any = "/flow_runs/bulk_set_state"  # newer than the client's own list of paths
    cancelled = 0
    with get_client(sync_client=True) as client:
        for first in range(0, len(runs), BULK):
            some = [str(run.id) for run in runs[first : first + BULK]]
            wanted = {"id": {"any_": some}, "state": {"type": {"any_": sorted(STOPPABLE)}}}
            body = {"flow_runs": wanted, "state": state, "limit": BULK}
            results = client.request("POST", path, json=body).json()["results"]
            cancelled += sum(one["status"] in ("ACCEPT", "REJECT") for one in results)  # rejected: cancelled at once
    return cancelled


def mark_crashed(run: Run, why: str) -> bool:
    """Say of a run that claims to be running that it is not; False when it has moved on."""
    return _set_state(run, Crashed(message=OURS + why))


def server_now() -> float:
    """Return the server's time in seconds since 1970, which is what every state's time is measured with."""
    with get_client(sync_client=True) as client:
        said = client.request("GET", "/admin/version").headers.get("date")
    return parsedate_to_datetime(said).timestamp() if said else time.time()


def asked_by_a_person(run_id: UUID) -> bool:
    """Say whether this start of a run is one that somebody asked for in the dashboard or with `prefect`."""
    with get_client(sync_client=True) as client:
        states = client.read_flow_run_states(run_id)
    scheduled = [state for state in states if state.type == StateType.SCHEDULED]
    if not scheduled:
        return False
    newest = max(scheduled, key=lambda state: state.timestamp)
    return any(words in (newest.message or "") for words in (PERSON, TYPED))


def later(seconds: float = 0.0) -> datetime:
    """Return the time so many seconds from now."""
    return datetime.fromtimestamp(time.time() + seconds, UTC)


def _set_state(run: Run, state: Any) -> bool:
    with get_client(sync_client=True) as client:
        now = as_run(client.read_flow_run(run.id))
        if now.state_id != run.state_id:
            return False
        answer = client.set_flow_run_state(run.id, state)
    return answer.status.value == "ACCEPT"


def _pages(client: SyncPrefectClient, wanted: FlowRunFilter | None, flows: tuple[str, ...]) -> Iterator[FlowRun]:
    offset = 0
    while True:
        page = client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=list(flows))),
            flow_run_filter=wanted,
            limit=BATCH,
            offset=offset,
        )
        yield from page
        offset += len(page)
        if len(page) < BATCH:
            return
