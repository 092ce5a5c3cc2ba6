"""Child runs of an episode: created in batches, each once however often the episode starts, and counted in one call.

The children of a group hang on one node of the episode's graph, so a take is one node with a run per segment below it.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

import httpx
from prefect import Task, get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import PrefectHTTPStatusError
from prefect.states import Pending, Scheduled, to_state_create

from db.records import WorkItem
from tasks.errors import TransientError
from tasks.runs import Run

log = logging.getLogger(__name__)
T = TypeVar("T")
LEAD_SECONDS = 2.0  # how far ahead a group is due: longer than it takes to create it
BATCH = 20  # the server takes 100, but a busy one has to answer before the client gives up
PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)  # a minute: a server's restart


@dataclass(frozen=True)
class Child:
    """One work item as a run of a deployment; `again` is a done segment whose messages the others need once more."""

    item: WorkItem
    deployment: str
    name: str
    parameters: Mapping[str, Any]
    again: bool = False


@dataclass(frozen=True)
class Group:
    """Children that are admitted together, under one node of the episode's graph."""

    name: str
    children: tuple[Child, ...] = field(default=())


def start_children(parent: UUID, groups: Sequence[Group], found: Sequence[Run] = ()) -> dict[UUID, Child]:
    """Return every child's run, creating those that are not among the runs `found` of an earlier start.

    Groups are due one after the other. Raises: TransientError when the server stays away or refuses a run.
    """
    known = {run.idempotency_key: run.id for run in found}
    runs = {known[key]: child for _, child in _numbered(groups) if (key := key_of(parent, child)) in known}
    todo = [(number, child) for number, child in _numbered(groups) if key_of(parent, child) not in known]
    with get_client(sync_client=True) as client:
        births = _Births(client, parent, groups)
        for deployment in dict.fromkeys(child.deployment for _, child in todo):
            some = [pair for pair in todo if pair[1].deployment == deployment]
            for first in range(0, len(some), BATCH):
                runs |= births.create(deployment, some[first : first + BATCH])
    return runs


def key_of(parent: UUID, child: Child) -> str:
    """Return what keeps a child from being created twice."""
    return f"{parent}:{child.item.key}"


class _Births:
    """Creates runs below one parent; asks for each deployment and each group's node once."""

    def __init__(self, client: SyncPrefectClient, parent: UUID, groups: Sequence[Group]) -> None:
        self._client, self._parent, self._groups = client, parent, groups
        self._deployments: dict[str, UUID] = {}
        self._nodes: dict[str, UUID] = {}

    def create(self, deployment: str, batch: Sequence[tuple[int, Child]]) -> dict[UUID, Child]:
        """Create a batch of children, given with their group's number; what is there already is found."""
        client, now = self._client, time.time()
        if deployment not in self._deployments:
            self._deployments[deployment] = patiently(lambda: client.read_deployment_by_name(deployment)).id
        body = [self._request(child, self._node(self._groups[number].name), now, number) for number, child in batch]

        def post() -> list[dict[str, Any]]:
            path: Any = "/deployments/{id}/create_flow_run/bulk"  # newer than the client's own list of paths
            answer = client.request("POST", path, path_params={"id": self._deployments[deployment]}, json=body)
            results: list[dict[str, Any]] = answer.json()["results"]
            return results

        for pause in (*PAUSES, None):
            made = patiently(post)
            refused = [one["error"] for one in made if one["status"] != "CREATED"]
            if len(made) == len(batch) and not refused:
                return {UUID(one["flow_run_id"]): child for one, (_, child) in zip(made, batch)}
            first = str(refused[0]).splitlines()[0][:200] if refused else "no word of why"
            said = f"{len(refused)} of {len(batch)} runs were refused: {first}"
            if pause is None:
                break
            log.warning("some runs were not created, they are asked for again", extra={"refusal": said})
            time.sleep(pause)  # a database that was locked, mostly: who was created is found by its key
        raise TransientError(f"{deployment}: {said}")

    def _request(self, child: Child, node: UUID, now: float, number: int) -> dict[str, Any]:
        due = datetime.fromtimestamp(now + LEAD_SECONDS + number * 1e-3, UTC)
        state = to_state_create(Scheduled(scheduled_time=due))
        return {
            "name": f"{child.parameters['episode']} {child.name}",
            "parameters": dict(child.parameters),
            "state": state.model_dump(mode="json", exclude_unset=True),
            "parent_task_run_id": str(node),
            "idempotency_key": key_of(self._parent, child),
            "enforce_parameter_schema": False,  # the plan has made them, and the flow looks at them again
        }

    def _node(self, name: str) -> UUID:
        if name not in self._nodes:
            node: Task[[], None] = Task(fn=lambda: None, name="dispatch")
            node.task_key = "farm.dispatch"
            make = self._client.create_task_run
            made = patiently(lambda: make(node, self._parent, dynamic_key=name, name=name, state=Pending()))
            self._nodes[name] = made.id
        return self._nodes[name]


def patiently(call: Callable[[], T], sleep: Callable[[float], None] = time.sleep) -> T:
    """Return what an idempotent call to the server returns, for a minute whatever is wrong with server or line.

    Raises: TransientError when it stays so; what the server says is wrong with the call itself, at once.
    """
    for pause in (*PAUSES, None):
        try:
            return call()
        except (httpx.TransportError, PrefectHTTPStatusError) as exc:
            status = exc.response.status_code if isinstance(exc, PrefectHTTPStatusError) else 503
            if status < 500:
                raise
            if pause is None:
                raise TransientError(f"Prefect's server does not answer ({exc}); it is asked again later") from exc
            log.warning("the server did not answer, it is asked again", extra={"failure": str(exc)})
            sleep(pause)
    raise AssertionError("the last pause is none")


def _numbered(groups: Sequence[Group]) -> Iterator[tuple[int, Child]]:
    for number, group in enumerate(groups):
        yield from ((number, child) for child in group.children)
