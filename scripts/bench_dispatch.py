"""Ten thousand segments through Prefect: planned, dispatched, finished, audited; what each costs the farm and Prefect.

python scripts/bench_dispatch.py [--segments 10000] [--workers 1] [--real 0]
A real Prefect server and the ledger are on PostgreSQL, the store is a folder. The plan is made from a manifest and its
sound as always, and dispatched and awaited by the code that the episode's flow runs. The renderer is simulated, and so
is the worker: it asks the pool for scheduled runs, proposes Pending, Running and Completed, and in between claims,
renders a kilobyte and publishes by the farm's protocol.

With --real, so many segments more are the work of the workers of `farm up`, whose runs are processes forked from the
warm one; only the network is simulated (sim_segment.py). The last line is what all of that costs a segment.
"""

import argparse
import json
import logging
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import soundfile
from prefect import flow, get_client
from prefect.runtime import flow_run
from server_port import server_port
from sim_worker import child_named, cpu_of, warm_child

from tasks.board import Board
from tasks.chaos.postgres import Installed, installed
from tasks.children import start_children
from tasks.dispatch import Patience, segments_of, undone, wait_for
from tasks.fsck import audit
from tasks.ingest import ingest
from tasks.plan.types import Plan
from tasks.pod import Pod, open_pod
from tasks.prepare import prepare
from tasks.register import register
from tasks.rehearsal import Rehearsal, write_rehearsal
from tasks.services import local_farm
from tasks.waivers import load_order

HERE = Path(__file__).resolve().parent
PER_SHOT = 10
SLOTS = 64
REAL_SLOTS = 2
IDLE_SECONDS = 60.0  # the server's slowest round


@dataclass
class Meter:
    """Wall and CPU seconds per phase: the episode's process, and each of `others` with their children.

    What these do all the time, asked or not, is measured first and left out of every phase.
    """

    others: dict[str, list[int]]
    num_segments: int
    idle: dict[str, float] = field(default_factory=dict)  # CPU seconds per second
    sums: dict[str, float] = field(default_factory=dict)  # CPU seconds of all phases

    def watch_idle(self, seconds: float) -> None:
        """Measure what goes on while nobody asks for anything, and begin the table."""
        before = self._cpu()
        time.sleep(seconds)
        self.idle = {name: (after - before[name]) / seconds for name, after in self._cpu().items()}
        quiet = ", ".join(f"{name} {cpu:.3f}" for name, cpu in self.idle.items())
        print(f"asked for nothing, CPU seconds a second, left out: {quiet}")
        print("".join(["| phase | s |", *(f" {name}, CPU s | ms each |" for name in self.idle)]))
        print("|---|---|" + "---|---|" * len(self.idle), flush=True)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Print what the block took."""
        wall, before = time.monotonic(), self._cpu()
        yield
        took = time.monotonic() - wall
        used = {who: cpu - before[who] - self.idle[who] * took for who, cpu in self._cpu().items()}
        self.sums = {who: self.sums.get(who, 0.0) + cpu for who, cpu in used.items()}
        each = [f" {max(0, cpu):.1f} | {max(0, 1e3 * cpu / self.num_segments):.1f} |" for cpu in used.values()]
        print("".join([f"| {name} | {took:.1f} |", *each]), flush=True)

    def _cpu(self) -> dict[str, float]:
        used = resource.getrusage(resource.RUSAGE_SELF)
        others = {name: sum(map(cpu_of, pids)) for name, pids in self.others.items()}
        return {"episode": used.ru_utime + used.ru_stime, **others}


def main(arguments: list[str]) -> int:
    """Measure and print; 1 when anything is left undone or the audit finds something."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--segments", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--real", type=int, default=0, help="segments for real workers")
    given = parser.parse_args(arguments)
    port = server_port()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # everything that was started ends
    logging.getLogger("prefect").setLevel(logging.WARNING)
    wanted = [(given.segments, given.workers), (given.real, 0)]
    with tempfile.TemporaryDirectory(prefix="farm-dispatch-") as place:
        os.environ |= {"FARM_HOME": place, "FARM_DEVICE": "cpu"}
        good = [on_a_farm(port, *each, Path(place)) for each in wanted if each[0]]
    return 0 if all(good) else 1


def on_a_farm(port: int, count: int, simulated: int, place: Path) -> bool:
    """Measure on a server and a database of its own.

    `simulated`: how many workers are; with none, the farm's own are there, and their runs are told to render nothing.
    """
    with installed() as postgres:
        os.environ["PREFECT_API_DATABASE_CONNECTION_URL"] = postgres.prefect
        with local_farm(port, 0 if simulated else REAL_SLOTS, 0):
            if simulated:
                limit_slots(SLOTS)
            else:
                render_nothing()
            return measure(count, simulated, place / f"{simulated} simulated", postgres)


def measure(count: int, simulated: int, folder: Path, postgres: Installed) -> bool:
    """Take an episode of `count` segments through everything, print what it cost, and say whether all is well."""
    shots = -(-count // PER_SHOT)
    workers = [] if simulated else [child_named("farm-gpu"), warm_child()]
    meter = Meter({"workers": workers, "server": [child_named("server")], "database": [postgres.pid]}, shots * PER_SHOT)
    manifest, store = write_long(folder / "manifest", shots), (folder / "store").as_uri()
    sizes = {name: postgres.bytes_of(name) for name in ("farm", "prefect")}
    meter.watch_idle(IDLE_SECONDS)
    with open_pod(store, postgres.url) as pod:
        with meter.phase("planned"):
            made = prepare(manifest)
            order = ingest(made.loaded, made.found, made.plan, pod.store)
            register(pod.ledger, made.plan, order)
        shared = {"episode": made.plan.episode, "order": order, "store": store, "database": postgres.url}
        left = dispatch_all(pod, shared, meter, simulated)
        with meter.phase("audited, every byte read"):
            findings = audit(pod.store, pod.ledger, repair=False)
    for name, what in (("farm", "ledger"), ("prefect", "Prefect")):
        grown = (postgres.bytes_of(name) - sizes[name]) / 1e6
        print(f"{what}: {1000 * grown / meter.num_segments:.2f} MB per 1,000 segments")
    print(f"{meter.num_segments} segments in {shots} shots, {left} not done, {len(findings)} findings")
    each = {who: cpu / meter.num_segments for who, cpu in meter.sums.items()}
    parts = ", ".join(f"{who} {cpu:.3f}" for who, cpu in each.items())
    print(f"{sum(each.values()):.3f} CPU seconds a segment: {parts}", flush=True)
    return not findings and not left


def dispatch_all(pod: Pod, shared: dict[str, str], meter: Meter, num_workers: int) -> int:
    """Do what the episode's flow does with its segments; return how many are left undone."""

    @flow(name="episode", flow_run_name="bench", log_prints=False)
    def episode() -> int:
        parent, plan = UUID(str(flow_run.id)), load_order(pod, shared["order"])
        with meter.phase("dispatched"):
            groups = [segments_of(pod, plan, shot, shared) for shot in plan.shots]
            runs = start_children(parent, groups)
        processes = [start_worker(shared, plan) for _ in range(num_workers)]
        meter.others["workers"] += [process.pid for process in processes]
        with meter.phase("finished"):
            wait_for(pod, plan, parent, runs, Patience(grace_seconds=600.0), Board(pod, plan, "segment"))
            left = len(undone(pod, list(runs.values())))
        if processes:
            meter.others["workers"] = []
        for process in processes:
            process.send_signal(signal.SIGTERM)
            process.wait()
        return left

    return episode()


def render_nothing() -> None:
    """Have the runs of this server's segments be those of sim_segment.py; return once its workers are there."""
    with get_client(sync_client=True) as client:
        for pool in ("farm-cpu", "farm-gpu"):
            path: Any = "/work_pools/{work_pool_name}/workers/filter"
            while not client.request("POST", path, path_params={"work_pool_name": pool}, json={}).json():
                time.sleep(1.0)
        found = client.read_deployment_by_name("segment/segment")
        client.create_deployment(
            flow_id=found.flow_id,
            name=found.name,
            entrypoint="scripts.sim_segment.render_segment",
            work_pool_name=found.work_pool_name,
            pull_steps=found.pull_steps,
            enforce_parameter_schema=False,
        )


def start_worker(shared: dict[str, str], plan: Plan) -> subprocess.Popen[bytes]:
    """Start a simulated worker."""
    words = [shared["store"], shared["database"], shared["order"]]
    return subprocess.Popen([sys.executable, str(HERE / "sim_worker.py"), *words], cwd=HERE.parent)


def write_long(folder: Path, shots: int) -> Path:
    """Write an episode of so many takes of ten windows, a segment each; its voice repeats after a minute."""
    write_rehearsal(folder, Rehearsal((PER_SHOT,) * 4, windows_per_segment=1))
    manifest = json.loads((folder / "episode.json").read_text())
    minute, rate = soundfile.read(folder / "voice.wav", dtype="int16")
    one = manifest["shots"][0]
    seconds = shots * one["duration_seconds"]
    with soundfile.SoundFile(folder / "voice.wav", "w", rate, 1, "PCM_16") as voice:
        left = round(seconds * rate)
        while left > 0:
            voice.write(minute[:left])
            left -= len(minute)
    turns = np.arange(0.0, seconds - 1, 2)
    rttm = [f"SPEAKER voice 1 {second:.3f} 0.800 <NA> <NA> ana <NA> <NA>" for second in turns]
    (folder / "turns.rttm").write_text("\n".join(rttm) + "\n")
    manifest["shots"] = [{**one, "id": f"s{number:04d}"} for number in range(shots)]
    manifest["episode"]["sampler"]["steps"] = 50
    (folder / "episode.json").write_text(json.dumps(manifest))
    return folder / "episode.json"


def limit_slots(slots: int) -> None:
    """Let the pool have so many runs at the same time, as a cluster's quota would."""
    from prefect.client.schemas.actions import WorkPoolUpdate

    with get_client(sync_client=True) as client:
        client.update_work_pool("farm-gpu", WorkPoolUpdate(concurrency_limit=slots))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
