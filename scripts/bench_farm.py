"""What the farm itself costs: thousands of segments with a simulated renderer, halo exchange over HTTP.

python scripts/bench_farm.py [--segments 10000] [--workers 2]            segments: seconds per phase, database, CPU
python scripts/bench_farm.py --halo                                      share of a step that exchange takes
"""

import argparse
import io
import logging
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from db.ledger import open_ledger
from db.records import Behalf, EpisodeEntry, SegmentEntry, ShotEntry, WorkItem
from tasks.attempt import Work
from tasks.fsck import audit
from tasks.plan.keys import digest
from tasks.publish import Output, Publisher, Rendered
from tasks.store import open_store

PER_SHOT = 10
HALO_BYTES = 10 * 16 * 88 * 152 * 2  # 10 latents of 704x1216 in fp16
STEP_SECONDS = 20.0


def main(arguments: list[str]) -> int:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--segments", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--halo", action="store_true")
    given = parser.parse_args(arguments)
    logging.disable(logging.WARNING)
    if given.halo:
        bench_halo()
    else:
        bench_segments(given.segments, given.workers)
    return 0


def bench_segments(count: int, workers: int) -> None:
    """Plan, finish and audit many segments; print seconds per phase, database size and CPU per segment."""
    with tempfile.TemporaryDirectory(prefix="farm-bench-") as name:
        folder = Path(name)
        store, ledger = open_store((folder / "store").as_uri()), open_ledger(f"sqlite:///{folder / 'farm.db'}")
        phases: list[tuple[str, float, float]] = []

        def phase(what: str, action: Callable[[], object]) -> object:
            begun, cpu = time.monotonic(), cpu_seconds()
            result = action()
            phases.append((what, time.monotonic() - begun, cpu_seconds() - cpu))
            return result

        shots = [digest(["shot", number]) for number in range(-(-count // PER_SHOT))]
        keys = [digest(["segment", number]) for number in range(count)]
        publisher = Publisher(store, ledger, "bench", folder / "scratch")

        def plan() -> None:
            ledger.register_episode(EpisodeEntry("bench", "bench", "Bench"))
            ledger.register_shots("bench", [ShotEntry(n, f"s{n}", key, n * 100, 100) for n, key in enumerate(shots)])
            for shot, first in zip(shots, range(0, count, PER_SHOT), strict=True):
                part = keys[first : first + PER_SHOT]
                ledger.register_segments(shot, [SegmentEntry(key, n, n * 3, 3) for n, key in enumerate(part)])

        def finish() -> None:
            with ThreadPoolExecutor(workers) as threads:
                list(threads.map(lambda n: make(publisher, keys[n], shots[n // PER_SHOT]), range(count)))

        phase("planned", plan)
        phase("rendered and published", finish)
        phase("found again", lambda: finish())
        findings = phase("audited", lambda: audit(store, ledger, repair=False))
        size = sum(file.stat().st_size for file in folder.glob("farm.db*")) / 1e6
        print("| phase | seconds | CPU seconds | CPU ms per segment |\n|---|---|---|---|")
        for what, seconds, cpu in phases:
            print(f"| {what} | {seconds:.1f} | {cpu:.1f} | {1000 * cpu / count:.1f} |")
        print(f"\n{count} segments, {workers} workers, {len(findings)} findings, ", end="")  # type: ignore[arg-type]
        print(f"database {size / count * 1000:.2f} MB per 1,000")
        ledger.close()


def make(publisher: Publisher, key: str, shot: str) -> None:
    """Publish one simulated segment."""

    def render(work: Work) -> Rendered:
        path = work.scratch / "latents"
        path.write_bytes(key.encode() * 16)
        return Rendered(Output(path, "segment_latents"), facts={"seed": 7})

    publisher.publish(WorkItem("segment", key), render, behalf=Behalf("bench", shot))


def cpu_seconds() -> float:
    """Return the CPU time of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def bench_halo(rounds: int = 20) -> None:
    """Put and get boundary latents of full size over HTTP; print the share of a step that takes."""
    from bench_pods import s3_server

    with ExitStack() as stack:
        bucket = s3_server(stack)
        store = open_store(bucket, endpoint=os.environ["FARM_S3_ENDPOINT"])
        data = io.BytesIO(np.random.default_rng(0).bytes(HALO_BYTES)).getvalue()
        seconds, cpu = [], cpu_seconds()
        for number in range(rounds):
            begun = time.monotonic()
            store.put_once(f"halo/bench/step-{number:02d}/segment-0", data)
            store.exists(f"halo/bench/step-{number:02d}/segment-0")
            store.get(f"halo/bench/step-{number:02d}/segment-0")
            seconds.append(time.monotonic() - begun)
        cpu = (cpu_seconds() - cpu) / rounds
    median = float(np.median(seconds))
    print(
        f"{HALO_BYTES / 1e6:.1f} MB put, found and got over HTTP: median {median:.3f} s, worst {max(seconds):.3f} s; "
        f"{100 * median / STEP_SECONDS:.2f} % of a step of {STEP_SECONDS:.0f} s; CPU of client and server {cpu:.3f} s, "
        f"{100 * cpu / STEP_SECONDS:.2f} %, which is what the wall clock shows on an idle machine"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
