"""All segments of a shot in one process: a thread each, one computing at a time, the bits of any other division."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace

from db.errors import LedgerAway
from model.exchange import plan_exchange
from model.sampler import Denoiser
from model.schedule import moves, plan_steps
from model.shot import ShotConditions
from model.windows import shot_latents
from tasks.conditioning import Conditioner
from tasks.denoise import OneAtATime, denoise_segment, shot_denoiser, take_of
from tasks.errors import Preempted
from tasks.exchange import Checkpoints, StoreExchange, clear_halos, halo_prefix
from tasks.network import Bundle, require_weights
from tasks.plan.types import Plan, SegmentPlan, ShotPlan
from tasks.pod import Pod
from tasks.pointer import find_done
from tasks.profiles import plan_sampler
from tasks.progress import Watcher
from tasks.publish import Published
from tasks.waivers import read_waivers, waived_segments, waiver_of, with_stills
from tasks.work import Cast, make_segment, segment_item, shot_item

Tell = Callable[[Plan, Bundle, ShotConditions], Denoiser]  # tells a network about a shot


def missing_segments(pod: Pod, shot: ShotPlan) -> tuple[SegmentPlan, ...]:
    """Return the segments of a shot that are not in the store yet and that nobody has waived."""
    missing = [segment for segment in shot.segments if find_done(pod.store, segment_item(segment)) is None]
    return tuple(segment for segment in missing if not waiver_of(pod.ledger, segment_item(segment)))


def render_take(
    pod: Pod,
    plan: Plan,
    shot: ShotPlan,
    segments: Sequence[SegmentPlan],
    watch: Watcher,
    tell: Tell = shot_denoiser,
) -> int:
    """Render those of `segments` that are not done yet; return how many were rendered.

    A done segment whose messages are gone is computed again without publishing, because its neighbours need them.
    Raises: the first failure of any segment, after the others have saved their step.
    """
    todo = [segment for segment in missing_segments(pod, shot) if segment in segments]
    if not todo:
        return 0
    abort = threading.Event()
    cast = gather_cast(pod, plan, shot, abort, tell=tell)
    mute = [s for s in silent_segments(pod, plan, shot) if s in segments]
    with ThreadPoolExecutor(max_workers=len(todo) + len(mute), thread_name_prefix=shot.id) as threads:
        runs = [threads.submit(_publish, pod, plan, shot, segment, cast, watch) for segment in todo]
        runs += [threads.submit(speak_again, pod, plan, shot, segment, cast) for segment in mute]
        failures = []
        try:
            for run in as_completed(runs):
                error = run.exception()
                if error is not None:
                    failures.append(error)
                    abort.set()
        except BaseException:  # Ctrl-C, or a signal of Prefect's: the threads would render on
            abort.set()
            raise
    if failures:
        raise next((error for error in failures if not isinstance(error, Preempted)), failures[0])
    return len(todo)


def render_alone(
    pod: Pod, plan: Plan, shot: ShotPlan, segment: SegmentPlan, watch: Watcher, wait_seconds: float, tell: Tell
) -> Published:
    """Render one segment of a shot whose other segments are other pods' work; return the winner.

    Raises: NeighbourFailed when another's latents will not come, and what `make_segment` raises.
    """

    def gather() -> Cast:
        cast = gather_cast(pod, plan, shot, threading.Event(), wait_seconds, tell)
        return replace(cast, exchange=replace(cast.exchange, gave_up=lambda: why_gave_up(pod, shot)))

    if segment in silent_segments(pod, plan, shot):
        speak_again(pod, plan, shot, segment, gather())
    return make_segment(pod, plan, shot, segment, gather, watch)


def why_gave_up(pod: Pod, shot: ShotPlan) -> str:
    """Return which segment the farm does not try any more by itself, and why; empty: there is none, or nobody knows.

    The segments of a take need each other, directly or through others, so one that has failed stops them all.
    """
    items = {segment_item(segment): segment for segment in shot.segments}
    try:
        failed = [item for item, status in pod.ledger.statuses(list(items)).items() if status.state == "failed"]
        verdicts = {items[item].index: pod.ledger.may_retry(item) for item in failed}
    except LedgerAway:
        return ""
    said = [f"segment {index} of this take has failed: {v.reason}" for index, v in verdicts.items() if not v.allowed]
    return said[0] if said else ""


def gather_cast(
    pod: Pod,
    plan: Plan,
    shot: ShotPlan,
    abort: threading.Event,
    wait_seconds: float = 600.0,
    tell: Tell = shot_denoiser,
) -> Cast:
    """Make or fetch the shot's conditions and tell the network; a segment waits so long for another's latents.

    Raises: Preempted, from the exchange, once `abort` is set or the pod is asked to stop.
    """
    bundle = pod.bundle(plan.profile)
    require_weights(bundle, plan)
    conditions = Conditioner(plan, pod.store, bundle).conditions(shot)

    def check() -> None:
        if abort.is_set() or pod.stop.is_set():
            raise Preempted(f"shot {shot.id}: asked to stop; it goes on from its last step")

    waived = frozenset(waived_segments(shot, read_waivers(pod.ledger, plan)))
    exchange = StoreExchange(pod.store, halo_prefix(shot), wait_seconds, check)
    exchange = with_stills(exchange, waived, take_of(plan, shot, bundle), conditions)
    return Cast(OneAtATime(tell(plan, bundle, conditions), pod.stop), exchange)


def clear_take(pod: Pod, plan: Plan, shot: ShotPlan) -> None:
    """Delete a finished shot's messages and checkpoints.

    Nothing happens before its picture is published, nor while a segment is missing: somebody renders that one again,
    for a picture in another container, and reads them. What is left then is cleared by tasks.reconcile.
    """
    if find_done(pod.store, shot_item(plan, shot)) is None or missing_segments(pod, shot):
        return
    clear_halos(pod.store, shot)
    for segment in shot.segments:
        Checkpoints(pod.store, segment).clear()


def _publish(pod: Pod, plan: Plan, shot: ShotPlan, segment: SegmentPlan, cast: Cast, watch: Watcher) -> None:
    make_segment(pod, plan, shot, segment, lambda: cast, watch)


def speak_again(pod: Pod, plan: Plan, shot: ShotPlan, segment: SegmentPlan, cast: Cast) -> None:
    """Compute a done segment from its first step on, for the messages alone."""
    Checkpoints(pod.store, segment).clear()  # a kept last step would say nothing of the ones before it
    denoise_segment(plan, shot, segment, pod.bundle(plan.profile), cast.denoiser, cast.exchange)


def silent_segments(pod: Pod, plan: Plan, shot: ShotPlan) -> tuple[SegmentPlan, ...]:
    """Return the done segments of an unfinished shot whose messages to the missing ones are gone."""
    return silent_beside(pod, plan, shot, missing_segments(pod, shot))


def silent_beside(pod: Pod, plan: Plan, shot: ShotPlan, missing: Sequence[SegmentPlan]) -> tuple[SegmentPlan, ...]:
    """Return the same, knowing which segments are missing."""
    if not missing or len(missing) == len(shot.segments):
        return ()
    sampler = plan_sampler(plan)
    steps, fusion = plan_steps(sampler.schedule), sampler.fusion_config
    shares, length = tuple(part.num_windows for part in shot.segments), shot_latents(shot.num_frames, fusion)
    exchange = StoreExchange(pod.store, halo_prefix(shot))
    owed = {s.index: False for s in shot.segments if find_done(pod.store, segment_item(s)) is not None}
    if not owed:
        return ()
    for step in steps[:-1]:
        parts = plan_exchange(length, fusion, step.index, shares, moves(steps))
        for index in owed:
            gone = parts[index].publishes and not pod.store.exists(exchange.key(step.index, index))
            owed[index] = owed[index] or bool(gone)
    return tuple(segment for segment in shot.segments if owed.get(segment.index))
