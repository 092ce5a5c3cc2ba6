"""A worker to be maltreated: it goes through the orders again and again until told that everything is done."""

import contextlib
import errno
import logging
import os
import resource
import signal
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
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
DISK_BYTES = 20_000  # what a full disk still takes: a segment's latents are larger
ROUND_SECONDS = 0.2
WAIT_SECONDS = 20.0  # for a neighbour, which may just have been killed
EVICTED = 28  # how a worker ends whose disk is full: ENOSPC


@dataclass(frozen=True)
class Place:
    """Where the farm is."""

    store: str
    endpoint: str
    database: str
    lease_seconds: float
    scratch: str  # a folder that goes with the run: what is killed cleans nothing up


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
    """Be worker number `share` of `shares` until every film is there, or until the disk is found to be full."""
    os.setsid()  # a machine of its own, as far as signals and the scheduler can tell
    logging.disable(logging.ERROR)  # every broken call is a warning, and there are thousands
    _suffer(fate)
    crash: CrashPoints = Dies(fate) if fate.point else NoCrash()
    retry = Retry(tries=8, first_seconds=0.05, max_seconds=1.0)
    store = open_store(place.store, endpoint=place.endpoint, retry=retry)
    ledger = Ledger(connect(place.database))
    with tempfile.TemporaryDirectory(prefix="worker-", dir=place.scratch) as scratch:
        publisher = Publisher(store, ledger, f"w{os.getpid()}", Path(scratch), place.lease_seconds, crash=crash)
        shift = Shift(ToyPod(store, ledger, publisher), share, crash, fate.disk_full)
        for order in orders:
            while not shift.finish(order):
                time.sleep(ROUND_SECONDS)


def _suffer(fate: Fate) -> None:
    if fate.skew_seconds:
        true_time = time.time
        time.time = lambda: true_time() + fate.skew_seconds
    if fate.disk_full:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (DISK_BYTES, DISK_BYTES))


class Shift:
    """One worker's rounds: in each it does what is missing; what fails is tried again in the next one."""

    def __init__(self, pod: ToyPod, share: int, crash: CrashPoints, evicted: bool) -> None:
        self._pod, self._share, self._crash, self._evicted = pod, share, crash, evicted
        self._plans: dict[str, Plan] = {}
        self._done: set[WorkItem] = set()

    def finish(self, order: str) -> bool:
        """Do one round of an episode; True when its film is there."""
        with self._trouble():
            plan = self._plans.get(order) or load_plan(self._pod.store, order)
            self._plans[order] = plan
            if self._is_done(film_item(plan)):
                return True
            for shot in plan.shots:
                self._render(plan, shot)
            for shot in plan.shots:
                if not self._is_done(shot_item(plan, shot)) and self._are_done(map(segment_item, shot.segments)):
                    with self._trouble():
                        make_picture(self._pod, plan, shot)
            if self._are_done(shot_item(plan, shot) for shot in plan.shots):
                make_toy_film(self._pod, plan)
                return True
        return False

    def _render(self, plan: Plan, shot: ShotPlan) -> None:
        """Render this worker's segment of a shot, if it is missing."""
        segment = shot.segments[self._share % len(shot.segments)]
        if self._is_done(segment_item(segment)):
            return
        exchange = CrashingExchange(self._pod.store, halo_prefix(shot), wait_seconds=WAIT_SECONDS, crash=self._crash)
        own = replace(self._pod, publisher=replace(self._pod.publisher))
        with self._trouble():
            make_segment(own, plan, shot, segment, ToyDenoiser(), exchange, StepWatch(self._crash))

    def _is_done(self, item: WorkItem) -> bool:
        if item not in self._done and find_done(self._pod.store, item) is not None:
            self._done.add(item)
        return item in self._done

    def _are_done(self, items: Iterable[WorkItem]) -> bool:
        return all(self._is_done(item) for item in items)

    @contextlib.contextmanager
    def _trouble(self) -> Iterator[None]:
        """What the next round may not meet again; but a pod whose disk is full is evicted at its first failure."""
        try:
            yield
        except OSError as exc:
            if self._evicted and exc.errno in (errno.EFBIG, errno.ENOSPC):
                raise SystemExit(EVICTED) from exc
        except (FarmError, LedgerAway):
            pass
