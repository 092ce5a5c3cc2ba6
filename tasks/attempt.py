"""One try at a work item: its lease kept warm by a thread, its scratch folder, and how it can end."""

import logging
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from db.errors import LeaseLost as NumberIsOld
from db.errors import LedgerError
from db.ledger import Ledger
from db.records import Claim, WorkItem
from tasks.errors import FailureClass, FarmError, LeaseLost, Preempted

log = logging.getLogger(__name__)
BEATS_PER_LEASE = 3  # two renewals may fail before the lease runs out
SOON_SECONDS = 5.0  # after one that failed: when the database is back, the living should be heard first


@dataclass(frozen=True)
class Work:
    """What a renderer is given. `scratch` is an empty folder of its own, removed afterwards."""

    item: WorkItem
    attempt: int
    scratch: Path
    checkpoint: Callable[[], None]
    """Call it between steps, with everything worth keeping saved. Raises: LeaseLost, Preempted."""


class Heartbeat:
    """Renews a claim's lease from a thread of its own until it is closed, and notices when the claim is lost."""

    def __init__(self, ledger: Ledger, claim: Claim, lease_seconds: float) -> None:
        self._ledger, self._claim, self._lease_seconds = ledger, claim, lease_seconds
        self._closed, self.lost = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"lease of {claim.item}", daemon=True)

    def __enter__(self) -> "Heartbeat":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._thread.join()

    def beat(self) -> None:
        """Renew the lease now. Raises: db.errors.LeaseLost when a newer attempt exists, LedgerAway."""
        try:
            self._ledger.renew(self._claim, self._lease_seconds)
        except NumberIsOld:
            self.lost.set()
            raise

    def _beat(self) -> None:
        pause = self._lease_seconds / BEATS_PER_LEASE
        soon = min(pause, SOON_SECONDS)
        wait = pause
        while not self._closed.wait(wait):
            try:
                self.beat()
                wait = pause
            except NumberIsOld:
                return
            except Exception as exc:  # noqa: BLE001 - whatever it was, without beats the lease runs out
                log.warning("lease not renewed", extra={"item": str(self._claim.item), "failure": str(exc)})
                wait = soon


@contextmanager
def working(claim: Claim, heart: Heartbeat, stop: threading.Event, scratch: Path) -> Iterator[Work]:
    """Yield what the renderer is given, in a scratch folder that is gone afterwards."""
    folder = scratch / f"{claim.item.kind}-{claim.item.key[:24]}-{claim.attempt}-{claim.token}"
    folder.mkdir(parents=True)

    def checkpoint() -> None:
        if heart.lost.is_set():
            raise LeaseLost(f"{claim.item}: attempt {claim.attempt} was passed over; its work is dropped")
        if stop.is_set():
            raise Preempted(f"{claim.item}: attempt {claim.attempt} was asked to stop; it goes on from its last step")

    try:
        yield Work(claim.item, claim.attempt, folder, checkpoint)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def preemption() -> Iterator[threading.Event]:
    """Turn SIGTERM into an event that checkpoints look at; outside the main thread the event is simply never set.

    A SIGTERM that came too late to stop anything is passed on to the handler that was there before.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def note(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    before = signal.signal(signal.SIGTERM, note)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, before)
    if stop.is_set():
        signal.raise_signal(signal.SIGTERM)


def failure_class_of(exc: BaseException) -> FailureClass:
    """Say how an attempt that ended so counts against its limits."""
    if isinstance(exc, FarmError):
        return exc.failure_class
    if isinstance(exc, MemoryError) or type(exc).__name__ == "OutOfMemoryError":  # torch's, without importing torch
        return FailureClass.OUT_OF_MEMORY
    if isinstance(exc, OSError | LedgerError):
        return FailureClass.INFRASTRUCTURE
    if not isinstance(exc, Exception):  # KeyboardInterrupt, SystemExit, an engine's own way to cancel
        return FailureClass.PREEMPTED
    return FailureClass.BUG


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started
