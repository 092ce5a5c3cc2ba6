"""One take on 1, 2, 3, 4, 6 and 12 pods, by folder and by S3, undisturbed and with every pod killed once: same bits?

python scripts/bench_pods.py [--windows 12] [--steps 6] [--pods 1,2,3,4,6,12] [--stores file,s3]
Pods are processes forked from one that has everything in memory, so start-up is what a pod on a warm node pays; what a
process from nothing pays is measured once and said below the table. Prints docs/pods.md.

A kill costs what the pod had done of its unfinished step (`thrown away`) and the time until it computes again
(`start-up`). The first may be no more than a step of that pod, which is compared with the longest undisturbed one of
the same division of the take.
"""

import argparse
import hashlib
import itertools
import json
import math
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from s3_server import s3_server

from tasks.exchange import pack_predictions, unpack_predictions
from tasks.local_pods import share
from tasks.pod import open_pod
from tasks.pointer import find_done
from tasks.rehearsal import Rehearsal, ingest_rehearsal
from tasks.settings import settings
from tasks.store import open_store
from tasks.work import segment_item

S3_KEYS = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_DEFAULT_REGION": "us-east-1"}
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["warm_pod"])
HERE = str(Path(__file__).resolve().parent)  # where the fork server finds warm_pod; what it cannot find it skips
ABOUT = """# One take on many pods

`python scripts/bench_pods.py --steps {steps} --page docs/pods.md`: a take of {windows} windows of 64x64 with {steps}
steps, shared by 1 to 12 pods through a folder and through S3 over HTTP, undisturbed and with every pod killed once by
SIGKILL at a random moment of a random step. `latents` is the digest of the whole take; `computed twice` counts finished
steps that were done again. Times are the longest of all pods: `a step` undisturbed, `thrown away` from a pod's last
finished step to its kill, `start-up` from its kill until the one that takes its place computes. Pods are forked from a
process that has everything in memory, as on a warm node, and all share one core, so times grow with their number."""
READY = "ready"  # a line of the log: conditions are there, the first step begins
HEAD = (
    "| store | pods | killed | latents | wall s | steps | computed twice | a step, s | thrown away, s | start-up, s |"
)


@dataclass(frozen=True)
class Stage:
    """A take, ready to render: a store and a database to copy, and where it is."""

    folder: Path
    order: str
    shot: str
    segments: tuple[tuple[int, ...], ...] = ()


@dataclass
class Race:
    """What one run of the take showed."""

    latents: str
    wall_seconds: float
    kills: int = 0
    steps: int = 0
    steps_twice: int = 0
    step_seconds: list[float] = field(default_factory=list)  # between two finished steps of a pod that was not killed
    thrown_away: list[float] = field(default_factory=list)  # from a pod's last finished step (or start) to its kill
    start_up: list[float] = field(default_factory=list)  # from a kill until the pod computes again


class StepLog:
    """A watcher that appends every finished step to a file; after `doom` of them the process is killed."""

    def __init__(self, path: Path, doom: int, part: Sequence[int]) -> None:
        self._left, self._part = doom or math.inf, min(part)
        self._file = os.open(path, os.O_APPEND | os.O_CREAT | os.O_WRONLY)

    def write(self, name: str, done: int = 0) -> None:
        """Append a line: which pod, what, which step, when."""
        os.write(self._file, (json.dumps([self._part, name, done, time.time()]) + "\n").encode())

    def advance(self, stage: str, name: str, done: int, total: int) -> None:
        """Note a step."""
        self.write(name, done)
        self._left -= 1
        if self._left == 0:  # some time into the next step
            threading.Timer(random.uniform(0, 0.3), os.kill, (os.getpid(), signal.SIGKILL)).start()

    def note(self, text: str) -> None:
        """Hear nothing."""


def run_pod(
    order: str, shot: str, wanted: Sequence[int], store: str, database: str, endpoint: str, log: str, doom: int = 0
) -> None:
    """Be a pod: render some segments of a shot."""
    os.environ |= {"FARM_S3_ENDPOINT": endpoint, "FARM_THREADS": "1", **S3_KEYS}  # forked before these were set
    settings.cache_clear()
    from tasks import take
    from tasks.waivers import load_order

    steps, gather = StepLog(Path(log), doom, wanted), vars(take)["gather_cast"]

    def ready(*given: Any, **named: Any) -> Any:
        cast = gather(*given, **named)
        steps.write(READY)
        return cast

    vars(take)["gather_cast"] = ready
    with open_pod(store, database) as pod:
        plan = load_order(pod, order)
        part = next(one for one in plan.shots if one.id == shot)
        segments = [segment for segment in part.segments if segment.index in wanted]
        take.render_take(pod, plan, part, segments, steps)


def prepare_stage(folder: Path, what: Rehearsal) -> Stage:
    """Ingest a rehearsal and make its conditions once, so that every run starts from the same objects."""
    from tasks.take import gather_cast

    with open_pod((folder / "store").as_uri(), f"sqlite:///{folder / 'farm.db'}") as pod:
        plan, order = ingest_rehearsal(folder / "manifest", what, pod)
        gather_cast(pod, plan, plan.shots[0], threading.Event())
    return Stage(folder, order, plan.shots[0].id)


def race(stage: Stage, pods: int, store: str, folder: Path, kill: bool, seed: int = 0) -> Race:
    """Render the take on `pods` processes and return what came out; `kill`: each is killed once, at a random step."""
    folder.mkdir(parents=True)
    shutil.copy(stage.folder / "farm.db", folder / "farm.db")
    copy_objects(stage, store)
    database, log = f"sqlite:///{folder / 'farm.db'}", folder / "steps"
    log.touch()
    with open_pod(store, database) as pod:
        from tasks.waivers import load_order

        plan = load_order(pod, stage.order)
    shot = plan.shots[0]
    parts = share(shot.segments, pods)
    give, where = (stage.order, shot.id), (store, database, os.environ.get("FARM_S3_ENDPOINT", ""), str(log))
    begun = time.monotonic()
    when = random.Random(seed)
    dooms = {part: when.randrange(1, plan.steps) * len(part) if kill else 0 for part in parts}
    running = {part: start(run_pod, *give, part, *where, dooms[part]) for part in parts}
    killed: dict[tuple[int, ...], float] = {}
    while running:
        time.sleep(0.01)
        for part, process in list(running.items()):
            if process.exitcode is None:
                continue
            del running[part]
            if process.exitcode == -signal.SIGKILL and part not in killed:
                killed[part] = time.time()
                running[part] = start(run_pod, *give, part, *where)
            elif process.exitcode != 0:
                raise RuntimeError(f"the pod of segments {part} ended with {process.exitcode}")
    wall = time.monotonic() - begun
    return judge(stage, store, wall, log, killed)


def start(target: Callable[..., None], *given: object) -> Any:
    """Start a pod's process."""
    process = CONTEXT.Process(target=target, args=given)
    process.start()
    return process


def judge(stage: Stage, store: str, wall: float, log: Path, killed: dict[tuple[int, ...], float]) -> Race:
    """Return the digest of the take's latents and what the kills cost."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    done = [(name, step) for _, name, step, _ in lines if name != READY]
    race = Race(latents_digest(stage, store), wall, len(killed), len(set(done)), len(done) - len(set(done)))
    for pod in {pod for pod, *_ in lines}:
        times = [at for one, _, _, at in lines if one == pod]
        moment = next((at for part, at in killed.items() if min(part) == pod), math.inf)
        before, after = [at for at in times if at < moment], [at for at in times if at > moment]
        race.step_seconds += [b - a for a, b in itertools.pairwise(before)]
        if killed:
            race.thrown_away.append(moment - before[-1])
            race.start_up += [after[0] - moment] if after else []  # nothing to do when the kill came with the last step
    return race


def latents_digest(stage: Stage, store: str) -> str:
    """Return one digest of the whole take's latents, whoever rendered which part of it."""
    opened = open_store(store, endpoint=os.environ.get("FARM_S3_ENDPOINT", ""))
    from tasks.ingest import load_plan

    found: dict[tuple[int, int], Any] = {}
    for segment in load_plan(opened, stage.order).shots[0].segments:
        pointer = find_done(opened, segment_item(segment), verify=True)
        if pointer is None:
            raise RuntimeError(f"segment {segment.index} is not done")
        found |= unpack_predictions(opened.get(pointer.object.key))
    return hashlib.sha256(pack_predictions(found)).hexdigest()


def copy_objects(stage: Stage, store: str) -> None:
    """Put the stage's objects into an empty store."""
    source = open_store((stage.folder / "store").as_uri())
    target = open_store(store, endpoint=os.environ.get("FARM_S3_ENDPOINT", ""))
    for stat in source.list():
        target.put_once(stat.key, source.get(stat.key))


def s3_bucket(stack: ExitStack) -> str:
    """Start an S3 server, set the environment that finds it, and return a bucket's address."""
    import boto3

    os.environ |= {**S3_KEYS, "FARM_S3_ENDPOINT": stack.enter_context(s3_server())}
    boto3.session.Session().client("s3", endpoint_url=os.environ["FARM_S3_ENDPOINT"]).create_bucket(Bucket="pods")
    return "s3://pods"


def main(arguments: list[str]) -> int:
    """Run every combination and print the table; 1 when two of them differ in a bit or a kill cost more than a step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=12)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--pods", default="1,2,3,4,6,12")
    parser.add_argument("--stores", default="file,s3")
    parser.add_argument("--page", type=Path, help="write what is printed to this file too")
    given = parser.parse_args(arguments)
    os.environ.setdefault("FARM_THREADS", "1")
    tell = Teller(given.page)
    digests, kept = set(), True
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="farm-pods-")))
        bucket = s3_bucket(stack) if "s3" in given.stores else ""
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (HERE, os.environ.get("PYTHONPATH", ""))))
        stage = prepare_stage(folder / "stage", Rehearsal((given.windows,), steps=given.steps))
        start(time.sleep, 0).join()
        tell(f"{ABOUT.format(windows=given.windows, steps=given.steps)}\n\n{HEAD}\n{'|---' * 10}|")
        for kind in given.stores.split(","):
            for pods in map(int, given.pods.split(",")):
                calm, killed = (run_one(stage, folder, kind, bucket, pods, kill) for kill in (False, True))
                tell(f"{row_of(kind, pods, calm)}\n{row_of(kind, pods, killed)}")
                digests |= {calm.latents, killed.latents}
                kept &= max(killed.thrown_away) <= max(calm.step_seconds + killed.step_seconds)
    same = "The same bits everywhere" if len(digests) == 1 else f"{len(digests)} DIFFERENT RESULTS"
    tell(
        f"\n{same}; {'no kill' if kept else 'SOME KILL'} threw more than a step away. A process with nothing in memory "
        f"imports and loads for {cold_start_seconds():.1f} s. Load of the machine: {os.getloadavg()[1]:.1f} on "
        f"{os.cpu_count()} cores."
    )
    return 0 if len(digests) == 1 and kept else 1


class Teller:
    """Prints, and keeps a page of what was printed."""

    def __init__(self, page: Path | None) -> None:
        self._page, self._lines = page, list[str]()

    def __call__(self, line: str) -> None:
        print(line, flush=True)
        self._lines.append(line)
        if self._page:
            self._page.write_text("\n".join(self._lines) + "\n")


def run_one(stage: Stage, folder: Path, kind: str, bucket: str, pods: int, kill: bool) -> Race:
    """Run one division of the take."""
    place = folder / f"{kind}-{pods}-{kill}"
    store = f"{bucket}/{place.name}" if kind == "s3" else (place / "store").as_uri()
    return race(stage, pods, store, place, kill, seed=pods)


def row_of(kind: str, pods: int, ran: Race) -> str:
    """Return a run's row; times are the longest of all pods."""
    cells = [kind, pods, ran.kills, ran.latents[:12], f"{ran.wall_seconds:.1f}", ran.steps, ran.steps_twice]
    cells += [f"{max(times):.2f}" if times else "" for times in (ran.step_seconds, ran.thrown_away, ran.start_up)]
    return f"| {' | '.join(map(str, cells))} |"


def cold_start_seconds() -> float:
    """Return how long a pod's process takes that has nothing in memory, up to its first look into the store."""
    begun = time.monotonic()
    subprocess.run([sys.executable, "-c", "import warm_pod"], cwd=Path(__file__).parent, check=True)
    return time.monotonic() - begun


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
