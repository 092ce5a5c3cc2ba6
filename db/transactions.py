"""Run a transaction until it commits: database restarts, deadlocks and busy files are waited out."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.orm import Session

from db.engine import database_clock, writing
from db.errors import LedgerAway

log = logging.getLogger(__name__)
T = TypeVar("T")


class Transactions:
    """Sessions on one engine. Thread-safe.

    `clock` replaces the database's clock (tests, simulations). A transaction may run again after its commit's answer
    was lost, so every function given to write() must find its own earlier work and not do it twice.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        clock: Callable[[], float] | None = None,
        sleep: Callable[[float], None] = time.sleep,
        tries: int = 8,
        first_seconds: float = 0.2,
        max_seconds: float = 8.0,
    ) -> None:
        self.engine = engine
        self._writing = writing(engine)
        self._database_clock = database_clock(engine)
        self._clock, self._sleep = clock, sleep
        self._tries, self._first_seconds, self._max_seconds = tries, first_seconds, max_seconds

    def read(self, work: Callable[[Session], T]) -> T:
        """Return what `work` reads, from one snapshot as far as the database gives one. Raises: LedgerAway."""
        return self._run(self.engine, work)

    def write(self, work: Callable[[Session], T]) -> T:
        """Commit what `work` writes, whole or not at all. Raises: LedgerAway, and whatever `work` raises."""
        return self._run(self._writing, work)

    def now(self, session: Session) -> float:
        """Return the time in seconds since 1970 by the clock that leases are measured with."""
        return self._clock() if self._clock else self._database_clock(session.connection())

    def _run(self, engine: Engine, work: Callable[[Session], T]) -> T:
        for failures in range(1, self._tries + 1):
            try:
                with Session(engine, expire_on_commit=False) as session, session.begin():
                    return work(session)
            except DBAPIError as exc:
                if not _passing(exc):
                    raise
                if failures == self._tries:
                    raise LedgerAway(f"the database did not answer in {self._tries} tries: {exc.orig}") from exc
                log.warning("database call failed, trying again", extra={"failure": str(exc.orig), "try": failures})
                self._sleep(min(self._max_seconds, self._first_seconds * 2.0 ** (failures - 1)))
        raise AssertionError("a transaction has at least one try")


def _passing(exc: DBAPIError) -> bool:
    return exc.connection_invalidated or isinstance(exc, OperationalError | InterfaceError)
