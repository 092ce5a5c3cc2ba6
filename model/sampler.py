"""The denoising loop of a shot, whole or shared by several pods, to the same bits.

c channels, t latents of a window, h w latent height and width; state: the latents between
two steps. Predictions are kept per (window, latent), because the release averages what two windows cover.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from model.exchange import Piece, Read, Segments, SegmentStep, plan_segment
from model.noise import Noise
from model.schedule import Step, euler_step, moves
from model.windows import FusionConfig, ShotLatents, Window

State = Mapping[int, Tensor]  # latent -> [c, h, w]
Predictions = dict[tuple[int, int], Tensor]  # (window index, latent) -> [c, h, w]


@runtime_checkable
class Denoiser(Protocol):
    """Anything that says where a window's latents should move: the network, guided and conditioned, or a toy."""

    def velocity(self, x: Tensor, window: Window, step: Step) -> Tensor: ...  # [c, t, h, w] both


@runtime_checkable
class Exchange(Protocol):
    """How the segments of a shot reach each other: object storage, a dictionary in a test."""

    def read(self, step_index: int, reads: Sequence[Read]) -> Predictions: ...

    def publish(self, step_index: int, segment: int, predictions: Predictions) -> None: ...


@dataclass(frozen=True)
class Numerics:
    """How the state is held between steps: rounded to `rounding`, stored and averaged in `state`."""

    state: torch.dtype
    rounding: torch.dtype


FLOAT32 = Numerics(torch.float32, torch.float32)
FLOAT16 = Numerics(torch.float16, torch.float16)  # halves what pods exchange
RELEASED = Numerics(torch.float16, torch.bfloat16)  # bf16 after Euler, then an fp16 buffer; pinned by toy_L65


@dataclass(frozen=True, eq=False)
class Take:
    """Everything about a shot's render but the network."""

    shot: ShotLatents
    fusion: FusionConfig
    steps: tuple[Step, ...]
    noise: Noise
    numerics: Numerics = FLOAT32
    device: torch.device | str = "cpu"


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A segment after a step: with it, and what others published after the same step, it goes on."""

    step_index: int
    predictions: Predictions


def sample(denoiser: Denoiser, take: Take) -> Float[Tensor, "c kept h w"]:
    """Return the latents of a whole shot."""
    return finish(take, sample_segment(denoiser, take, 0, 1, Alone()))


def sample_segment(
    denoiser: Denoiser,
    take: Take,
    segment: int,
    segments: Segments,
    exchange: Exchange,
    resume: Checkpoint | None = None,
    after_step: Callable[[Checkpoint], None] = lambda checkpoint: None,
) -> Predictions:
    """Return one segment's predictions of the last step; `finish` makes the shot of all segments' together.

    `after_step` is called with every step's checkpoint, after its messages are published. What it or `exchange`
    raises goes through: that is how a render is stopped.
    """
    first, own = (0, {}) if resume is None else (resume.step_index + 1, resume.predictions)
    for step in take.steps[first:]:
        part = plan_segment(take.shot, take.fusion, step.index, segments, segment, moves(take.steps))
        own = denoise_part(denoiser, take, step, part, own, exchange)
        after_step(Checkpoint(step.index, own))
    return own


def denoise_part(
    denoiser: Denoiser, take: Take, step: Step, part: SegmentStep, own: Predictions, exchange: Exchange
) -> Predictions:
    """Return one segment's predictions of a step; what others wait for comes first, what it waits for last.

    A window that shares no latent with another segment's needs nothing of it, so the order changes no bit; but a
    segment of two windows and more tells its neighbours a window early and asks them a window late, and neither waits
    for the other unless it is a whole step behind.
    """
    foreign = {latent for read in part.reads for piece in read.pieces for latent in piece.latents}
    untold = {piece.window for piece in part.publishes}
    state = draw(take, part.windows) if step.index == 0 else merge(own)
    made: Predictions = {}
    asked = not foreign
    for window in sorted(part.windows, key=lambda w: (not foreign.isdisjoint(w.latents), w.index not in untold)):
        if not asked and not foreign.isdisjoint(window.latents):
            state, asked = merge(own | exchange.read(step.index - 1, part.reads)), True
        made |= denoise_step(denoiser, state, (window,), step, take.numerics)
        if untold and not (untold := untold - {window.index}):
            exchange.publish(step.index, part.segment, select(made, part.publishes))
    return made


@torch.no_grad()
def denoise_step(
    denoiser: Denoiser, state: State, windows: Iterable[Window], step: Step, numerics: Numerics
) -> Predictions:
    """Return where one step takes the latents of some windows. Windows read `state` alone, so their order is free."""
    predictions: Predictions = {}
    for window in windows:
        x = torch.stack([state[latent] for latent in window.latents], dim=1)  # (c, t, h, w)
        v = denoiser.velocity(x, window, step)
        moved = euler_step(x, v, step).to(numerics.rounding).to(numerics.state)
        predictions |= {(window.index, latent): moved[:, j] for j, latent in enumerate(window.latents)}
    return predictions


def draw(take: Take, windows: Iterable[Window]) -> State:
    """Return the noise of the windows' latents, in the state's dtype."""
    latents = {latent for window in windows for latent in window.latents}
    return {latent: take.noise(latent).to(take.device, take.numerics.state) for latent in latents}


def merge(predictions: Predictions) -> State:
    """Return the state: the mean of each latent's predictions.

    Averaged after the Euler step, in window order and in the state's dtype, as released.
    """
    by_latent: dict[int, list[Tensor]] = {}
    for (_, latent), values in sorted(predictions.items(), key=lambda item: item[0]):
        by_latent.setdefault(latent, []).append(values)
    return {latent: _mean(values) for latent, values in by_latent.items()}


def finish(take: Take, predictions: Predictions) -> Float[Tensor, "c kept h w"]:
    """Return the shot's kept latents in float32 from every segment's last predictions."""
    state = merge(predictions)
    return torch.stack([state[latent] for latent in range(take.shot.kept)], dim=1).float()


def select(predictions: Predictions, pieces: Iterable[Piece]) -> Predictions:
    """Return the predictions that `pieces` name."""
    keys = [(piece.window, latent) for piece in pieces for latent in piece.latents]
    return {key: predictions[key] for key in keys}


class Alone:
    """The exchange of a segment that has the whole shot to itself."""

    def read(self, step_index: int, reads: Sequence[Read]) -> Predictions:
        return {}

    def publish(self, step_index: int, segment: int, predictions: Predictions) -> None:
        return None


def _mean(values: Sequence[Tensor]) -> Tensor:
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total if len(values) == 1 else total / len(values)
