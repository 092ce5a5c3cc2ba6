"""A worker that renders nothing, for bench_dispatch.py; SIGTERM ends it.

python scripts/sim_worker.py STORE DATABASE ORDER
It speaks to Prefect as a worker and its run do, takes what the pool gives out, and publishes by the farm's protocol.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.states import Completed, Pending, Running

from db.records import Artifact, Behalf
from tasks.attempt import Work
from tasks.plan.types import Plan, SegmentPlan, ShotPlan
from tasks.pod import Pod, open_pod
from tasks.publish import Input, Output, Rendered
from tasks.waivers import load_order
from tasks.work import segment_item

POOL = "farm-gpu"
BATCH = 50
AHEAD_SECONDS = 10
KINDS = ("plate", "voice", "stem", "weights")
INPUTS = tuple(Input(Artifact(f"{number:064x}", 1, kind), kind) for number, kind in enumerate(KINDS))


def main(arguments: list[str]) -> int:
    """Work until somebody says stop."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    store, database, order = arguments
    with open_pod(store, database) as pod, get_client(sync_client=True) as client:
        plan = load_order(pod, order)
        shots = {shot.id: number for number, shot in enumerate(plan.shots)}
        while not stop.is_set():
            found = scheduled(client)
            for run in found:
                work_on(client, pod, plan, shots[str(run.parameters["shot"])], run)
            if not found:
                stop.wait(0.2)
    return 0


def scheduled(client: SyncPrefectClient) -> list[FlowRun]:
    """Ask the pool for runs that are due, as a worker does."""
    body = {
        "limit": BATCH,
        "scheduled_before": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + AHEAD_SECONDS)),
    }
    answer = client.request("POST", "/work_pools/{name}/get_scheduled_flow_runs", path_params={"name": POOL}, json=body)
    return [FlowRun.model_validate(one["flow_run"]) for one in answer.json()]


def work_on(client: SyncPrefectClient, pod: Pod, plan: Plan, shot: int, run: FlowRun) -> None:
    """Take one run from Pending to Completed; a run that somebody else has taken is left alone."""
    if client.set_flow_run_state(run.id, Pending()).status.value != "ACCEPT":
        return
    client.set_flow_run_state(run.id, Running())
    part = plan.shots[shot]
    segment = part.segments[int(str(run.parameters["segment"]))]
    behalf = Behalf(plan.key, part.key)
    pod.publisher.publish(segment_item(segment), renderer(part, segment), behalf=behalf, stop=pod.stop)
    client.set_flow_run_state(run.id, Completed())


def renderer(part: ShotPlan, segment: SegmentPlan) -> Callable[[Work], Rendered]:
    """Return what makes a kilobyte and a thumbnail of a segment."""

    def render(work: Work) -> Rendered:
        latents, picture = work.scratch / "latents", work.scratch / "thumbnail"
        latents.write_bytes(segment.key.encode() * 16)
        picture.write_bytes(segment.key.encode() * 8)
        extras, facts = (Output(picture, "thumbnail", ".jpg"),), {"seed": part.seed}
        return Rendered(Output(latents, "segment_latents", ".bin"), extras, INPUTS, facts=facts)

    return render


def cpu_of(pid: int) -> float:
    """Return the CPU seconds of a process, its ended children and all its living descendants."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        words = [(task / "children").read_text().split() for task in Path(f"/proc/{pid}/task").iterdir()]
    except OSError:
        return 0.0  # it has ended: whoever waited for it has its seconds
    own = sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")
    return own + sum(cpu_of(int(child)) for some in words for child in some)


def child_named(word: str) -> int:
    """Return the process that was started from here with this word in its command."""
    for task in Path("/proc/self/task").iterdir():
        for pid in (task / "children").read_text().split():
            if word.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                return int(pid)
    raise LookupError(f"no child process has {word!r} in its command")


def warm_child() -> int:
    """Return the warm process that was started from here, once it is ready to fork."""
    pid = child_named("tasks.warm.server")
    socket = Path(Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[-2].decode())
    while not socket.exists():
        time.sleep(0.2)
    return pid


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
