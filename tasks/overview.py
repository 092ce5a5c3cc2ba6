"""Where an episode stands: every segment, what it has cost, how long it will take. Behind `farm status`.

The ledger is asked, in a number of questions that does not depend on how many segments there are; the store for the
film, and for the steps of segments that are under way.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from db.ledger import Ledger
from db.limits import LIMITS, may_retry
from db.records import Attempt, EpisodeEntry, ItemStatus, WorkItem
from db.report import NOTHING, Usage
from tasks.admission import judge_episode
from tasks.errors import ObjectMissing, PermanentError
from tasks.exchange import Checkpoints
from tasks.ingest import load_plan
from tasks.plan.types import Plan, SegmentPlan, ShotPlan
from tasks.pod import Pod
from tasks.pointer import find_done
from tasks.settings import settings
from tasks.store import content_key
from tasks.waivers import apply_waivers, read_waivers
from tasks.work import film_item, segment_item, shot_item


@dataclass(frozen=True)
class Line:
    """One segment: `state` is what the farm does with it, `reason` why it does nothing."""

    shot: str
    segment: int
    windows: int
    state: str  # done, running, waiting, failed, crashed, rejected, waived
    steps: int
    num_steps: int
    attempts: int
    useful_seconds: float
    wasted_seconds: float
    worker: str
    reason: str
    key: str


@dataclass(frozen=True)
class Cost:
    """Hours on GPUs (worker hours where there are none), useful if the attempt won."""

    what: str
    useful_hours: float
    wasted_hours: float
    usd: float


@dataclass(frozen=True)
class Overview:
    """An episode as a whole; what it has cost counts all its plans, before an edit or a waiver too."""

    episode: str
    order: str
    lines: tuple[Line, ...]
    shots_done: int
    num_shots: int
    film_done: bool
    seconds_left: float | None  # None: nothing is known yet
    costs: tuple[Cost, ...]
    spent_gpu_hours: float
    budget_gpu_hours: float  # 0: no limit
    stopped: str  # why nothing of it is started any more, breaker or budget; empty when that is not so

    @property
    def num_done(self) -> int:
        return sum(line.state in ("done", "waived") for line in self.lines)


@dataclass(frozen=True)
class Standing:
    """What the ledger knows of one work item."""

    status: ItemStatus | None = None
    attempts: Sequence[Attempt] = field(default=())

    @property
    def state(self) -> str:
        """Return the word for its state that tells what a person can do about it."""
        return state_of(self.status.state if self.status else "pending", self.attempts)

    @property
    def held_back(self) -> str:
        """Return why the farm does not try it again by itself; empty when it does."""
        return may_retry(self.attempts, self.status.forgiven if self.status else 0, LIMITS).reason


def find_order(pod: Pod, episode: str) -> tuple[EpisodeEntry, str]:
    """Return the plan of an episode's name that was asked for last and its key in the store. Raises: ObjectMissing."""
    found = pod.ledger.episodes(episode)
    if not found:
        known = sorted({entry.name for entry in pod.ledger.episodes()})
        raise ObjectMissing(f"episode {episode!r}: never rendered here; known: {', '.join(known) or 'none'}")
    return found[0], content_key(found[0].plan_sha256)


def planned_of(pod: Pod, episode: str, order: str) -> Plan:
    """Return an order's plan without waivers. Raises: ObjectMissing; PermanentError for one of another version."""
    try:
        return load_plan(pod.store, order)
    except ObjectMissing as exc:
        raise ObjectMissing(f"episode {episode!r}: its plan is not in {pod.store.url}; is that its store?") from exc
    except ValueError as exc:
        raise PermanentError(f"episode {episode!r}: planned by another version of the farm; submit it again") from exc


def standings(ledger: Ledger, items: Sequence[WorkItem]) -> dict[WorkItem, Standing]:
    """Return where each of these items stands, in two questions for each kind of them. Raises: LedgerAway."""
    known, tried = ledger.statuses(items), ledger.attempts_of(items)
    return {item: Standing(known.get(item), tried.get(item, ())) for item in items}


def overview(pod: Pod, episode: str, usd_per_hour: float = 0.0) -> Overview:
    """Return where an episode stands. Raises: ObjectMissing, StoreError, LedgerAway."""
    entry, order = find_order(pod, episode)
    planned = planned_of(pod, episode, order)
    waivers = read_waivers(pod.ledger, planned)
    plan = apply_waivers(planned, waivers)
    known = standings(pod.ledger, [item for _, _, item in items_of(plan)])
    stopped = judge_episode(pod.ledger, plan.key).reason
    lines = tuple(
        _line(pod, plan, shot, segment, known[segment_item(segment)], waivers.get(segment.key, ""), stopped)
        for shot in plan.shots
        for segment in shot.segments
    )
    film_done = find_done(pod.store, film_item(plan)) is not None
    spent = pod.ledger.usage(name_of=entry.key)
    return Overview(
        episode=plan.episode,
        order=order,
        lines=lines,
        shots_done=sum(known[shot_item(plan, shot)].state == "done" for shot in plan.shots),
        num_shots=len(plan.shots),
        film_done=film_done,
        seconds_left=seconds_left(lines),
        costs=tuple(_costs(pod.ledger, plan, entry, spent, usd_per_hour)),
        spent_gpu_hours=spent.gpu_seconds / 3600,
        budget_gpu_hours=settings().budget_gpu_hours,
        stopped="" if film_done else stopped,
    )


def seconds_left(lines: Sequence[Line]) -> float | None:
    """Return how long the rest takes if it goes on as it went: done seconds per window and step, over all workers."""
    done = [line for line in lines if line.state == "done" and line.useful_seconds]
    if not done:
        return None
    pace = sum(line.useful_seconds for line in done) / sum(line.windows * line.num_steps for line in done)
    open_lines = [line for line in lines if line.state not in ("done", "waived")]
    work = sum(line.windows * (line.num_steps - line.steps) * pace for line in open_lines)
    return work / max(1, sum(line.state == "running" for line in lines))


def state_of(state: str, attempts: Sequence[Attempt]) -> str:
    """Return the word for an item's state that tells what a person can do about it."""
    newest = attempts[-1] if attempts else None
    if state == "failed" and newest and newest.failure_class == "failed_checks":
        return "rejected"
    if state == "pending" and newest and newest.state == "lost":
        return "crashed"
    return {"pending": "waiting"}.get(state, state)


def _line(
    pod: Pod, plan: Plan, shot: ShotPlan, segment: SegmentPlan, known: Standing, waiver: str, stopped: str
) -> Line:
    state, attempts = known.state, known.attempts
    reason = waiver or known.held_back
    if not reason and state in ("failed", "rejected", "crashed") and attempts:
        reason = attempts[-1].message
    if state in ("waiting", "crashed"):
        reason = reason or stopped
    under_way = attempts and state != "done"
    steps = Checkpoints(pod.store, segment).num_done() if under_way else 0
    return Line(
        shot=shot.id,
        segment=segment.index,
        windows=segment.num_windows,
        state=state,
        steps=plan.steps if state == "done" else steps,
        num_steps=plan.steps,
        attempts=len(attempts),
        useful_seconds=sum(attempt.useful_seconds for attempt in attempts),
        wasted_seconds=sum(attempt.wasted_seconds for attempt in attempts),
        worker=known.status.worker if known.status and state == "running" else "",
        reason=reason,
        key=segment.key,
    )


def _costs(ledger: Ledger, plan: Plan, entry: EpisodeEntry, spent: Usage, usd_per_hour: float) -> Sequence[Cost]:
    by_shot = ledger.usage_by_shot(entry.key)
    told = [(f"show {plan.show}", ledger.usage(show=plan.show))] if plan.show else []
    told += [(f"episode {plan.episode}", spent)]
    told += [(f"shot {shot.id}", by_shot.get(shot.id, NOTHING)) for shot in plan.shots]
    return [cost_of(what, usage, usd_per_hour) for what, usage in told]


def cost_of(what: str, usage: Usage, usd_per_hour: float) -> Cost:
    """Return what something has cost in hours and money."""
    useful, wasted = usage.useful_seconds, usage.wasted_seconds
    if usage.gpu_seconds:
        useful, wasted = usage.useful_gpu_seconds, usage.wasted_gpu_seconds
    return Cost(what, useful / 3600, wasted / 3600, usage.gpu_seconds / 3600 * usd_per_hour)


def segment_named(pod: Pod, name: str, *, as_planned: bool = False) -> tuple[Plan, ShotPlan, SegmentPlan]:
    """Return the segment that EPISODE/SHOT/INDEX names, as it is rendered now or as it was planned without waivers.

    Raises: ObjectMissing when there is none.
    """
    episode, _, rest = name.partition("/")
    shot_id, _, index = rest.rpartition("/")
    _, order = find_order(pod, episode)
    plan = planned_of(pod, episode, order)
    if not as_planned:
        plan = apply_waivers(plan, read_waivers(pod.ledger, plan))
    for shot in plan.shots:
        for segment in shot.segments:
            if shot.id == shot_id and str(segment.index) == index:
                return plan, shot, segment
    raise ObjectMissing(f"segment {name!r}: write EPISODE/SHOT/INDEX as `farm status {episode}` lists them")


def items_of(plan: Plan, shot: str = "", segment: int | None = None) -> list[tuple[str, int | None, WorkItem]]:
    """Return the segments and shots of a plan, or those of a shot or a segment: shot, index (None: the shot), item."""
    found: list[tuple[str, int | None, WorkItem]] = []
    for part in plan.shots:
        if shot and part.id != shot:
            continue
        found += [(part.id, s.index, segment_item(s)) for s in part.segments if segment in (None, s.index)]
        if segment is None:
            found.append((part.id, None, shot_item(plan, part)))
    return found
