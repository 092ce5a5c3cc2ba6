"""One segment of a shot, from its conditions to its last step's latents; goes on where a killed pod stopped."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock

import torch
from torch import Tensor

from model.denoiser import build_denoiser
from model.exchange import plan_result
from model.noise import shot_noise
from model.sampler import FLOAT16, FLOAT32, Checkpoint, Denoiser, Predictions, Take, sample_segment, select
from model.schedule import Step, can_resume_after, moves, plan_steps
from model.shot import ShotConditions
from model.windows import Window, shot_latents
from tasks.errors import OutOfMemory, Preempted
from tasks.exchange import Checkpoints, StoreExchange
from tasks.give_way import StopNotice
from tasks.network import Bundle
from tasks.plan.types import Plan, SegmentPlan, ShotPlan

StepDone = Callable[[int, int], None]  # steps done, steps in all


@dataclass(eq=False)
class OneAtATime:
    """A denoiser that several segments of one process share: one computes while the others wait for latents.

    Asked to stop, it begins no window that would not be done in time: the step is abandoned then.
    """

    denoiser: Denoiser
    stop: StopNotice
    lock: Lock = field(default_factory=Lock)
    longest_seconds: float = 0.0

    def velocity(self, x: Tensor, window: Window, step: Step) -> Tensor:
        """Return the denoiser's velocity, alone on the device. Raises: Preempted when the time is too short for it."""
        with self.lock:
            if not self.stop.leaves(self.longest_seconds):
                raise Preempted(f"step {step.index + 1}: abandoned, there was no time for it; it is done again")
            began = time.monotonic()
            velocity = self.denoiser.velocity(x, window, step)
            if velocity.is_cuda:
                torch.cuda.synchronize(velocity.device)  # or the clock would show how long it took to ask for it
            self.longest_seconds = max(self.longest_seconds, time.monotonic() - began)
            return velocity


def shot_denoiser(plan: Plan, bundle: Bundle, conditions: ShotConditions) -> Denoiser:
    """Return the network told about one shot, its tables built once for all of the shot's segments here."""
    steps = plan_steps(bundle.sampler(plan).schedule)
    return build_denoiser(bundle.transformer, conditions, steps, plan.cache)


def take_of(plan: Plan, shot: ShotPlan, bundle: Bundle) -> Take:
    """Return everything about a shot's render but the network."""
    sampler = bundle.sampler(plan)
    network = bundle.profile.network
    return Take(
        shot=shot_latents(shot.num_frames, sampler.fusion_config),
        fusion=sampler.fusion_config,
        steps=plan_steps(sampler.schedule),
        noise=shot_noise(shot.seed, (network.latent_channels, plan.height // 8, plan.width // 8)),
        numerics=FLOAT16 if bundle.profile.half_state else FLOAT32,
        device=bundle.device,
    )


def denoise_segment(
    plan: Plan,
    shot: ShotPlan,
    segment: SegmentPlan,
    bundle: Bundle,
    denoiser: Denoiser,
    exchange: StoreExchange,
    step_done: StepDone = lambda done, total: None,
) -> Predictions:
    """Return a segment's predictions of the shot's kept latents.

    Every step is kept in the store before the next one begins. Raises: what `exchange.check` raises (Preempted),
    Yielded when a neighbour does not come, OutOfMemory.
    """
    take = take_of(plan, shot, bundle)
    checkpoints = Checkpoints(exchange.store, segment, exchange.crash)
    shares = tuple(part.num_windows for part in shot.segments)
    resume = checkpoints.newest(bundle.device)

    def after_step(checkpoint: Checkpoint) -> None:
        if can_resume_after(take.steps, checkpoint.step_index):
            checkpoints.save(checkpoint)
        step_done(checkpoint.step_index + 1, len(take.steps))
        exchange.check()

    with memory_errors(shot, segment):
        last = sample_segment(denoiser, take, segment.index, shares, exchange, resume, after_step)
    pieces = plan_result(take.shot, take.fusion, len(take.steps) - 1, shares, moves(take.steps))[segment.index]
    return select(last, pieces)


@contextmanager
def memory_errors(shot: ShotPlan, segment: SegmentPlan) -> Iterator[None]:
    """Turn a device out of memory into the farm's own error."""
    try:
        yield
    except torch.OutOfMemoryError as exc:
        raise OutOfMemory(
            f"shot {shot.id}, segment {segment.index}: out of memory with {segment.num_windows} windows ({exc}); "
            "use a larger GPU, a smaller size or a shorter sampler.window_latents"
        ) from exc
