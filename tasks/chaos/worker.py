"""A worker to be maltreated: it goes through the orders again and again until told that everything is done."""

import contextlib
import errno
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from db.errors import LedgerAway
from db.records import WorkItem
from tasks.admission import Refused, require
from tasks.chaos.diary import Diary
from tasks.chaos.place import Fate, Place, enter
from tasks.chaos.toy import PartGone, ToyDenoiser, ToyPod, make_picture, make_toy_film
from tasks.crash import CrashPoints
from tasks.errors import Busy, DatabaseAway, FarmError, LeaseLost
from tasks.exchange import StoreExchange, Yielded, halo_prefix
from tasks.ingest import load_plan
from tasks.plan.types import Plan, ShotPlan
from tasks.pointer import find_done
from tasks.progress import Silence
from tasks.publish import Published, Publisher
from tasks.take import clear_take
from tasks.work import Cast, film_item, make_segment, segment_item, shot_item

ROUND_SECONDS = 0.2
WAIT_SECONDS = 20.0  # for a neighbour, which may just have been killed
EVICTED = 28  # how a worker ends whose disk is full: ENOSPC
# What kills, a stopped neighbour, a restarted database and a deleted record bring with them; all else is a fault.
EXPECTED = (Busy, LeaseLost, Yielded, Refused, PartGone, DatabaseAway, LedgerAway)


class StepWatch(Silence):
    """Passes the point after every step."""

    def __init__(self, crash: CrashPoints) -> None:
        self._crash = crash

    def advance(self, stage: str, name: str, done: int, total: int) -> None:
        """Die if that is this worker's fate."""
        self._crash.hit("after_step")


def work(place: Place, name: str, fate: Fate, orders: Sequence[str], share: int) -> None:
    """Render the `share`-th segment of every shot until every film is there, or until the disk is found to be full."""
    store, ledger, diary, crash = enter(place, name, fate)
    with tempfile.TemporaryDirectory(prefix="worker-", dir=place.scratch) as scratch:
        publisher = Publisher(store, ledger, name, Path(scratch), place.lease_seconds, crash=crash)
        shift = Shift(ToyPod(store, ledger, publisher), place, diary, share, fate.disk_full)
        for order in orders:
            while not shift.finish(order):
                time.sleep(ROUND_SECONDS)


class Shift:
    """One worker's rounds: in each it does what is missing; what fails is tried again in the next one."""

    def __init__(self, pod: ToyPod, place: Place, diary: Diary, share: int, evicted: bool) -> None:
        self._pod, self._place, self._diary, self._share, self._evicted = pod, place, diary, share, evicted
        self._crash = pod.publisher.crash
        self._plans: dict[str, Plan] = {}
        self._done: set[WorkItem] = set()

    def finish(self, order: str) -> bool:
        """Do one round of an episode; True when its film is there, and the tasks of all its pictures have ended."""
        is_there = False
        with self._trouble():
            plan = self._plans.get(order) or load_plan(self._pod.store, order)
            self._plans[order] = plan
            for shot in plan.shots:
                self._render(plan, shot)
            ended = [self._finish_picture(plan, shot) for shot in plan.shots]
            is_there = all(ended) and self._finish_film(plan)
        return is_there

    def _render(self, plan: Plan, shot: ShotPlan) -> None:
        """Render this worker's segment of a shot, if it is missing."""
        segment = shot.segments[self._share % len(shot.segments)]
        if self._is_done(shot_item(plan, shot)) or self._is_done(segment_item(segment)):
            return
        exchange = StoreExchange(self._pod.store, halo_prefix(shot), wait_seconds=WAIT_SECONDS, crash=self._crash)
        with self._trouble():
            self._admit(segment_item(segment), plan)
            cast, watch = Cast(ToyDenoiser(), exchange), StepWatch(self._crash)
            self._believe(make_segment(self._pod, plan, shot, segment, lambda: cast, watch))

    def _finish_picture(self, plan: Plan, shot: ShotPlan) -> bool:
        """Publish a picture and clear away what its segments left, as `tasks.steps.finish_shot` does; True when done.

        Killed in between, the task is run again by somebody, as an engine's would be.
        """
        item = shot_item(plan, shot)
        ended = self._place.finished / item.key
        if self._is_done(item) and ended.exists():
            return True
        if not self._are_done(map(segment_item, shot.segments)):
            return False
        with self._trouble():
            if not self._is_done(item):
                self._admit(item, plan)
            self._believe(make_picture(self._pod, plan, shot))
            self._crash.hit("before_clear")
            clear_take(self._pod, plan, shot)
            ended.touch()
        return ended.exists()

    def _finish_film(self, plan: Plan) -> bool:
        """Publish the film; False when one of its pictures has gone since this worker looked."""
        if not self._is_done(film_item(plan)):
            self._done.clear()
            if not self._are_done(shot_item(plan, shot) for shot in plan.shots):
                return False
            self._believe(make_toy_film(self._pod, plan))
        return True

    def _admit(self, item: WorkItem, plan: Plan) -> None:
        """Ask for admission, as every run does. Raises: Refused; then a person is told."""
        try:
            require(self._pod.ledger, item, plan.key)
        except Refused:
            (self._place.refused / f"{item.kind}-{item.key}").write_text(plan.key)
            raise

    def _believe(self, published: Published) -> None:
        if published.rendered:
            self._diary.note("published", published.pointer.item)

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
        except PartGone:
            self._done.clear()
        except EXPECTED:
            pass
        except OSError as exc:
            if self._evicted and exc.errno in (errno.EFBIG, errno.ENOSPC):
                raise SystemExit(EVICTED) from exc
            self._diary.error(exc)
        except FarmError as exc:
            self._diary.error(exc)
