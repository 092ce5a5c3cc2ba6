"""Segments on several GPUs of one pod, seen from one of its processes: rank 0 claims, exchanges and publishes.

torchrun --module tasks.ranks JOB   JOB is a file, see `Job`; `tasks.on_gpus` writes it and starts the ranks.
"""

import json
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from model.lead import Leading, Round, follow, gather_round
from model.parallel import Degrees, build_parallel_denoiser, join, leave
from model.sampler import Denoiser
from model.schedule import Step, plan_steps
from model.shot import ShotConditions
from model.windows import Window
from tasks.conditioning import Conditioner
from tasks.errors import OutOfMemory, Preempted, TransientError
from tasks.give_way import StopNotice
from tasks.network import Bundle, limit_threads
from tasks.plan.types import Plan, ShotPlan
from tasks.pod import Pod, is_dead, load_once, open_pod
from tasks.rank_notes import RankNotes
from tasks.settings import settings
from tasks.store import Store, open_store
from tasks.take import render_alone, render_take
from tasks.waivers import load_order

log = logging.getLogger(__name__)
EVERY_SEGMENT = -1


@dataclass(frozen=True)
class Job:
    """What the ranks of a pod are to do, for whom. `worker` is the name of the process that started them."""

    order: str
    shot: str
    segment: int  # EVERY_SEGMENT: the whole shot
    store: str
    database: str
    profile: str
    degrees: Degrees
    worker: str
    folder: str

    def write(self) -> Path:
        """Write the job into its folder; return the file."""
        path = Path(self.folder) / "job.json"
        path.write_text(json.dumps(asdict(self)))
        return path

    @classmethod
    def read(cls, path: Path) -> "Job":
        """Return a job that was written."""
        given = json.loads(path.read_text())
        return cls(**{**given, "degrees": Degrees(**given["degrees"])})


def main(arguments: list[str]) -> int:
    """Run one rank to its end; its outcome is in the job's folder. 1: the other ranks must be ended too."""
    from torch.distributed import get_node_local_rank

    job, rank = Job.read(Path(arguments[0])), get_node_local_rank()
    notes = RankNotes(Path(job.folder))
    try:
        device = take_device(rank)
        join(job.degrees, device)
        words = gather_round()
        bundle = load_once(job.profile)
        limit_threads(settings().threads or max(1, torch.get_num_threads() // job.degrees.processes))
        if rank == 0:
            lead(job, notes, words)
        else:
            help_out(job, words, bundle)
        leave()
    except BaseException as exc:
        notes.fail(rank, exc)
        log.exception("rank ended", extra={"rank": rank})
        return 1
    return 0


def take_device(rank: int) -> torch.device:
    """Make a rank's own GPU the current one and return it; the CPU where there is none, or it is asked for."""
    if settings().device == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    torch.cuda.set_device(rank)
    return torch.device("cuda", rank)


def lead(job: Job, notes: RankNotes, words: Round) -> None:
    """Render as the only rank that the farm sees, and let the others go afterwards.

    An error between two windows is an outcome like any other; one in mid-window is raised, as the others wait inside
    their share of it.
    """
    stop = StopNotice(settings().stop_seconds, notes.stop)
    with open_pod(job.store, job.database) as opened:
        pod = replace(opened, stop=stop, publisher=replace(opened.publisher, worker=job.worker))
        leader = Leader(job, words, notes)
        try:
            notes.succeed(0, _render(job, pod, leader, notes))
        except Exception as exc:
            if leader.in_mid_window:
                raise
            notes.fail(0, exc)
        words.say(None)


def _render(job: Job, pod: Pod, leader: "Leader", notes: RankNotes) -> str:
    plan = load_order(pod, job.order)
    shot = next(shot for shot in plan.shots if shot.id == job.shot)
    tell = leader.tell(pod.store, shot)
    if job.segment == EVERY_SEGMENT:
        return str(render_take(pod, plan, shot, shot.segments, notes, tell))
    segment = shot.segments[job.segment]
    made = render_alone(pod, plan, shot, segment, notes, settings().wait_seconds, tell)
    return made.pointer.object.key


@dataclass
class Leader:
    """Rank 0's network: tells all ranks about a shot, then has them compute every window with it."""

    job: Job
    words: Round
    notes: RankNotes
    in_mid_window: bool = False

    def tell(self, store: Store, shot: ShotPlan) -> Callable[[Plan, Bundle, ShotConditions], Denoiser]:
        """Return what makes the denoiser of a shot, once its conditions are in the store for all."""

        def make(plan: Plan, bundle: Bundle, conditions: ShotConditions) -> Denoiser:
            self.words.say((plan, shot, store.url))
            return _Careful(Leading(_denoiser(self.job, plan, bundle, conditions), self.words), self)

        return make


@dataclass(frozen=True, eq=False)
class _Careful:
    """Knows when a window is under way, and what it means when another rank is lost in it."""

    denoiser: Denoiser
    leader: Leader

    def velocity(self, x: Tensor, window: Window, step: Step) -> Tensor:
        if is_dead(self.leader.job.worker):
            raise Preempted("the process that started these ranks is gone; the segment goes on from its last step")
        self.leader.in_mid_window = True
        try:
            velocity = self.denoiser.velocity(x, window, step)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as exc:
            if not is_lost(exc):
                raise
            for rank in range(1, self.leader.job.degrees.processes):
                self.leader.notes.result(rank)  # raises what that rank ended with, if it could still say so
            raise TransientError(f"a rank was lost in step {step.index + 1} ({exc})") from exc
        self.leader.in_mid_window = False
        return velocity


def is_lost(exc: RuntimeError) -> bool:
    """Say whether a collective failed because another rank is gone."""
    from torch.distributed import DistError

    return isinstance(exc, DistError) or any(word in str(exc).lower() for word in ("gloo", "nccl", "connection"))


def help_out(job: Job, words: Round, bundle: Bundle) -> None:
    """Compute this rank's share of whatever the leader says.

    Raises: OutOfMemory.
    """
    stores: dict[str, Store] = {}

    def tell(told: tuple[Plan, ShotPlan, str]) -> Denoiser:
        plan, shot, url = told
        store = stores.setdefault(url, open_store(url, endpoint=settings().s3_endpoint))
        return _denoiser(job, plan, bundle, Conditioner(plan, store, bundle).conditions(shot))

    try:
        follow(words, tell, bundle.device)
    except torch.OutOfMemoryError as exc:
        raise OutOfMemory(f"shot {job.shot}: a rank is out of memory ({exc}); use larger GPUs or more of them") from exc


def _denoiser(job: Job, plan: Plan, bundle: Bundle, conditions: ShotConditions) -> Denoiser:
    steps = plan_steps(bundle.sampler(plan).schedule)
    return build_parallel_denoiser(bundle.transformer, conditions, steps, job.degrees, plan.cache)


if __name__ == "__main__":
    if main(sys.argv[1:]):
        logging.shutdown()
        os._exit(1)  # at once: an orderly end would wait for collectives that nobody answers
