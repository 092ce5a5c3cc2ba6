"""Every episode of the farm in a line: behind `farm status` without a name."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from db.records import EpisodeEntry, WorkItem
from db.report import NOTHING
from tasks.errors import PermanentError
from tasks.overview import Cost, cost_of, items_of, planned_of, state_of
from tasks.plan.types import Plan
from tasks.pod import Pod
from tasks.settings import settings
from tasks.store import content_key
from tasks.waivers import apply_waivers


@dataclass(frozen=True)
class Counts:
    """One episode: its segments by state (of a finished one nobody counts them any more), and what it has cost."""

    episode: str
    film_done: bool
    states: Mapping[str, int]
    cost: Cost
    spent_gpu_hours: float
    budget_gpu_hours: float  # 0: no limit
    fault: str = ""  # why its segments cannot be counted

    @property
    def num_segments(self) -> int:
        return sum(self.states.values())


def list_episodes(pod: Pod, usd_per_hour: float = 0.0) -> list[Counts]:
    """Return a line for each episode, by name. Reads the plans of those that are not finished, nothing else.

    Raises: StoreError, LedgerAway.
    """
    newest: dict[str, EpisodeEntry] = {}
    for entry in pod.ledger.episodes():
        newest.setdefault(entry.name, entry)
    films = pod.ledger.statuses([WorkItem("film", entry.key) for entry in newest.values()])
    done = {film.key for film, status in films.items() if status.state == "done"}
    plans, faults = _plans(pod, [entry for entry in newest.values() if entry.key not in done])
    states, usage = _states(pod, plans), pod.ledger.usage_by_name()
    found = []
    for name, entry in sorted(newest.items()):
        cost = usage.get(name, NOTHING)
        found.append(
            Counts(
                episode=name,
                film_done=entry.key in done,
                states=states.get(name, {}),
                cost=cost_of(name, cost, usd_per_hour),
                spent_gpu_hours=cost.gpu_seconds / 3600,
                budget_gpu_hours=settings().budget_gpu_hours,
                fault=faults.get(name, ""),
            )
        )
    return found


def _plans(pod: Pod, entries: Sequence[EpisodeEntry]) -> tuple[dict[str, Plan], dict[str, str]]:
    """Return the plans by the episodes' names, and why some cannot be read."""
    plans, faults = {}, {}
    for entry in entries:
        try:
            plans[entry.name] = planned_of(pod, entry.name, content_key(entry.plan_sha256))
        except PermanentError as exc:  # one that is unreadable must not hide the others
            faults[entry.name] = str(exc)
    return plans, faults


def _states(pod: Pod, plans: Mapping[str, Plan]) -> dict[str, Counter[str]]:
    """Return how many segments of each episode are in which state; all plans' are asked for together."""
    planned = pod.ledger.statuses(_segments(plans.values()))
    waivers = {item.key: status.waived_with for item, status in planned.items() if status.state == "waived"}
    plans = {name: apply_waivers(plan, waivers) for name, plan in plans.items()}
    known = pod.ledger.statuses(_segments(plans.values())) if waivers else planned
    found = {}
    for name, plan in plans.items():
        standing = [known.get(item) for item in _segments([plan])]
        found[name] = Counter(state_of(status.state if status else "pending", ()) for status in standing)
    return found


def _segments(plans: Iterable[Plan]) -> list[WorkItem]:
    return [item for plan in plans for _, index, item in items_of(plan) if index is not None]
