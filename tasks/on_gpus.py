"""Segments on several GPUs of this pod, seen from the process that starts a rank on each and hears how it went."""

import tempfile
from pathlib import Path

import torch

from model.parallel import pick_degrees
from tasks.cluster.torchrun import run_on_gpus
from tasks.errors import ConfigError, FarmError, TransientError
from tasks.plan.types import Plan, ShotPlan
from tasks.pod import Pod
from tasks.profiles import PROFILES, plan_sampler
from tasks.progress import Watcher
from tasks.rank_notes import RankNotes
from tasks.ranks import EVERY_SEGMENT, Job
from tasks.settings import settings
from tasks.work import segment_item


def render_on_gpus(
    pod: Pod, plan: Plan, shot: ShotPlan, order: str, watch: Watcher, segment: int = EVERY_SEGMENT
) -> str:
    """Render a segment, or every missing one of a shot, on FARM_GPUS processes; return the segment's object key.

    (Of a whole shot: how many segments were rendered.) Raises: what the same render raises in one process; ConfigError
    when this machine or the plan cannot be shared so; TransientError when a rank was lost, its claims ended.
    """
    require(plan)
    with tempfile.TemporaryDirectory(prefix="farm-ranks-", ignore_cleanup_errors=True) as folder:
        notes = RankNotes(Path(folder))

        def look() -> None:
            if pod.stop.is_set():
                notes.stop.touch()
            notes.pass_on(watch)

        job = _job(pod, plan, shot, order, segment, folder)
        lost: TransientError | None = None
        try:
            run_on_gpus("tasks.ranks", [str(job.write())], job.degrees.processes, look)
        except TransientError as exc:
            lost = exc
        try:
            result = notes.result(0)
            for rank in range(1, job.degrees.processes if result is None else 0):
                notes.result(rank)  # raises what that rank ended with
            if result is None:
                raise lost or TransientError("rank 0 ended without a word; look into the pod's log")
        except FarmError as exc:
            _release(pod, shot, job, exc)
            raise
        return result


def require(plan: Plan) -> None:
    """Refuse what several GPUs cannot do. Raises: ConfigError."""
    gpus, device = settings().gpus, settings().device
    if plan.cache == "residual":
        raise ConfigError(
            f"sampler.cache residual decides by its own tokens and cannot be shared by {gpus} GPUs; use released or off"
        )
    if device not in ("auto", "cuda", "cpu"):
        raise ConfigError(f"FARM_GPUS={gpus} takes the first {gpus} GPUs, FARM_DEVICE={device} one of them; unset one")
    found = torch.cuda.device_count()
    if device != "cpu" and 0 < found < gpus:
        raise ConfigError(f"FARM_GPUS={gpus}, and {found} are visible; lower it or ask for a pod with {gpus}")


def _job(pod: Pod, plan: Plan, shot: ShotPlan, order: str, segment: int, folder: str) -> Job:
    guided = plan_sampler(plan).schedule.guidance != 1
    degrees = pick_degrees(settings().gpus, PROFILES[plan.profile].network.heads, guided)
    database = pod.ledger.transactions.engine.url.render_as_string(hide_password=False)
    return Job(
        order, shot.id, segment, pod.store.url, database, plan.profile, degrees, pod.publisher.worker, folder
    )  # fmt: skip


def _release(pod: Pod, shot: ShotPlan, job: Job, why: FarmError) -> None:
    """End what rank 0 had claimed under this process's name and could not give back itself: nobody waits for it."""
    for segment in shot.segments:
        if job.segment in (EVERY_SEGMENT, segment.index):
            pod.ledger.pass_over(segment_item(segment), job.worker, str(why), why.failure_class)
