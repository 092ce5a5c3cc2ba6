"""A take shared by several processes of this machine: the pods of a cluster in small. A killed one is started again.

python -m tasks.local_pods ORDER SHOT SEGMENTS STORE     the database is FARM_DATABASE: its password is nobody's to list
"""

import itertools
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tasks.errors import Preempted, TransientError
from tasks.give_way import StopNotice, give_way
from tasks.plan.types import Plan, SegmentPlan, ShotPlan
from tasks.pod import PATIENCE_SECONDS, Pod, open_pod, release_the_dead
from tasks.progress import Silence, watcher
from tasks.settings import environment_with, settings
from tasks.take import missing_segments, render_take
from tasks.waivers import load_order

STARTS_PER_POD = 5  # a pod that dies more often has another reason than bad luck
POLL_SECONDS = 0.1


def share(segments: Sequence[SegmentPlan], pods: int) -> list[tuple[int, ...]]:
    """Return the indices of each pod's segments: neighbours together, sizes as equal as they can be."""
    count = min(pods, len(segments))
    base, rest = divmod(len(segments), count)
    starts = [pod * base + min(pod, rest) for pod in range(count + 1)]
    return [tuple(segments[i].index for i in range(a, b)) for a, b in itertools.pairwise(starts)]


def render_on_pods(pod: Pod, plan: Plan, shot: ShotPlan, order: str, pods: int) -> int:
    """Render what is missing of a shot on `pods` processes; return how many segments that was.

    Raises: TransientError when a pod has died too often, Preempted when this process was asked to stop.
    """
    todo = missing_segments(pod, shot)
    if not todo:
        return 0
    running: dict[tuple[int, ...], subprocess.Popen[bytes]] = {}
    starts: dict[tuple[int, ...], int] = {}
    watch, done = watcher.get(), -1
    try:
        for part in share(shot.segments, pods):
            running[part], starts[part] = _start(pod, order, shot, part), 1
        while running:
            time.sleep(POLL_SECONDS)
            if pod.stop.is_set():
                raise Preempted(f"shot {shot.id}: asked to stop; its pods go on from their last step")
            for part, process in list(running.items()):
                _look_after(pod, order, shot, part, process, running, starts)
            left = len(missing_segments(pod, shot))
            if len(todo) - left != done:
                done = len(todo) - left
                watch.advance("segment", shot.id, done, len(todo))
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.wait()
    return len(todo)


def _look_after(
    pod: Pod,
    order: str,
    shot: ShotPlan,
    part: tuple[int, ...],
    process: subprocess.Popen[bytes],
    running: dict[tuple[int, ...], subprocess.Popen[bytes]],
    starts: dict[tuple[int, ...], int],
) -> None:
    code = process.poll()
    if code is None:
        return
    del running[part]
    if code == 0:
        return
    if starts[part] >= STARTS_PER_POD:
        raise TransientError(
            f"shot {shot.id}: the pod of segments {part} ended {STARTS_PER_POD} times, last with {code}"
        )
    release_the_dead(pod.ledger)
    running[part] = _start(pod, order, shot, part)
    starts[part] += 1


def _start(pod: Pod, order: str, shot: ShotPlan, part: tuple[int, ...]) -> subprocess.Popen[bytes]:
    segments = ",".join(map(str, part))
    address = pod.ledger.transactions.engine.url.render_as_string(hide_password=False)
    command = [sys.executable, "-m", "tasks.local_pods", order, shot.id, segments, pod.store.url]
    return subprocess.Popen(command, cwd=Path(__file__).resolve().parent.parent, env=environment_with(address))


def main(order: str, shot: str, segments: str, store: str) -> int:
    """Render some segments of a shot in this process."""
    wanted = {int(index) for index in segments.split(",")}
    with open_pod(store, patience_seconds=PATIENCE_SECONDS) as pod:
        plan = load_order(pod, order)
        part = next(one for one in plan.shots if one.id == shot)
        mine = [segment for segment in part.segments if segment.index in wanted]

        def render(stop: StopNotice) -> int:
            return render_take(replace(pod, stop=stop), plan, part, mine, Silence())

        give_way(render, settings().stop_seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
