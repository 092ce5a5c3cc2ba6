"""A person's wish to try again, carried out: forgiven in the ledger, queued again in Prefect."""

from collections.abc import Sequence
from dataclasses import dataclass

from db.records import WorkItem
from tasks.admission import forgive, judge_episode
from tasks.errors import ObjectMissing
from tasks.overview import find_order, items_of, planned_of, standings
from tasks.plan.types import Plan
from tasks.pod import Pod
from tasks.register import register
from tasks.runs import Run, find_runs, parent_of, requeue, server_now
from tasks.waivers import apply_waivers, load_order, read_waivers


@dataclass(frozen=True)
class Retried:
    """What was forgiven, and which runs are queued again (none: start the episode again).

    `stopped` says why nothing will be started all the same: no forgiving makes a budget larger.
    """

    forgiven: tuple[str, ...]
    queued: tuple[str, ...]
    stopped: str = ""


def retry(
    pod: Pod, episode: str, shot: str, segment: int | None, states: Sequence[str], who: str, why: str, use_prefect: bool
) -> Retried:
    """Forgive what failed of an episode (or a shot, a segment, some states only) and queue its runs again.

    Raises: ObjectMissing when the episode, shot or segment is not known, LedgerAway, StoreError; httpx errors when
    Prefect does not answer: then nothing was forgiven.
    """
    _, order = find_order(pod, episode)
    planned = planned_of(pod, episode, order)
    plan = apply_waivers(planned, read_waivers(pod.ledger, planned))
    wanted = _named(plan, shot, segment)
    if use_prefect:
        server_now()
    known = standings(pod.ledger, [item for _, _, item in wanted])
    named: list[str] = []
    chosen: list[tuple[str, int | None]] = []
    for shot_id, index, item in wanted:
        state = known[item].state
        if state in states:
            forgive(pod.ledger, item, plan.key, who, why)
            named.append(f"{shot_id}" if index is None else f"{shot_id}/{index}")
        if state in states or (state == "waiting" and "failed" in states):
            chosen.append((shot_id, index))  # its run may be red all the same: refused, or waiting for a red neighbour
    key = _renewed(pod, order, plan)
    queued = _queue(order, chosen, who) if use_prefect else []
    return Retried(tuple(named), tuple(queued), judge_episode(pod.ledger, key).reason)


def _named(plan: Plan, shot: str, segment: int | None) -> list[tuple[str, int | None, WorkItem]]:
    """Return what was asked for. Raises: ObjectMissing with the names that there are."""
    found = items_of(plan, shot, segment)
    if not found:
        shots = {part.id: part for part in plan.shots}
        if shot not in shots:
            raise ObjectMissing(f"episode {plan.episode!r} has no shot {shot!r}; it has {', '.join(shots)}")
        last = len(shots[shot].segments) - 1
        raise ObjectMissing(f"shot {shot!r} has no segment {segment}; it has {f'0 to {last}' if last else 'only 0'}")
    return found


def _renewed(pod: Pod, order: str, plan: Plan) -> str:
    """Return the key of what is rendered now; a waiver taken back makes it another plan, which is written down."""
    now = load_order(pod, order)
    if now.key != plan.key:
        register(pod.ledger, now, order)
    return now.key


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
