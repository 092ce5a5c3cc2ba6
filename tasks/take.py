"""All segments of a shot in one process: a thread each, one computing at a time, the bits of any other division."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

from model.exchange import plan_exchange
from model.sampler import Denoiser
from model.schedule import moves
from tasks.conditioning import Conditioner
from tasks.denoise import denoise_segment, shot_denoiser, take_of
from tasks.errors import Preempted
from tasks.exchange import StoreExchange, clear_halos, halo_prefix
from tasks.plan.types import Plan, SegmentPlan, ShotPlan
from tasks.pod import Pod
from tasks.pointer import find_done
from tasks.progress import Watcher
from tasks.work import make_segment, segment_item, shot_item


@dataclass(frozen=True, eq=False)
class Cast:
    """What the threads of one shot share."""

    denoiser: Denoiser
    exchange: StoreExchange
    abort: threading.Event


def missing_segments(pod: Pod, shot: ShotPlan) -> tuple[SegmentPlan, ...]:
    """Return the segments of a shot that are not in the store yet."""
    return tuple(segment for segment in shot.segments if find_done(pod.store, segment_item(segment)) is None)


def render_take(pod: Pod, plan: Plan, shot: ShotPlan, segments: Sequence[SegmentPlan], watch: Watcher) -> int:
    """Render those of `segments` that are not done yet; return how many were rendered.

    A done segment whose messages are gone is computed again without publishing, because its neighbours need them.
    Raises: the first failure of any segment, after the others have saved their step.
    """
    todo = [segment for segment in missing_segments(pod, shot) if segment in segments]
    if not todo:
        return 0
    cast = gather_cast(pod, plan, shot)
    mute = [s for s in shot.segments if s in segments and s not in todo and not _has_spoken(cast, pod, plan, shot, s)]
    with ThreadPoolExecutor(max_workers=len(todo) + len(mute), thread_name_prefix=shot.id) as threads:
        runs = [threads.submit(_publish, pod, plan, shot, segment, cast, watch) for segment in todo]
        runs += [threads.submit(_speak_again, pod, plan, shot, segment, cast) for segment in mute]
        failures = []
        for run in as_completed(runs):
            error = run.exception()
            if error is not None:
                failures.append(error)
                cast.abort.set()
    if failures:
        raise next((error for error in failures if not isinstance(error, Preempted)), failures[0])
    return len(todo)


def gather_cast(pod: Pod, plan: Plan, shot: ShotPlan) -> Cast:
    """Make or fetch the shot's conditions and tell the network."""
    bundle = pod.bundle(plan.profile)
    conditions = Conditioner(plan, pod.store, bundle).conditions(shot)
    abort = threading.Event()

    def check() -> None:
        if abort.is_set() or pod.stop.is_set():
            raise Preempted(f"shot {shot.id}: asked to stop; it goes on from its last step")

    exchange = StoreExchange(pod.store, halo_prefix(shot), check=check)
    return Cast(shot_denoiser(plan, bundle, conditions), exchange, abort)


def clear_take(pod: Pod, plan: Plan, shot: ShotPlan) -> None:
    """Delete a finished shot's messages and checkpoints; before its picture is published nothing happens."""
    if find_done(pod.store, shot_item(plan, shot)) is not None:
        clear_halos(pod.store, shot)


def _publish(pod: Pod, plan: Plan, shot: ShotPlan, segment: SegmentPlan, cast: Cast, watch: Watcher) -> None:
    make_segment(pod, plan, shot, segment, cast.denoiser, cast.exchange, watch)


def _speak_again(pod: Pod, plan: Plan, shot: ShotPlan, segment: SegmentPlan, cast: Cast) -> None:
    denoise_segment(plan, shot, segment, pod.bundle(plan.profile), cast.denoiser, cast.exchange)


def _has_spoken(cast: Cast, pod: Pod, plan: Plan, shot: ShotPlan, segment: SegmentPlan) -> bool:
    """Say whether every message that a segment owes its neighbours is in the store."""
    take = take_of(plan, shot, pod.bundle(plan.profile))
    shares = tuple(part.num_windows for part in shot.segments)
    return all(
        not plan_exchange(take.shot, take.fusion, step.index, shares, moves(take.steps))[segment.index].publishes
        or pod.store.exists(cast.exchange.key(step.index, segment.index))
        for step in take.steps
    )
