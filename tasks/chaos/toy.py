"""A toy renderer in the real farm: real plan, exchange, checkpoints, claims and objects; only the network is a formula.

Its result is a pure function of the plan, so what came out of the chaos can be compared with what had to.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from db.records import Artifact, Behalf
from model.exchange import plan_result
from model.sampler import Predictions, sample_segment, select
from model.schedule import Step, moves
from model.windows import Window
from tasks.attempt import Work
from tasks.denoise import take_of
from tasks.errors import TransientError
from tasks.exchange import pack_predictions
from tasks.network import Bundle
from tasks.plan.types import Plan, ShotPlan
from tasks.pod import Pod
from tasks.pointer import find_done
from tasks.profiles import PROFILES
from tasks.publish import Input, Output, Published, Rendered
from tasks.work import film_item, segment_item, shot_item


class PartGone(TransientError):
    """What a picture or a film is made of was there a moment ago: its record has been deleted meanwhile."""


@dataclass(frozen=True, eq=False)
class ToyPod(Pod):
    """A pod whose network is nothing to load."""

    def bundle(self, profile: str) -> Bundle:
        """Return a bundle with everything but parts that compute."""
        nothing: Any = None
        return Bundle(PROFILES[profile], "toy", torch.device("cpu"), nothing, nothing, nothing, nothing, 8)


class ToyDenoiser:
    """Mixes the latents of a window, so that every latent depends on its neighbours, as in the real network."""

    def velocity(self, x: Tensor, window: Window, step: Step) -> Tensor:
        """Return something of x's shape that differs from window to window and step to step."""
        return torch.tanh(x + x.mean(dim=1, keepdim=True) * (1 + window.index % 3) + 0.1 * step.index)


def expected_segments(plan: Plan, shot: ShotPlan) -> list[str]:
    """Return the digest that each segment of a shot must have, computed here without store, claims or pods."""
    bundle = ToyPod.bundle(None, plan.profile)  # type: ignore[arg-type]  # it needs nothing of a pod
    take = take_of(plan, shot, bundle)
    shares = tuple(segment.num_windows for segment in shot.segments)
    last = sample_segment(ToyDenoiser(), take, 0, (sum(shares),), _Nobody())
    pieces = plan_result(take.shot, take.fusion, len(take.steps) - 1, shares, moves(take.steps))
    return [hashlib.sha256(pack_predictions(select(last, part))).hexdigest() for part in pieces]


def make_picture(pod: Pod, plan: Plan, shot: ShotPlan) -> Published:
    """Publish a shot's picture: here, the digests of its segments. Raises: what publishing raises."""

    def render(work: Work) -> Rendered:
        items = [segment_item(segment) for segment in shot.segments]
        parts = [_done(pod, item) for item in items]
        inputs = tuple(Input(part, "latents", item) for part, item in zip(parts, items, strict=True))
        return _text(work, "shot_picture", [part.sha256 for part in parts], inputs)

    return pod.publisher.publish(shot_item(plan, shot), render, behalf=Behalf(plan.key, shot.key), stop=pod.stop)


def make_toy_film(pod: Pod, plan: Plan) -> Published:
    """Publish the film: here, the digests of its shots' pictures. Raises: what publishing raises."""

    def render(work: Work) -> Rendered:
        items = [shot_item(plan, shot) for shot in plan.shots]
        parts = [_done(pod, item) for item in items]
        inputs = tuple(Input(part, "picture", item) for part, item in zip(parts, items, strict=True))
        return _text(work, "film", [part.sha256 for part in parts], inputs)

    return pod.publisher.publish(film_item(plan), render, behalf=Behalf(plan.key), stop=pod.stop)


def expected_film(plan: Plan) -> str:
    """Return the digest that a plan's film must have."""
    pictures = [_digest(expected_segments(plan, shot)) for shot in plan.shots]
    return _digest(pictures)


def _text(work: Work, kind: str, digests: list[str], inputs: tuple[Input, ...]) -> Rendered:
    path = work.scratch / kind
    path.write_text("\n".join(digests))
    return Rendered(Output(path, kind, ".txt"), inputs=inputs)


def _digest(lines: list[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _done(pod: Pod, item: Any) -> Artifact:
    pointer = find_done(pod.store, item)
    if pointer is None:
        raise PartGone(f"{item} is not done any more")
    return Artifact(pointer.object.sha256, pointer.object.size, "part", pointer.object.key)


class _Nobody:
    def read(self, step_index: int, reads: Any) -> Predictions:
        return {}

    def publish(self, step_index: int, segment: int, predictions: Predictions) -> None:
        return None
