"""How the segments of a shot reach each other, and how one goes on after a kill: small objects in the store, put once.

halo/SHOT/SPLIT/step-07/segment-3    the latents that other segments need after step 7
state/SEGMENT/step-07                everything the segment itself needs to go on after step 7
"""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import torch
from safetensors.torch import load, save

from model.exchange import Read
from model.sampler import Checkpoint, Predictions, select
from tasks.crash import CrashPoints, NoCrash
from tasks.errors import FailureClass, ObjectMissing, PermanentError, TransientError
from tasks.plan.keys import digest
from tasks.plan.types import SegmentPlan, ShotPlan
from tasks.store.types import Store

ASK_SECONDS = 15.0  # between two looks whether what is waited for can still come
MIN_PAUSE_SECONDS = 0.01
MAX_PAUSE_SECONDS = 0.5


class Yielded(TransientError):
    """A neighbour's latents did not come in time; the segment is saved and will be scheduled again."""

    failure_class = FailureClass.PREEMPTED  # nobody's failure, however often a crowded pool makes it happen


class NeighbourFailed(PermanentError):
    """A neighbour has failed for good; the segment is saved, holds no pod, and goes on when that one is retried."""

    failure_class = FailureClass.PREEMPTED


def pack_predictions(predictions: Predictions) -> bytes:
    """Return predictions as one safetensors object: latents (m, c, h, w) and index (m, 2): window, latent."""
    keys = sorted(predictions)
    latents = torch.stack([predictions[key] for key in keys]).cpu().contiguous()
    data: bytes = save({"latents": latents, "index": torch.tensor(keys, dtype=torch.int32)})
    return data


def unpack_predictions(data: bytes, device: torch.device | str = "cpu") -> Predictions:
    """Return what `pack_predictions` packed."""
    tensors = load(data)
    index: list[list[int]] = tensors["index"].tolist()
    latents = tensors["latents"].to(device)
    return {(window, latent): latents[i] for i, (window, latent) in enumerate(index)}


def halo_prefix(shot: ShotPlan) -> str:
    """Return where the segments of a shot, split as it is, leave their latents for each other."""
    return f"halo/{shot.key}/{digest([s.key for s in shot.segments])[:16]}"


@dataclass(frozen=True, eq=False)
class StoreExchange:
    """`model.sampler.Exchange` through the object store; put-once objects make every message idempotent."""

    store: Store
    prefix: str
    wait_seconds: float = 600.0
    check: Callable[[], None] = lambda: None  # raises when this pod has to stop
    gave_up: Callable[[], str] = lambda: ""  # which segment of the take has failed for good, and why; empty: none
    clock: Callable[[], float] = time.monotonic
    arrived: threading.Condition = field(default_factory=threading.Condition)  # wakes segments of the same process
    crash: CrashPoints = field(default_factory=NoCrash)

    def publish(self, step_index: int, segment: int, predictions: Predictions) -> None:
        """Put the latents that others need after a step."""
        if predictions:
            self.store.put_once(self.key(step_index, segment), pack_predictions(predictions))
            self.crash.hit("after_halo")
            with self.arrived:
                self.arrived.notify_all()

    def read(self, step_index: int, reads: Sequence[Read]) -> Predictions:
        """Return what other segments predicted at a step, waiting for it.

        Raises: Yielded after `wait_seconds`, NeighbourFailed when it will not come, and whatever `check` raises.
        """
        found: Predictions = {}
        for read in reads:
            data = self._wait_for(step_index, read.segment)
            found |= select(unpack_predictions(data), read.pieces)
        return found

    def key(self, step_index: int, segment: int) -> str:
        """Return where a segment leaves its latents after a step."""
        return f"{self.prefix}/step-{step_index:02d}/segment-{segment}"

    def _wait_for(self, step_index: int, segment: int) -> bytes:
        key, begun = self.key(step_index, segment), self.clock()
        ask_at = begun
        while True:
            self.check()
            with suppress(ObjectMissing):  # asking for it costs what asking whether it is there would
                return self.store.get(key)
            now = self.clock()
            if now >= ask_at:
                ask_at = now + ASK_SECONDS
                if why := self.gave_up():
                    raise NeighbourFailed(f"{why}; this one saved its step and goes on when that one is tried again")
            if now - begun > self.wait_seconds:
                raise Yielded(
                    f"{key} did not come within {self.wait_seconds:.0f} s; this segment saved its step and yields"
                )
            with self.arrived:
                self.arrived.wait(pause_seconds(now - begun))


def pause_seconds(waited: float) -> float:
    """Return how long to wait before asking again: what comes is noticed within a fifth of the wait so far."""
    return min(MAX_PAUSE_SECONDS, max(MIN_PAUSE_SECONDS, waited / 5))


@dataclass(frozen=True)
class Checkpoints:
    """A segment's newest step in the store; older ones are deleted once a newer one is there."""

    store: Store
    segment: SegmentPlan
    crash: CrashPoints = field(default_factory=NoCrash)

    def save(self, checkpoint: Checkpoint) -> None:
        """Keep a step."""
        self.store.put_once(self._key(checkpoint.step_index), pack_predictions(checkpoint.predictions))
        self.crash.hit("between_checkpoints")
        for stat in list(self.store.list(self._prefix)):
            if stat.key < self._key(checkpoint.step_index):
                self.store.delete(stat.key)

    def newest(self, device: torch.device | str) -> Checkpoint | None:
        """Return the newest step that was kept, if any."""
        while stats := list(self.store.list(self._prefix)):
            key = stats[-1].key
            with suppress(ObjectMissing):  # an attempt that was passed over may still replace it by its next step
                return Checkpoint(int(key.rsplit("-", 1)[1]), unpack_predictions(self.store.get(key), device))
        return None

    def num_done(self) -> int:
        """Return how many steps are done, by what is kept."""
        stats = list(self.store.list(self._prefix))
        return int(stats[-1].key.rsplit("-", 1)[1]) + 1 if stats else 0

    def clear(self) -> None:
        """Delete every step."""
        for stat in list(self.store.list(self._prefix)):
            self.store.delete(stat.key)

    @property
    def _prefix(self) -> str:
        return f"state/{self.segment.key}/"

    def _key(self, step_index: int) -> str:
        return f"{self._prefix}step-{step_index:02d}"


def clear_halos(store: Store, shot: ShotPlan) -> int:
    """Delete the messages of a published shot, split as it is; return how many."""
    stats = list(store.list(f"{halo_prefix(shot)}/"))
    for stat in stats:
        store.delete(stat.key)
    return len(stats)
