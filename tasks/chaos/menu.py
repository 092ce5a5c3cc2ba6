"""What a chaos run is to do, and what it has done so far."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from tasks.publish import CRASH_POINTS, REPAIR_POINTS

WORKER_POINTS = (*CRASH_POINTS, *REPAIR_POINTS, "after_halo", "between_checkpoints", "after_step", "before_clear")
RECONCILER_POINTS = ("before_adopt", "after_adopt")
ALL_POINTS = (*WORKER_POINTS, *RECONCILER_POINTS)
SKEW_SECONDS = 600.0


def skew_name(seconds: float) -> str:
    """Return how a wrong clock is called on the board."""
    return f"{seconds:+.0f} s"


SKEWS = (skew_name(SKEW_SECONDS), skew_name(-SKEW_SECONDS))


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
    wrong_clocks: int = 10  # of workers, and as many of reconcilers
    s3_fault_share: float = 0.05
    workers: int = 6
    lease_seconds: float = 2.0
    seed: int = 1
    limit_seconds: float = 3600.0  # of each course
    peace_seconds: float = 600.0  # without a new film, when nothing is broken any more: then the run has failed

    @property
    def kills(self) -> int:
        return self.random_kills + self.point_kills + self.run_kills


@dataclass
class Tally:
    """What has happened so far."""

    random_kills: int = 0
    point_kills: Counter[str] = field(default_factory=Counter)
    database_restarts: Counter[str] = field(default_factory=Counter)  # by how it ended
    stops_past_lease: int = 0  # of workers that held a claim
    evictions: int = 0
    wrong_workers: Counter[str] = field(default_factory=Counter)  # lived to publish
    wrong_reconcilers: Counter[str] = field(default_factory=Counter)  # lived to reconcile
    records_deleted: int = 0
    starts: int = 0
    server_kills: int = 0
    run_kills: int = 0
    late_restarts: int = 0
    other_ends: Counter[str] = field(default_factory=Counter)
    ends_under_prefect: Counter[str] = field(default_factory=Counter)
    persons_first: int = 0  # how often somebody had to type `farm retry` in the first course
    persons: int = 0  # and in the second
    given_up: int = 0  # courses after which a film did not come

    @property
    def kills(self) -> int:
        return self.random_kills + sum(self.point_kills.values()) + self.run_kills

    @property
    def sigkills(self) -> int:
        """Return the kills of what holds a claim, and of Prefect's server: a reconciler's death costs no attempt."""
        return self.kills - sum(self.point_kills[point] for point in RECONCILER_POINTS) + self.server_kills

    @property
    def blows(self) -> int:
        """Return how often something was done that may cost a worker its attempt."""
        return self.sigkills + self.stops_past_lease + self.evictions + self.records_deleted

    def has_first_course(self, menu: Menu) -> bool:
        """Say whether everything that needs no Prefect server has been served."""
        return (
            self.random_kills >= menu.random_kills
            and served(self.point_kills, ALL_POINTS, menu.point_kills)
            and sum(self.database_restarts.values()) >= menu.database_restarts
            and self.stops_past_lease >= menu.stops_past_lease
            and self.evictions >= menu.full_disks
            and served(self.wrong_workers, SKEWS, menu.wrong_clocks)
            and served(self.wrong_reconcilers, SKEWS, menu.wrong_clocks)
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


def served(counted: Counter[str], names: Sequence[str], wanted: int) -> bool:
    """Say whether so many have happened, and each of them by name if there are enough for all."""
    return sum(counted.values()) >= wanted and (wanted < len(names) or all(counted[name] for name in names))
