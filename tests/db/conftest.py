"""Ledgers on both kinds of database: a SQLite file and a real PostgreSQL."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from real_servers import drop_postgres, new_database

from db.engine import connect
from db.ledger import Ledger


class Clock:
    """A clock that tests set."""

    def __init__(self, seconds: float = 1_000_000.0) -> None:
        self.seconds = seconds

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    url = new_database(request.param, tmp_path)
    yield url
    drop_postgres(url)


@pytest.fixture
def open_at(database_url: str) -> Iterator[Callable[[Callable[[], float] | None], Ledger]]:
    """Open the same database again, with a clock of one's own or the database's."""
    opened: list[Ledger] = []

    def open_ledger(clock: Callable[[], float] | None = None) -> Ledger:
        opened.append(Ledger(connect(database_url), clock=clock, sleep=lambda _seconds: None))
        return opened[-1]

    yield open_ledger
    for ledger in opened:
        ledger.close()


@pytest.fixture
def ledger(open_at: Callable[[Callable[[], float] | None], Ledger], clock: Clock) -> Ledger:
    return open_at(clock)
