"""What the farm itself costs: thousands of segments with a simulated renderer, halo exchange over HTTP.

python scripts/bench_farm.py [--segments 10000] [--workers 2]            segments: seconds per phase, database, CPU
python scripts/bench_farm.py --halo                                      share of a step that exchange takes
"""

import argparse
import logging
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from socket import create_connection

import numpy as np
import torch

from db.ledger import open_ledger
from db.records import Behalf, EpisodeEntry, SegmentEntry, ShotEntry, WorkItem
from model.exchange import Piece, Read
from tasks.attempt import Work
from tasks.chaos.postgres import free_port
from tasks.exchange import StoreExchange
from tasks.fsck import audit
from tasks.plan.keys import digest
from tasks.publish import Output, Publisher, Rendered
from tasks.store import open_store

PER_SHOT = 10
HALO_LATENTS = 10
HALO_BYTES = HALO_LATENTS * 16 * 88 * 152 * 2  # of 704x1216 in fp16
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


def bench_halo(rounds: int = 30) -> None:
    """Put and get boundary latents of full size, as two pods do, through an S3 server in a process of its own."""
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn((HALO_LATENTS, 16, 88, 152), generator=generator).half()
    told = {(0, latent): latents[latent] for latent in range(HALO_LATENTS)}
    read = (Read(0, (Piece(0, tuple(range(HALO_LATENTS))),)),)
    with s3_process() as bucket:
        store = open_store(bucket, endpoint=os.environ["FARM_S3_ENDPOINT"])
        exchange = StoreExchange(store, "halo/bench")
        exchange.publish(0, 0, told)
        puts, gets, cpu = [], [], cpu_seconds()
        for step in range(1, rounds + 1):
            begun = time.monotonic()
            exchange.publish(step, 0, told)
            there = time.monotonic()
            exchange.read(step, read)
            puts.append(there - begun)
            gets.append(time.monotonic() - there)
        cpu = (cpu_seconds() - cpu) / rounds
    both = [put + get for put, get in zip(puts, gets, strict=True)]
    share = [100 * float(np.percentile(both, q)) / STEP_SECONDS for q in (10, 50, 90)]
    print(
        f"{HALO_BYTES / 1e6:.1f} MB told and read over HTTP, {rounds} steps: median put {np.median(puts):.3f} s, ",
        end="",
    )
    print(
        f"get {np.median(gets):.3f} s; of a step of {STEP_SECONDS:.0f} s {share[1]:.2f} % (tenth {share[0]:.2f} %, ",
        end="",
    )
    print(f"nine tenths {share[2]:.2f} %); the client's CPU {cpu:.3f} s, {100 * cpu / STEP_SECONDS:.2f} %; ", end="")
    print(f"load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


@contextmanager
def s3_process() -> Iterator[str]:
    """Yield a bucket's address on an S3 server that runs by itself, found through the environment."""
    import boto3

    os.environ |= {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_DEFAULT_REGION": "us-east-1"}
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        os.environ["FARM_S3_ENDPOINT"] = f"http://127.0.0.1:{port}"
        for _ in range(600):
            with suppress(OSError), create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.1)
        client = boto3.session.Session().client("s3", endpoint_url=os.environ["FARM_S3_ENDPOINT"])
        client.create_bucket(Bucket="halo")
        yield "s3://halo"
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
