"""Ten thousand segments through Prefect: planned, dispatched, finished, audited; what each costs the farm and Prefect.

python scripts/bench_dispatch.py [--segments 10000] [--workers 1]
A real Prefect server and the ledger are on PostgreSQL, the store is a folder. The plan is made from a manifest and its
sound as always, and dispatched and awaited by the code that the episode's flow runs. The renderer is simulated, and so
is the worker: starting ten thousand processes would measure Python. It asks the pool for scheduled runs, proposes
Pending, Running and Completed, and in between claims, renders a kilobyte and publishes by the farm's protocol.
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
from uuid import UUID

import numpy as np
import soundfile
from prefect import flow, get_client
from prefect.runtime import flow_run
from server_port import server_port
from sim_worker import child_named, cpu_of

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
IDLE_SECONDS = 60.0  # the server's slowest round


@dataclass
class Meter:
    """Wall and CPU seconds per phase: the farm's own processes, Prefect's server, PostgreSQL.

    What server and database do all the time, asked or not, is measured first and left out of every phase.
    """

    server: int
    postgres: int
    num_segments: int
    workers: list[int] = field(default_factory=list)
    idle: tuple[float, ...] = (0.0, 0.0, 0.0)  # CPU seconds per second

    def watch_idle(self, seconds: float) -> None:
        """Measure what goes on while nobody asks for anything."""
        before = self._cpu()
        time.sleep(seconds)
        self.idle = tuple((after - first) / seconds for after, first in zip(self._cpu(), before))
        print(
            f"asked for nothing: server {self.idle[1]:.3f}, database {self.idle[2]:.3f} CPU seconds a second, left out"
        )

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Print what the block took."""
        wall, before = time.monotonic(), self._cpu()
        yield
        took = time.monotonic() - wall
        used = [after - first - idle * took for after, first, idle in zip(self._cpu(), before, self.idle)]
        each = " | ".join(f"{max(0, cpu):.1f} | {max(0, 1e3 * cpu / self.num_segments):.1f}" for cpu in used)
        print(f"| {name} | {took:.1f} | {each} |", flush=True)

    def _cpu(self) -> tuple[float, float, float]:
        used = resource.getrusage(resource.RUSAGE_SELF)
        farm = used.ru_utime + used.ru_stime + sum(cpu_of(pid) for pid in self.workers)
        return farm, cpu_of(self.server), cpu_of(self.postgres)


def main(arguments: list[str]) -> int:
    """Measure and print; 1 when the audit finds anything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--segments", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args(arguments)
    port = server_port()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # everything that was started ends
    logging.getLogger("prefect").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="farm-dispatch-") as place, installed() as postgres:
        folder = Path(place)
        os.environ |= {
            "FARM_HOME": str(folder / "home"),
            "FARM_DEVICE": "cpu",
            "PREFECT_API_DATABASE_CONNECTION_URL": postgres.prefect,
        }
        with local_farm(port, 0, 0):
            return measure(given.segments, given.workers, folder, postgres)


def measure(count: int, workers: int, folder: Path, postgres: Installed) -> int:
    """Take an episode of `count` segments through everything; print seconds, CPU and megabytes."""
    shots = -(-count // PER_SHOT)
    limit_slots(SLOTS)
    manifest = write_long(folder / "manifest", shots)
    meter = Meter(child_named("server"), postgres.pid, shots * PER_SHOT)
    sizes = {name: postgres.bytes_of(name) for name in ("farm", "prefect")}
    meter.watch_idle(IDLE_SECONDS)
    print("| phase | s | farm CPU s | ms each | server CPU s | ms each | database CPU s | ms each |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    store = (folder / "store").as_uri()
    with open_pod(store, postgres.url) as pod:
        with meter.phase("planned"):
            made = prepare(manifest)
            order = ingest(made.loaded, made.found, made.plan, pod.store)
            register(pod.ledger, made.plan, order)
        shared = {"episode": made.plan.episode, "order": order, "store": store, "database": postgres.url}
        left = dispatch_all(pod, shared, meter, workers)
        with meter.phase("audited, every byte read"):
            findings = audit(pod.store, pod.ledger, repair=False)
    for name, what in (("farm", "ledger"), ("prefect", "Prefect")):
        grown = (postgres.bytes_of(name) - sizes[name]) / 1e6
        print(f"{what}: {1000 * grown / meter.num_segments:.2f} MB per 1,000 segments")
    print(f"{meter.num_segments} segments in {shots} shots, {left} not done, {len(findings)} findings")
    return 1 if findings or left else 0


def dispatch_all(pod: Pod, shared: dict[str, str], meter: Meter, num_workers: int) -> int:
    """Do what the episode's flow does with its segments; return how many are left undone."""

    @flow(name="episode", flow_run_name="bench", log_prints=False)
    def episode() -> int:
        parent, plan = UUID(str(flow_run.id)), load_order(pod, shared["order"])
        with meter.phase("dispatched"):
            groups = [segments_of(pod, plan, shot, shared) for shot in plan.shots]
            runs = start_children(parent, groups)
        processes = [start_worker(shared, plan) for _ in range(num_workers)]
        meter.workers = [process.pid for process in processes]
        with meter.phase("finished"):
            wait_for(pod, plan, parent, runs, Patience(grace_seconds=600.0), Board(pod, plan, "segment"))
            left = len(undone(pod, list(runs.values())))
        meter.workers = []
        for process in processes:
            process.send_signal(signal.SIGTERM)
            process.wait()
        return left

    return episode()


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
