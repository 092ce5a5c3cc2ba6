"""A worker to be maltreated: it goes through the orders again and again until told that everything is done."""

import contextlib
import os
import resource
import signal
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from db.engine import connect
from db.errors import LedgerAway
from db.ledger import Ledger
from db.records import WorkItem
from model.sampler import Predictions
from tasks.chaos.toy import ToyDenoiser, ToyPod, make_picture, make_toy_film
from tasks.crash import CrashPoints, NoCrash
from tasks.errors import FarmError
from tasks.exchange import StoreExchange, halo_prefix
from tasks.ingest import load_plan
from tasks.plan.types import Plan, ShotPlan
from tasks.pointer import find_done
from tasks.progress import Silence
from tasks.publish import CRASH_POINTS, Publisher
from tasks.store import Retry, open_store
from tasks.work import film_item, make_segment, segment_item, shot_item

ALL_POINTS = (*CRASH_POINTS, "after_halo", "after_step")
DISK_BYTES = 20_000  # what a full disk still takes: a step's checkpoint is larger


@dataclass(frozen=True)
class Place:
    """Where the farm is."""

    store: str
    endpoint: str
    database: str
    lease_seconds: float


@dataclass(frozen=True)
class Fate:
    """What is wrong with this worker: dies at a point (at its n-th passing), has a wrong clock, or no disk left."""

    point: str = ""
    passing: int = 1
    skew_seconds: float = 0.0
    disk_full: bool = False


class Dies:
    """Kills this process, without any clean-up, when it passes a point for the n-th time."""

    def __init__(self, fate: Fate) -> None:
        self._fate, self._left = fate, fate.passing

    def hit(self, point: str) -> None:
        """Die if this is the point."""
        if point == self._fate.point:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True, eq=False)
class CrashingExchange(StoreExchange):
    """A store exchange that may die between putting its latents and going on."""

    crash: CrashPoints | None = None

    def publish(self, step_index: int, segment: int, predictions: Predictions) -> None:
        """Put the latents, and die if that is this worker's fate."""
        super().publish(step_index, segment, predictions)
        if self.crash:
            self.crash.hit("after_halo")


class StepWatch(Silence):
    """Passes the point after every step."""

    def __init__(self, crash: CrashPoints) -> None:
        self._crash = crash

    def advance(self, stage: str, name: str, done: int, total: int) -> None:
        """Die if that is this worker's fate."""
        self._crash.hit("after_step")


def work(place: Place, orders: Sequence[str], share: int, shares: int, fate: Fate) -> None:
    """Be worker number `share` of `shares` until every film is there."""
    _suffer(fate)
    crash: CrashPoints = Dies(fate) if fate.point else NoCrash()
    retry = Retry(tries=8, first_seconds=0.05, max_seconds=1.0)
    store = open_store(place.store, endpoint=place.endpoint, retry=retry)
    ledger = Ledger(connect(place.database))
    with tempfile.TemporaryDirectory(prefix="farm-chaos-") as scratch:
        publisher = Publisher(store, ledger, f"w{os.getpid()}", Path(scratch), place.lease_seconds, crash=crash)
        pod = ToyPod(store, ledger, publisher)
        for order in orders:
            while not _finish(pod, order, share, shares, crash):
                time.sleep(0.05)


def _suffer(fate: Fate) -> None:
    if fate.skew_seconds:
        true_time = time.time
        time.time = lambda: true_time() + fate.skew_seconds
    if fate.disk_full:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (DISK_BYTES, DISK_BYTES))


def _finish(pod: ToyPod, order: str, share: int, shares: int, crash: CrashPoints) -> bool:
    """Do what is missing of an episode; True when its film is there. What fails is tried again in the next round."""
    with contextlib.suppress(FarmError, LedgerAway, OSError):
        plan = load_plan(pod.store, order)
        if find_done(pod.store, film_item(plan)):
            return True
        for shot in plan.shots:
            _render(pod, plan, shot, share % len(shot.segments), crash)
        for shot in plan.shots:
            if _all_done(pod, [segment_item(segment) for segment in shot.segments]):
                with contextlib.suppress(FarmError, LedgerAway, OSError):
                    make_picture(pod, plan, shot)
        if _all_done(pod, [shot_item(plan, shot) for shot in plan.shots]):
            make_toy_film(pod, plan)
            return True
    return False


def _all_done(pod: ToyPod, items: Sequence[WorkItem]) -> bool:
    return all(find_done(pod.store, item) is not None for item in items)


def _render(pod: ToyPod, plan: Plan, shot: ShotPlan, index: int, crash: CrashPoints) -> None:
    """Render this worker's segment of a shot, if it is missing."""
    segment = shot.segments[index]
    if find_done(pod.store, segment_item(segment)):
        return
    exchange = CrashingExchange(pod.store, halo_prefix(shot), wait_seconds=10.0, crash=crash)
    own = replace(pod, publisher=replace(pod.publisher))
    with contextlib.suppress(FarmError, LedgerAway, OSError):
        make_segment(own, plan, shot, segment, ToyDenoiser(), exchange, StepWatch(crash))
