"""What the flows call: thin shells around the work, keys in and keys out; transient failures are tried again."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun

from db.records import WorkItem
from tasks.admission import forgive, require
from tasks.attempt import giving_way
from tasks.errors import Busy, Preempted, TransientError
from tasks.exchange import Yielded
from tasks.plan.types import Plan, ShotPlan
from tasks.pod import Pod, open_pod
from tasks.pointer import find_done
from tasks.progress import watcher
from tasks.register import register
from tasks.run_progress import run_watcher
from tasks.settings import settings
from tasks.take import clear_take, gather_cast, render_take, silent_segments, speak_again
from tasks.waivers import load_order
from tasks.work import export_film, make_film, make_segment, make_shot, segment_item, shot_item

RETRY_SECONDS = [2.0, 10.0, 30.0]


def worth_another_try(task: Any, run: TaskRun, state: State[Any]) -> bool:
    """Say whether a failed task should run again here: the failure is transient and nobody asked it to stop."""
    try:
        state.result()
    except (Preempted, Busy, Yielded):
        return False
    except TransientError:
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
    with open_pod(store, database) as pod:
        plan = load_order(pod, order)
        register(pod.ledger, plan, order)
        return plan


@task(name="render", task_run_name="render {shot}", **_again)
def render_shot(order: str, shot: str, store: str, database: str, pods: int = 1) -> int:
    """Render what is missing of a shot; return how many segments that was."""
    with open_pod(store, database) as pod:
        plan, part = find_shot(pod, order, shot)
        if pods > 1 and len(part.segments) > 1:
            from tasks.local_pods import render_on_pods

            return render_on_pods(pod, plan, part, order, pods)
        return render_take(pod, plan, part, part.segments, watcher.get())


@task(name="segment", task_run_name="segment {shot} {segment}", **_again)
def render_segment_alone(order: str, shot: str, segment: int, store: str, database: str, person: bool = False) -> str:
    """Render one segment; its neighbours are other pods' work. `person`: somebody asked for this very try.

    Raises: Refused when its limits, the breaker or the budget forbid it; Yielded when a neighbour does not come.
    """
    with open_pod(store, database) as opened, giving_way() as stop:
        pod = replace(opened, stop=stop)
        plan, part = find_shot(pod, order, shot)
        one = part.segments[segment]
        _admit(pod, segment_item(one), plan, person)
        cast = gather_cast(pod, plan, part, settings().wait_seconds)
        if one in silent_segments(pod, plan, part):
            speak_again(pod, plan, part, one, cast)
        watch = run_watcher(f"steps-{plan.episode}-{shot}-{segment}", watcher.get())
        made = make_segment(pod, plan, part, one, cast.denoiser, cast.exchange, watch)
        return made.pointer.object.key


def _admit(pod: Pod, item: WorkItem, plan: Plan, person: bool) -> None:
    if find_done(pod.store, item) is not None:
        return
    if person:
        forgive(pod.ledger, item, plan.key, "dashboard", "Retry pressed on its run")
    require(pod.ledger, item, plan.key)


@task(name="picture", task_run_name="picture {shot}", **_again)
def finish_shot(order: str, shot: str, store: str, database: str, person: bool = False) -> str:
    """Decode, check, encode and publish a shot's picture; return its key."""
    with open_pod(store, database) as opened, giving_way() as stop:
        pod = replace(opened, stop=stop)
        plan, part = find_shot(pod, order, shot)
        _admit(pod, shot_item(plan, part), plan, person)
        key = make_shot(pod, plan, part, watcher.get()).pointer.object.key
        clear_take(pod, plan, part)
        return key


@task(name="film", **_again)
def finish_film(order: str, store: str, database: str, out: str) -> str:
    """Stitch, check and publish the film; copy it to the folder `out` if there is one; return its key."""
    with open_pod(store, database) as pod:
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
