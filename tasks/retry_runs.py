"""A person's wish to try again, carried out: forgiven in the ledger, queued again in Prefect."""

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.admission import forgive
from tasks.overview import find_order, items_of, state_of
from tasks.pod import Pod
from tasks.runs import Run, find_runs, parent_of, requeue
from tasks.waivers import load_order


@dataclass(frozen=True)
class Retried:
    """What was forgiven, and which runs are queued again; no run: start the episode again."""

    forgiven: tuple[str, ...]
    queued: tuple[str, ...]


def retry(
    pod: Pod, episode: str, shot: str, segment: int | None, states: Sequence[str], who: str, why: str, use_prefect: bool
) -> Retried:
    """Forgive what failed of an episode (or a shot, a segment, some states only) and queue its runs again.

    Raises: ObjectMissing when the episode is not known, LedgerAway, StoreError.
    """
    _, order = find_order(pod, episode)
    plan = load_order(pod, order)
    named: list[str] = []
    chosen: list[tuple[str, int | None]] = []
    for shot_id, index, item in items_of(plan, shot, segment):
        status = pod.ledger.status(item)
        state = state_of(status.state, pod.ledger.attempts(item)) if status else "waiting"
        if state in states:
            forgive(pod.ledger, item, plan.key, who, why)
            named.append(f"{shot_id}" if index is None else f"{shot_id}/{index}")
        if state in states or (state == "waiting" and "failed" in states):
            chosen.append((shot_id, index))  # its run may be red all the same: refused, or waiting for a red neighbour
    queued = _queue(order, chosen, who) if use_prefect else []
    return Retried(tuple(named), tuple(queued))


def _queue(order: str, chosen: Sequence[tuple[str, int | None]], who: str) -> list[str]:
    queued, parents = [], {}
    for run in find_runs(["segment", "shot"], ["FAILED", "CRASHED"]):
        if not _is_chosen(run, order, chosen):
            continue
        parent = parent_of(run)
        if parent and parent.state in ("FAILED", "CRASHED"):
            parents[parent.id] = parent
        if requeue(run, f"farm retry by {who}", in_front=True):  # the rest of its take may hold GPUs and wait for it
            queued.append(run.name)
    # The parent finds its children on their way and waits for them; what became due meanwhile is found done.
    queued += [parent.name for parent in parents.values() if requeue(parent, f"farm retry by {who}")]
    return queued


def _is_chosen(run: Run, order: str, chosen: Sequence[tuple[str, int | None]]) -> bool:
    index = run.parameters.get("segment")
    return run.parameters.get("order") == order and (str(run.parameters.get("shot")), index) in chosen
