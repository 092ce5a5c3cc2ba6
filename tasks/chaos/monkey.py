"""The monkey: kills workers at random and at every named point, stops them past their lease, breaks servers."""

import itertools
import logging
import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from typing import Any

from db.records import WorkItem
from tasks.admission import forgive
from tasks.chaos.diary import Diary
from tasks.chaos.menu import (
    ALL_POINTS,
    RECONCILER_POINTS,
    SKEW_SECONDS,
    SKEWS,
    WORKER_POINTS,
    Menu,
    Tally,
    served,
    skew_name,
)
from tasks.chaos.place import Fate, Place
from tasks.chaos.postgres import Database, How
from tasks.chaos.reconciler import reconcile_again
from tasks.chaos.scene import Scene
from tasks.chaos.worker import EVICTED, work
from tasks.pointer import find_done
from tasks.publish import REPAIR_POINTS

log = logging.getLogger(__name__)
LOOK_SECONDS = 1.0  # between two looks whether a film is there, or a person is needed
NEWEST = 3  # orders that a worker is given
RECONCILER = -1  # its place among the workers
ONCE = (*REPAIR_POINTS, *RECONCILER_POINTS, "before_clear")  # points that one process seldom passes twice


@dataclass(frozen=True)
class Hand:
    """A process of the first course."""

    process: Any
    target: Any
    name: str
    fate: Fate

    @property
    def is_alive(self) -> bool:
        return self.process.exitcode is None


def context() -> ForkServerContext:
    """Return processes forked from one that has everything imported and no threads."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(["tasks.chaos.zygote"])
    return found


class Monkey:
    """Serves the first course of a menu to the farm of a scene."""

    def __init__(self, menu: Menu, place: Place, database: Database, scene: Scene) -> None:
        self.menu, self.place, self.database, self.scene, self.tally = menu, place, database, scene, Tally()
        self._orders = [scene.toy()]
        self._random = random.Random(menu.seed)
        self._hows: Iterator[How] = itertools.cycle(database.hows)
        self._context = context()
        self._hands: dict[int, Hand] = {}
        self._diary = Diary(place.diaries, "monkey")
        for folder in (place.finished, place.refused):
            folder.mkdir()

    def run(self) -> None:
        """Serve the first course and let the farm finish in peace."""
        deadline, looked = time.monotonic() + self.menu.limit_seconds, 0.0
        while time.monotonic() < deadline and not self.tally.has_first_course(self.menu):
            self._keep_going(self._orders[-NEWEST:])
            self._do_one_thing()
            if time.monotonic() > looked + LOOK_SECONDS:
                self._be_a_person()
                if self.scene.has_ended(self._orders[-1]):
                    self._orders.append(self.scene.toy())
                looked = time.monotonic()
            time.sleep(self._random.uniform(0.02, 0.2))
        self._finish_in_peace()
        self._send_home()

    def _finish_in_peace(self) -> None:
        came, left = time.monotonic(), len(self._orders) + 1
        while waiting := [order for order in self._orders if not self.scene.has_ended(order)]:
            if len(waiting) < left:
                came, left = time.monotonic(), len(waiting)
            if time.monotonic() - came > self.menu.peace_seconds:
                self.tally.given_up += 1
                return
            self._keep_going(waiting, peace=True)
            self._be_a_person()
            time.sleep(LOOK_SECONDS)

    def _send_home(self) -> None:
        """Wait for the workers, which find everything done; nobody waits for the reconciler."""
        reconciler = self._hands.pop(RECONCILER, None)
        if reconciler:
            reconciler.process.kill()
            reconciler.process.join()
        for hand in self._hands.values():
            if not self.tally.given_up:
                hand.process.join(self.menu.peace_seconds)
            if hand.is_alive:
                hand.process.kill()
                hand.process.join()
                self.tally.other_ends["did not end"] += 1
            else:
                self._count(hand)

    def _keep_going(self, orders: Sequence[str], *, peace: bool = False) -> None:
        """Start a process in place of each that has ended."""
        for share in (*range(self.menu.workers), RECONCILER):
            hand = self._hands.get(share)
            if hand and hand.is_alive:
                continue
            if hand:
                self._count(hand)
            if share == RECONCILER:
                fate = Fate() if peace else self._reconciler_fate()
                self._start(share, reconcile_again, fate)
            else:
                fate = Fate() if peace else self._worker_fate()
                self._start(share, work, fate, tuple(orders), share)

    def _start(self, share: int, target: Any, fate: Fate, *given: object) -> None:
        self.tally.starts += 1
        name = f"{target.__name__}-{self.tally.starts}"
        process = self._context.Process(target=target, args=(self.place, name, fate, *given), daemon=True)
        process.start()
        self._hands[share] = Hand(process, target, name, fate)

    def _worker_fate(self) -> Fate:
        """Return what is wrong with the next worker; most are only waiting to be killed at random."""
        tally, menu, roll = self.tally, self.menu, self._random.random()
        share = 0.55 if tally.random_kills < menu.random_kills else 0.65
        if roll < share and (point := self._next_point(WORKER_POINTS)):
            if point in REPAIR_POINTS:
                self._delete_a_record()
            return Fate(point=point, passing=1 if point in ONCE else self._random.randint(1, 2))
        starving = sum(hand.fate.disk_full for hand in self._hands.values() if hand.is_alive)
        if tally.evictions + starving < menu.full_disks and roll < 0.7:
            return Fate(disk_full=True)
        if roll < 0.85 and (seconds := self._next_skew(tally.wrong_workers, work)):
            return Fate(skew_seconds=seconds)
        return Fate()

    def _reconciler_fate(self) -> Fate:
        seconds = self._next_skew(self.tally.wrong_reconcilers, reconcile_again)
        if seconds and self._random.random() < 0.5:
            return Fate(skew_seconds=seconds)
        return Fate(point=self._next_point(RECONCILER_POINTS))

    def _next_skew(self, lived: Counter[str], target: Any) -> float:
        """Return how wrong the next clock is, forward and back in turn; 0 when enough of them are or have been."""
        now = [hand.fate.skew_seconds for hand in self._hands.values() if hand.is_alive and hand.target is target]
        known = lived + Counter(skew_name(seconds) for seconds in now if seconds)
        if served(known, SKEWS, self.menu.wrong_clocks):
            return 0.0
        return min(SKEW_SECONDS, -SKEW_SECONDS, key=lambda seconds: known[skew_name(seconds)])

    def _next_point(self, names: Sequence[str]) -> str:
        """Return the point at which the fewest have died or are about to; empty when there were enough."""
        killed, enough = self.tally.point_kills, sum(self.tally.point_kills.values()) >= self.menu.point_kills
        if enough:
            names = () if self.menu.point_kills < len(ALL_POINTS) else [name for name in names if not killed[name]]
        doomed = Counter(hand.fate.point for hand in self._hands.values() if hand.is_alive)
        return min(names, key=lambda name: (killed[name] + doomed[name], self._random.random()), default="")

    def _count(self, hand: Hand) -> None:
        exitcode, fate = hand.process.exitcode, hand.fate
        diary = Diary(self.place.diaries, hand.name)
        if exitcode == -signal.SIGKILL and fate.point:
            self.tally.point_kills[fate.point] += 1
        elif exitcode == EVICTED and fate.disk_full:
            self.tally.evictions += 1
        elif exitcode not in (0, -signal.SIGKILL):
            self.tally.other_ends[str(exitcode)] += 1
        skew = skew_name(fate.skew_seconds)
        if fate.skew_seconds and diary.says("put", "published"):
            self.tally.wrong_workers[skew] += 1
        if fate.skew_seconds and diary.says("round"):
            self.tally.wrong_reconcilers[skew] += 1

    def _do_one_thing(self) -> None:
        menu, tally, roll = self.menu, self.tally, self._random.random()
        workers = [hand for share, hand in self._hands.items() if share != RECONCILER and hand.is_alive]
        innocent = [hand for hand in workers if not hand.fate.point and not hand.fate.disk_full]
        if roll < 0.5 and innocent and tally.random_kills < menu.random_kills:
            self._kill(self._random.choice(innocent))
        elif roll < 0.6 and sum(tally.database_restarts.values()) < menu.database_restarts:
            self._restart_database()
        elif roll < 0.75 and innocent and tally.stops_past_lease < menu.stops_past_lease:
            self._stop_past_lease(self._random.choice(innocent))

    def _kill(self, hand: Hand) -> None:
        hand.process.kill()
        hand.process.join()
        self.tally.random_kills += hand.process.exitcode == -signal.SIGKILL  # it may just have ended by itself

    def _restart_database(self) -> None:
        how = next(self._hows)
        self.database.stop(how)
        time.sleep(self._random.uniform(0, 0.5))
        self.database.start()
        self.tally.database_restarts[how] += 1

    def _stop_past_lease(self, hand: Hand) -> None:
        """Stop a worker for longer than its lease; one that holds no claim goes on at once and does not count."""
        with suppress(ProcessLookupError):
            os.kill(hand.process.pid, signal.SIGSTOP)
            running = self.scene.pod.ledger.items(state="running")
            if any(status.worker == hand.name for status in running):
                time.sleep(self.menu.lease_seconds * 1.5)
                self.tally.stops_past_lease += 1
            os.kill(hand.process.pid, signal.SIGCONT)

    def _delete_a_record(self) -> None:
        """Damage a picture or a film that store and ledger know as done: it has to be opened again and replaced."""
        pod = self.scene.pod
        items = [item for order in self._orders[-NEWEST:] for item in self.scene.made_of_parts(order)]
        done = [status.item for status in pod.ledger.statuses(items).values() if status.state == "done"]
        pointer = find_done(pod.store, self._random.choice(done)) if done else None
        if pointer:
            self._diary.note("deleted", pointer.item)
            pod.store.delete(pointer.record.key)
            self.tally.records_deleted += 1

    def _be_a_person(self) -> None:
        """Type `farm retry` where the farm does not try by itself any more."""
        episodes = set()
        for path in self.place.refused.iterdir():
            kind, _, key = path.name.partition("-")
            episode = path.read_text()
            if episode:  # else it is just being written
                path.unlink()
                forgive(self.scene.pod.ledger, WorkItem(kind, key), episode, "chaos", "nothing but chaos")
                episodes.add(episode)
        self.tally.persons_first += len(episodes)
