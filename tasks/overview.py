"""Where an episode stands: every segment, what it has cost, how long it will take. Behind `farm status`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from db.records import Attempt, EpisodeEntry, WorkItem
from tasks.errors import ObjectMissing
from tasks.exchange import Checkpoints
from tasks.ingest import load_plan
from tasks.plan.types import Plan, SegmentPlan, ShotPlan
from tasks.pod import Pod
from tasks.pointer import find_done
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
    """An episode as a whole."""

    episode: str
    order: str
    lines: tuple[Line, ...]
    shots_done: int
    num_shots: int
    film_done: bool
    seconds_left: float | None  # None: nothing is known yet
    costs: tuple[Cost, ...]
    breaker: str  # why the episode's breaker is open; empty when it is closed

    @property
    def num_done(self) -> int:
        return sum(line.state in ("done", "waived") for line in self.lines)


def find_order(pod: Pod, episode: str) -> tuple[EpisodeEntry, str]:
    """Return the newest plan of an episode's name and its key in the store. Raises: ObjectMissing."""
    found = pod.ledger.episodes(episode)
    if not found:
        known = sorted({entry.name for entry in pod.ledger.episodes()})
        raise ObjectMissing(f"episode {episode!r}: never rendered here; known: {', '.join(known) or 'none'}")
    return found[0], content_key(found[0].plan_sha256)


def overview(pod: Pod, episode: str, usd_per_hour: float = 0.0) -> Overview:
    """Return where an episode stands. Raises: ObjectMissing, StoreError, LedgerAway."""
    _, order = find_order(pod, episode)
    planned = load_plan(pod.store, order)
    waivers = read_waivers(pod.ledger, planned)
    plan = apply_waivers(planned, waivers)
    lines = tuple(_line(pod, plan, shot, segment, waivers) for shot in plan.shots for segment in shot.segments)
    return Overview(
        episode=plan.episode,
        order=order,
        lines=lines,
        shots_done=sum(find_done(pod.store, shot_item(plan, shot)) is not None for shot in plan.shots),
        num_shots=len(plan.shots),
        film_done=find_done(pod.store, film_item(plan)) is not None,
        seconds_left=seconds_left(lines),
        costs=tuple(_costs(pod, plan, usd_per_hour)),
        breaker=pod.ledger.breaker(plan.key).reason,
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
    """Return the word for a segment's state that tells what a person can do about it."""
    newest = attempts[-1] if attempts else None
    if state == "failed" and newest and newest.failure_class == "failed_checks":
        return "rejected"
    if state == "pending" and newest and newest.state == "lost":
        return "crashed"
    return {"pending": "waiting"}.get(state, state)


def _line(pod: Pod, plan: Plan, shot: ShotPlan, segment: SegmentPlan, waivers: Mapping[str, str]) -> Line:
    item = segment_item(segment)
    status, attempts = pod.ledger.status(item), pod.ledger.attempts(item)
    state = "done" if find_done(pod.store, item) else state_of(status.state if status else "pending", attempts)
    verdict = pod.ledger.may_retry(item)
    newest = attempts[-1] if attempts else None
    reason = waivers.get(segment.key, "") or verdict.reason
    if not reason and state in ("failed", "rejected", "crashed") and newest:
        reason = newest.message
    return Line(
        shot=shot.id,
        segment=segment.index,
        windows=segment.num_windows,
        state=state,
        steps=plan.steps if state == "done" else Checkpoints(pod.store, segment).num_done(),
        num_steps=plan.steps,
        attempts=len(attempts),
        useful_seconds=sum(attempt.useful_seconds for attempt in attempts),
        wasted_seconds=sum(attempt.wasted_seconds for attempt in attempts),
        worker=status.worker if status and state == "running" else "",
        reason=reason,
        key=segment.key,
    )


def _costs(pod: Pod, plan: Plan, usd_per_hour: float) -> Sequence[Cost]:
    asked = [(f"episode {plan.episode}", {"episode": plan.key})]
    asked += [(f"shot {shot.id}", {"episode": plan.key, "shot": shot.key}) for shot in plan.shots]
    if plan.show:
        asked.insert(0, (f"show {plan.show}", {"show": plan.show}))
    costs = []
    for what, given in asked:
        usage = pod.ledger.usage(**given)
        gpu = usage.useful_gpu_seconds + usage.wasted_gpu_seconds
        useful, wasted = (
            (usage.useful_gpu_seconds, usage.wasted_gpu_seconds)
            if gpu
            else (usage.useful_seconds, usage.wasted_seconds)
        )
        costs.append(Cost(what, useful / 3600, wasted / 3600, gpu / 3600 * usd_per_hour))
    return costs


def segment_named(pod: Pod, name: str, *, as_planned: bool = False) -> tuple[Plan, ShotPlan, SegmentPlan]:
    """Return the segment that EPISODE/SHOT/INDEX names, as it is rendered now or as it was planned without waivers.

    Raises: ObjectMissing when there is none.
    """
    episode, _, rest = name.partition("/")
    shot_id, _, index = rest.rpartition("/")
    _, order = find_order(pod, episode)
    plan = load_plan(pod.store, order)
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
