"""The monkey: kills workers at random and at every named point, stops them past their lease, breaks servers."""

import itertools
import logging
import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerContext
from typing import Any

from tasks.chaos.postgres import Database, How
from tasks.chaos.worker import ALL_POINTS, EVICTED, Fate, Place, work

log = logging.getLogger(__name__)
SKEW_SECONDS = 600.0
LOOK_SECONDS = 1.0  # between two looks whether a film is there
HOW: tuple[How, ...] = ("fast", "immediate")


@dataclass(frozen=True)
class Menu:
    """How much of everything. A run ends when all of it has happened and every film is there.

    The first course has workers that need no server. In the second, `tasks.chaos.outages`, a Prefect server hands out
    the work and is killed itself; `run_kills` and `late_restarts` happen in that one.
    """

    random_kills: int = 100
    point_kills: int = 100
    database_restarts: int = 20
    server_kills: int = 0
    run_kills: int = 0
    late_restarts: int = 0
    stops_past_lease: int = 10
    full_disks: int = 10
    wrong_clocks: int = 10
    s3_fault_share: float = 0.05
    workers: int = 6
    lease_seconds: float = 2.0
    seed: int = 1
    limit_seconds: float = 3600.0  # of each course

    @property
    def kills(self) -> int:
        return self.random_kills + self.point_kills + self.run_kills


@dataclass
class Tally:
    """What has happened so far."""

    random_kills: int = 0
    point_kills: Counter[str] = field(default_factory=Counter)
    database_restarts: int = 0
    stops_past_lease: int = 0
    full_disks: int = 0
    wrong_clocks: int = 0
    evictions: int = 0
    starts: int = 0
    server_kills: int = 0
    run_kills: int = 0
    late_restarts: int = 0
    other_ends: Counter[str] = field(default_factory=Counter)
    ends_under_prefect: Counter[str] = field(default_factory=Counter)
    persons: int = 0  # how often somebody had to type `farm retry`

    @property
    def kills(self) -> int:
        return self.random_kills + sum(self.point_kills.values()) + self.run_kills

    @property
    def blows(self) -> int:
        """Return how often something was done that may cost a worker its attempt."""
        return self.kills + self.stops_past_lease + self.evictions + self.server_kills

    def has_first_course(self, menu: Menu) -> bool:
        """Say whether everything that needs no Prefect server has been served."""
        return (
            self.random_kills >= menu.random_kills
            and sum(self.point_kills.values()) >= menu.point_kills
            and self.database_restarts >= menu.database_restarts
            and self.stops_past_lease >= menu.stops_past_lease
            and self.evictions >= menu.full_disks
            and self.wrong_clocks >= menu.wrong_clocks
        )

    def has_second_course(self, menu: Menu) -> bool:
        """Say whether everything that happens under a Prefect server has been served."""
        return (
            self.server_kills >= menu.server_kills
            and self.run_kills >= menu.run_kills
            and self.late_restarts >= menu.late_restarts
        )

    def meets(self, menu: Menu) -> bool:
        """Say whether everything on the menu has been served."""
        return self.has_first_course(menu) and self.has_second_course(menu)


def context() -> ForkServerContext:
    """Return processes forked from one that has everything imported and no threads."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(["tasks.chaos.zygote"])
    return found


class Monkey:
    """Serves a menu to a farm. `more` gives another order when the present ones run out."""

    def __init__(self, menu: Menu, place: Place, database: Database, more: Callable[[], str]) -> None:
        self.menu, self.place, self.database, self.tally = menu, place, database, Tally()
        self._more, self._orders = more, [more()]
        self._random = random.Random(menu.seed)
        self._points: Iterator[str] = itertools.cycle(ALL_POINTS)
        self._context = context()
        self._workers: dict[int, tuple[Any, Fate]] = {}

    def run(self, film_done: Callable[[str], bool]) -> list[str]:
        """Serve the first course, let the farm finish in peace, and return the orders it worked on."""
        deadline, looked = time.monotonic() + self.menu.limit_seconds, 0.0
        while time.monotonic() < deadline and not self.tally.has_first_course(self.menu):
            self._keep_going(peace=False)
            self._do_one_thing()
            if time.monotonic() > looked + LOOK_SECONDS:
                looked = time.monotonic()
                if film_done(self._orders[-1]):
                    self._orders.append(self._more())
            time.sleep(self._random.uniform(0.02, 0.2))
        while not all(film_done(order) for order in self._orders):
            self._keep_going(peace=True)
            time.sleep(LOOK_SECONDS)
        for process, fate in self._workers.values():
            process.join()
            self._count(process.exitcode, fate)
        return self._orders

    def _keep_going(self, *, peace: bool) -> None:
        for share in range(self.menu.workers):
            process, fate = self._workers.get(share, (None, Fate()))
            if process is not None and process.exitcode is None:
                continue
            if process is not None:
                self._count(process.exitcode, fate)
            fate = Fate() if peace else self._fate()
            given = (self.place, tuple(self._orders[-3:]), share, self.menu.workers // 2, fate)
            started = self._context.Process(target=work, args=given, daemon=True)
            started.start()
            self.tally.starts += 1
            self._workers[share] = (started, fate)

    def _fate(self) -> Fate:
        """Return what is wrong with the next worker; most are only waiting to be killed at random."""
        tally, menu, roll = self.tally, self.menu, self._random.random()
        share = 0.55 if tally.random_kills < menu.random_kills else 0.65
        if sum(tally.point_kills.values()) < menu.point_kills and roll < share:
            return Fate(point=next(self._points), passing=self._random.randint(1, 2))
        starving = sum(fate.disk_full for process, fate in self._workers.values() if process.exitcode is None)
        if tally.evictions + starving < menu.full_disks and roll < 0.7:
            tally.full_disks += 1
            return Fate(disk_full=True)
        if tally.wrong_clocks < menu.wrong_clocks and roll < 0.85:
            tally.wrong_clocks += 1
            return Fate(skew_seconds=self._random.choice((-SKEW_SECONDS, SKEW_SECONDS)))
        return Fate()

    def _count(self, exitcode: int, fate: Fate) -> None:
        if exitcode == -signal.SIGKILL and fate.point:
            self.tally.point_kills[fate.point] += 1
        elif exitcode == EVICTED and fate.disk_full:
            self.tally.evictions += 1
        elif exitcode not in (0, -signal.SIGKILL):
            self.tally.other_ends[str(exitcode)] += 1

    def _do_one_thing(self) -> None:
        menu, tally, roll = self.menu, self.tally, self._random.random()
        alive = [(process, fate) for process, fate in self._workers.values() if process.exitcode is None]
        innocent = [process for process, fate in alive if not fate.point and not fate.disk_full]
        if roll < 0.5 and innocent and tally.random_kills < menu.random_kills:
            self._kill(self._random.choice(innocent))
        elif roll < 0.6 and tally.database_restarts < menu.database_restarts:
            self._restart_database()
        elif roll < 0.65 and innocent and tally.stops_past_lease < menu.stops_past_lease:
            self._stop_past_lease(self._random.choice(innocent).pid)

    def _kill(self, process: Any) -> None:
        process.kill()
        process.join()
        self.tally.random_kills += process.exitcode == -signal.SIGKILL  # it may just have ended by itself

    def _restart_database(self) -> None:
        self.database.stop(self._random.choice(HOW))
        time.sleep(self._random.uniform(0, 0.5))
        self.database.start()
        self.tally.database_restarts += 1

    def _stop_past_lease(self, pid: int) -> None:
        os.kill(pid, signal.SIGSTOP)
        time.sleep(self.menu.lease_seconds * 1.5)
        os.kill(pid, signal.SIGCONT)
        self.tally.stops_past_lease += 1
