"""What a three-minute round finds wrong between Prefect's flow runs and the cluster's Jobs, and what it does about it.

A Job's status is never a run's result, and Prefect misses things: a pod that can never start stays
InfrastructurePending, a Job that vanished while its worker was down leaves its run Running, a deleted run leaves its
Job computing, and a dead node holds a pod that nobody will end.
`judge` is pure; `tasks.cluster.sweep_round` reads and acts.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tasks.cluster.diagnosis import HOPELESS, STARTS_AGAIN, Cause, diagnose, finished, is_suspended, when
from tasks.cluster.job_template import POOL_LABEL

Object = dict[str, Any]
RUN_LABEL = "prefect.io/flow-run-id"
TERMINAL = frozenset({"COMPLETED", "FAILED", "CRASHED", "CANCELLED"})
ON_THE_GROUND = frozenset({"PENDING", "RUNNING"})


@dataclass(frozen=True)
class Patience:
    """How long the sweeper watches before it acts, in seconds."""

    hopeless: float = 120.0  # a registry's hiccup is over by then
    pending: float = 1800.0  # an autoscaler brings a GPU node in less
    lost: float = 300.0  # a worker restarts in less
    orphan: float = 60.0  # a pod ends this long after its run at most


PATIENCE = Patience()


@dataclass(frozen=True)
class RunFact:
    """A flow run as Prefect sees it; `since` in seconds since 1970."""

    id: str
    name: str
    state: str  # PENDING, RUNNING, COMPLETED, ...
    state_id: str
    since: float
    pool: str


@dataclass(frozen=True)
class Ground:
    """What the cluster holds: the pools' Jobs with their pods and events, and every node."""

    jobs: tuple[Object, ...] = ()
    pods: tuple[Object, ...] = ()
    events: tuple[Object, ...] = ()
    nodes: tuple[Object, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """One thing to put right: a run's new state (or none), and the Jobs to delete."""

    kind: Literal["orphan", "stuck", "lost"]
    run_id: str
    state_id: str  # act only while the run is still in the state that was judged
    new_state: Literal["", "Failed", "Crashed"]
    sentence: str
    jobs: tuple[str, ...] = field(default=())


def judge(
    ground: Ground,
    runs: Mapping[str, RunFact],
    now: float,
    *,
    patience: Patience = PATIENCE,
    paused: frozenset[str] = frozenset(),
) -> list[Verdict]:
    """Return what is wrong, one verdict a run, in a stable order.

    `runs` holds every run that is pending or running on the pools, and every run that a Job names and Prefect knows.
    Pods of `paused` pools may wait for ever: somebody is draining the cluster.
    """
    jobs_of = jobs_by_run(ground.jobs)
    verdicts = []
    for run_id in sorted(set(jobs_of) | set(runs)):
        run, jobs = runs.get(run_id), jobs_of.get(run_id, [])
        if run is None or run.state in TERMINAL:
            found = _orphan(run_id, run, jobs, now, patience)
        elif run.state not in ON_THE_GROUND:
            found = None
        elif all(finished(job) for job in jobs):
            found = _lost(run, jobs, now, patience)
        else:
            found = None if run.pool in paused else _stuck(run, jobs, ground, now, patience)
        if found:
            verdicts.append(found)
    return verdicts


def jobs_by_run(jobs: Iterable[Object]) -> dict[str, list[Object]]:
    """Return the pools' Jobs by the flow run they serve."""
    found: dict[str, list[Object]] = defaultdict(list)
    for job in jobs:
        labels = job["metadata"].get("labels", {})
        if RUN_LABEL in labels and POOL_LABEL in labels:
            found[labels[RUN_LABEL]].append(job)
    return dict(found)


def _orphan(run_id: str, run: RunFact | None, jobs: list[Object], now: float, patience: Patience) -> Verdict | None:
    """A Job that still runs for a run that has ended, or that Prefect does not know."""
    since = run.since if run else 0.0
    living = tuple(
        _name(job) for job in jobs if not finished(job) and now - max(since, _created(job)) >= patience.orphan
    )
    if not living:
        return None
    why = f"is {run.state.lower()}" if run else "is unknown to Prefect"
    sentence = f"run {run.name if run else run_id} {why}, but {', '.join(living)} still runs"
    return Verdict("orphan", run_id, run.state_id if run else "", "", sentence, living)


def _lost(run: RunFact, jobs: list[Object], now: float, patience: Patience) -> Verdict | None:
    """A run that claims to be on the ground, while the ground holds nothing of it."""
    ended = max([run.since, *(_ended(job) for job in jobs)])
    if now - ended < patience.lost:
        return None
    what = f"its Job {_name(jobs[-1])} has ended ({finished(jobs[-1])})" if jobs else "it has no Job"
    sentence = (
        f"{run.state.lower()} for {now - run.since:.0f} s, but {what}; the run is crashed so that it starts again"
    )
    return Verdict("lost", run.id, run.state_id, "Crashed", sentence)


def _stuck(run: RunFact, jobs: list[Object], ground: Ground, now: float, patience: Patience) -> Verdict | None:
    """A run whose pod does not start, with the reason in one sentence."""
    for job in jobs:
        pods = [pod for pod in ground.pods if _owner(pod) == _name(job)]
        concerned = {_name(job), *(_name(pod) for pod in pods)}
        events = [event for event in ground.events if event.get("involvedObject", {}).get("name") in concerned]
        diagnosis = None if is_suspended(job) else diagnose(job, pods, events, ground.nodes)
        if diagnosis is None:
            continue
        waited = now - max([_started(job), *(_changed(pod) for pod in pods)])
        if waited < _limit(diagnosis.cause, patience):
            continue
        sentence = f"nothing has run for {waited:.0f} s: {diagnosis}"
        state: Literal["Failed", "Crashed"] = "Crashed" if diagnosis.cause in STARTS_AGAIN else "Failed"
        return Verdict("stuck", run.id, run.state_id, state, sentence, tuple(_name(job) for job in jobs))
    return None


def _limit(cause: Cause, patience: Patience) -> float:
    if cause in HOPELESS:
        return patience.hopeless
    return patience.lost if cause == "dead_node" else patience.pending


def _name(thing: Object) -> str:
    return str(thing["metadata"]["name"])


def _created(thing: Object) -> float:
    return when(thing["metadata"].get("creationTimestamp"))


def _started(job: Object) -> float:
    """Return when a Job was last let go: the server sets its start anew each time a queue resumes it."""
    return max(_created(job), when(job.get("status", {}).get("startTime")))


def _changed(pod: Object) -> float:
    """Return when a pod was last asked for something: to exist, or to go (its grace period included)."""
    return when(pod["metadata"].get("deletionTimestamp")) or _created(pod)


def _ended(job: Object) -> float:
    conditions = job.get("status", {}).get("conditions", [])
    return max((when(condition.get("lastTransitionTime")) for condition in conditions), default=_created(job))


def _owner(pod: Object) -> str:
    owners = pod["metadata"].get("ownerReferences", [])
    return next((str(owner["name"]) for owner in owners if owner["kind"] == "Job"), "")
