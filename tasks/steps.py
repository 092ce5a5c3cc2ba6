"""What the flows call: thin shells around the work, keys in and keys out; transient failures are tried again."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.runtime import flow_run

from db.errors import LedgerAway
from db.records import WorkItem
from tasks.admission import forgive, require, require_budget
from tasks.denoise import shot_denoiser
from tasks.errors import Busy, FailureClass, Preempted, TransientError
from tasks.exchange import Yielded
from tasks.give_way import StopNotice, give_way
from tasks.on_gpus import render_on_gpus
from tasks.plan.types import Plan, ShotPlan
from tasks.pod import PATIENCE_SECONDS, Pod, open_pod
from tasks.pointer import find_done
from tasks.progress import watcher
from tasks.register import register
from tasks.run_progress import run_watcher
from tasks.settings import settings
from tasks.take import clear_take, missing_segments, render_alone, render_take
from tasks.waivers import load_order, waiver_of
from tasks.work import export_film, make_film, make_shot, segment_item, shot_item

RETRY_SECONDS = [2.0, 10.0, 30.0]


def worth_another_try(task: Any, run: TaskRun, state: State[Any]) -> bool:
    """Say whether a failed task should run again here: the failure is transient and nobody asked it to stop."""
    try:
        state.result()
    except (Preempted, Busy, Yielded):
        return False
    except (TransientError, LedgerAway, OSError):
        return True
    except BaseException:  # noqa: BLE001 - it is only classified here; the engine raises it
        return False
    return False


_again: dict[str, Any] = {
    "cache_policy": NO_CACHE,
    "persist_result": False,
    "retries": len(RETRY_SECONDS),
    "retry_delay_seconds": RETRY_SECONDS,
    "retry_condition_fn": worth_another_try,
}


@task(name="open", **_again)
def open_order(order: str, store: str, database: str) -> Plan:
    """Return an order's plan and write it down in the ledger."""
    with open_pod(store, database, PATIENCE_SECONDS) as pod:
        plan = load_order(pod, order)
        register(pod.ledger, plan, order)
        return plan


@task(name="render", task_run_name="render {shot}", **_again)
def render_shot(order: str, shot: str, store: str, database: str, pods: int = 1) -> int:
    """Render what is missing of a shot; return how many segments that was."""
    with open_pod(store, database, PATIENCE_SECONDS) as pod:
        plan, part = find_shot(pod, order, shot)
        if missing_segments(pod, part):
            require_budget(pod.ledger, plan.key, f"shot {shot}")
        if pods > 1 and len(part.segments) > 1:
            from tasks.local_pods import render_on_pods

            return render_on_pods(pod, plan, part, order, pods)
        if settings().gpus > 1 and missing_segments(pod, part):
            return int(render_on_gpus(pod, plan, part, order, watcher.get()))
        return render_take(pod, plan, part, part.segments, watcher.get())


@task(name="segment", task_run_name="segment {shot} {segment}", **_again)
def render_segment_alone(order: str, shot: str, segment: int, store: str, database: str) -> str:
    """Render one segment; its neighbours are other pods' work.

    Raises: Refused when its limits, the breaker or the budget forbid it; Yielded when a neighbour does not come.
    """
    with open_pod(store, database, PATIENCE_SECONDS) as pod:
        plan, part = find_shot(pod, order, shot)
        one = part.segments[segment]
        _admit(pod, segment_item(one), plan)
        watch = run_watcher(f"steps-{plan.episode}-{shot}-{segment}", watcher.get())

        def render(asked: Pod) -> str:
            if settings().gpus > 1 and find_done(asked.store, segment_item(one)) is None:
                return render_on_gpus(asked, plan, part, order, watch, segment)
            made = render_alone(asked, plan, part, one, watch, settings().wait_seconds, shot_denoiser)
            return made.pointer.object.key

        return _give_way(pod, segment_item(one), render)


def _give_way(pod: Pod, item: WorkItem, work: Callable[[Pod], str]) -> str:
    """Return what `work` makes of an item with a pod that hears when it is asked to go."""

    def render(stop: StopNotice) -> str:
        return work(replace(pod, stop=stop))

    def let_go() -> None:
        why = "asked to stop, and abandoned in mid-window"
        pod.ledger.pass_over(item, pod.publisher.worker, why, FailureClass.PREEMPTED)

    return give_way(render, settings().stop_seconds, let_go)


def _admit(pod: Pod, item: WorkItem, plan: Plan) -> None:
    if find_done(pod.store, item) is None:
        require(pod.ledger, item, plan.key)


def forgive_failures(order: str, shot: str, segment: int | None, store: str, database: str, why: str) -> None:
    """Have a person's wish count, once: what failed before is forgiven, of a segment or (None) of a shot's picture.

    Nothing is taken back that somebody decided: a waived segment stays waived.
    """
    with open_pod(store, database, PATIENCE_SECONDS) as pod:
        plan, part = find_shot(pod, order, shot)
        item = shot_item(plan, part) if segment is None else segment_item(part.segments[segment])
        if find_done(pod.store, item) is None and not waiver_of(pod.ledger, item):
            forgive(pod.ledger, item, plan.key, "dashboard" if flow_run.id else "farm render", why)


@task(name="picture", task_run_name="picture {shot}", **_again)
def finish_shot(order: str, shot: str, store: str, database: str) -> str:
    """Decode, check, encode and publish a shot's picture; return its key."""
    with open_pod(store, database, PATIENCE_SECONDS) as pod:
        plan, part = find_shot(pod, order, shot)
        item = shot_item(plan, part)
        _admit(pod, item, plan)

        def finish(asked: Pod) -> str:
            key = make_shot(asked, plan, part, watcher.get()).pointer.object.key
            clear_take(asked, plan, part)
            return key

        return _give_way(pod, item, finish)


@task(name="film", **_again)
def finish_film(order: str, store: str, database: str, out: str) -> str:
    """Stitch, check and publish the film; copy it to the folder `out` if there is one; return its key."""
    with open_pod(store, database, PATIENCE_SECONDS) as pod:
        plan = load_order(pod, order)
        key = make_film(pod, plan, order, watcher.get()).pointer.object.key
        if out:
            export_film(pod, plan, Path(out))
        return key


def find_shot(pod: Pod, order: str, shot: str) -> tuple[Plan, ShotPlan]:
    """Return an order's plan and one of its shots.

    Raises: KeyError when the plan has no such shot.
    """
    plan = load_order(pod, order)
    shots = {part.id: part for part in plan.shots}
    return plan, shots[shot]
