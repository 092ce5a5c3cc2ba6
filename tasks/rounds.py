"""Rounds of reconciling: what crashes and lost events left behind, found from what is true now.

The ledger is brought up to what the store says; runs at which nobody is count as crashed; what `tasks.rerun` does for
one ended run is done for every one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from db.records import Attempt, ItemStatus
from tasks.errors import ConfigError
from tasks.pod import PATIENCE_SECONDS, open_pod
from tasks.pointer import find_done
from tasks.reconcile import reconcile
from tasks.rerun import SETTLE_SECONDS, cancel_children, careful, pod_of, purpose_of, restart, resume_parent
from tasks.runs import ALL_STATES, STOPPABLE, Run, children_of, count_moving, find_runs, mark_crashed, server_now
from tasks.settings import settings
from tasks.work import shot_item

SILENT_SECONDS = 60.0  # a run stays Running so long after its claim was passed over before it counts as dead
UNSTARTED_SECONDS = 300.0  # from a worker's taking a run to its process's first word: imports, on a busy machine
DISPATCH_SECONDS = 1800.0  # until an episode has its first child: it asks the store for every segment before
LOOK_BACK_SECONDS = 14 * 24 * 3600.0


def reconcile_stored(store: str, database: str) -> list[str]:
    """Bring the ledger up to what the store says; return what was done. Raises: StoreError, LedgerAway."""
    with open_pod(store, database, PATIENCE_SECONDS) as pod:
        found = reconcile(pod.store, pod.ledger)
    said = [f"{item}: winner written down" for item in found.adopted]
    said += [f"{item}: claim ended, its worker fell silent" for item in found.expired]
    said += [f"{prefix}: cleared, its shot is published" for prefix in found.cleared]
    return said + [f"{item}: store and ledger disagree, run farm fsck --repair" for item in found.unsettled]


@dataclass(frozen=True)
class Round:
    """What one round has done, and which part of the farm it could not look after."""

    said: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()


def reconcile_round(store: str, database: str, use_prefect: bool) -> Round:
    """Do everything that a reconcile run does, whatever part of the farm is away meanwhile.

    Raises: ConfigError, which the next round would meet as well.
    """
    ledger = _attempt("the ledger", lambda: reconcile_stored(store, database))
    runs = _attempt("the runs", reconcile_runs) if use_prefect else Round()
    return Round(ledger.said + runs.said, ledger.failures + runs.failures)


def _attempt(what: str, action: Callable[[], list[str]]) -> Round:
    try:
        return Round(said=tuple(action()))
    except ConfigError:
        raise
    except Exception as exc:  # noqa: BLE001 - the next round comes in minutes
        return Round(failures=(f"{what}: not looked after ({exc})",))


def reconcile_runs(now: float | None = None) -> list[str]:
    """Do for every run what `look_after` does for one, from what is true now; return what was done.

    A lost event so costs minutes, not an episode.
    """
    now = now or server_now()  # states bear the server's times, and this machine's clock may be wrong
    done: list[str | None] = [
        *_wake_silent(find_runs(states=["RUNNING"]), now),
        *_wake_unstarted(find_runs(states=["PENDING"]), now),
    ]
    for run in find_runs(states=["CRASHED"]):
        if SETTLE_SECONDS <= now - run.since <= LOOK_BACK_SECONDS:
            done.append(careful(restart, run, "it crashed and nobody put it back"))
    for run in find_runs(["episode"], ["FAILED"]):
        if SETTLE_SECONDS <= now - run.since <= LOOK_BACK_SECONDS and count_moving(run.id, states=ALL_STATES):
            done.append(careful(resume_parent, run))
    for run in find_runs(["episode"], ["CANCELLED"]):
        if now - run.since <= LOOK_BACK_SECONDS and count_moving(run.id, states=STOPPABLE):
            done.append(careful(cancel_children, run))
    return [line for line in done if line and not line.startswith("nothing")]


def _wake_silent(runs: Sequence[Run], now: float) -> list[str]:
    """Call runs dead at which nobody is: their worker, or its network, is gone, and nobody could tell the server."""
    said = []
    for run in runs:
        if now - run.since < SILENT_SECONDS:
            continue
        look = _episode_is_silent if run.kind == "episode" else _child_is_silent
        if careful(look, run, now) and mark_crashed(run, "its worker fell silent"):
            said.append(f"{run.name} was silent and counts as crashed")
    return said


def _child_is_silent(run: Run, now: float) -> bool:
    with pod_of(run) as pod:
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
    children = children_of(run.id)
    if not children and now - run.since < DISPATCH_SECONDS:
        return False
    moved = max([run.since, *(child.since for child in children)])
    with pod_of(run) as pod:
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
