"""Give way to SIGTERM (spot notice, drain, deploy): finish or abandon the step, let the claim go, end in time.

The work runs in a thread, and the signal stays with whoever has installed a handler: Prefect's supervisor asks the
engine to acknowledge before it sends SIGTERM, kills an engine at once whose handler is not Prefect's own, and kills
any engine 30 s after the signal, whatever grace the pod has. So no handler is replaced here; what it raises in the
main thread is what we hear.
"""

import contextvars
import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TypeVar

log = logging.getLogger(__name__)
T = TypeVar("T")


class StopNotice(threading.Event):
    """Set when this pod is asked to go; knows what can still be done before it is killed.

    `file`: another process asks by making it.
    """

    def __init__(self, patience_seconds: float = math.inf, file: Path | None = None) -> None:
        super().__init__()
        self._patience_seconds, self._file, self._asked_at = patience_seconds, file, 0.0

    def set(self) -> None:
        """Ask."""
        if not super().is_set():
            self._asked_at = time.monotonic()
            super().set()

    def is_set(self) -> bool:
        """Say whether somebody has asked."""
        if self._file is not None and not super().is_set() and self._file.exists():
            self.set()
        return super().is_set()

    def leaves(self, seconds: float) -> bool:
        """Say whether work of so many seconds would still be done in time."""
        return not self.is_set() or time.monotonic() + seconds < self._asked_at + self._patience_seconds


def give_way(
    work: Callable[[StopNotice], T], patience_seconds: float, let_go: Callable[[], object] = lambda: None
) -> T:
    """Return what `work` returns, in a thread of its own; on a signal tell it to stop and pass the signal on.

    `let_go` is called when the work has not ended `patience_seconds` after the signal: it is abandoned then.
    Raises: what the work raises; once asked to stop, what the signal's handler raised, whatever the work did. Where
    SIGTERM had no handler the process ends by it.
    """
    stop = StopNotice(patience_seconds)
    if threading.current_thread() is not threading.main_thread():
        return work(stop)  # signals come to the main thread alone
    outcome: Future[T] = Future()
    context = contextvars.copy_context()

    def run() -> None:
        try:
            outcome.set_result(context.run(work, stop))
        except BaseException as exc:  # noqa: BLE001 - raised again below, in the main thread
            outcome.set_exception(exc)

    with _raising_sigterm():
        thread = threading.Thread(target=run, name="work", daemon=True)
        try:
            thread.start()
            wait([outcome])
        except BaseException:  # the signal, as whoever handles it raises it: Prefect, Ctrl-C, the lines below
            stop.set()
            if thread.ident and not _ends_within(outcome, patience_seconds):
                _let_go(let_go)
            raise
    return outcome.result()


def _ends_within(outcome: "Future[T]", seconds: float) -> bool:
    """Say whether the work ends in time; asked again meanwhile (once more by a supervisor, say), it has no less."""
    deadline = time.monotonic() + seconds
    while not outcome.done() and (left := deadline - time.monotonic()) > 0:
        try:
            wait([outcome], timeout=left if math.isfinite(left) else None)
        except BaseException:  # noqa: BLE001 - the same signal a second time: the first one is passed on
            log.warning("asked to stop again, still saving")
    return outcome.done()


def _let_go(let_go: Callable[[], object]) -> None:
    """Let go, or leave it: the signal has to be passed on, whatever the database says."""
    try:
        let_go()
    except Exception as exc:  # noqa: BLE001 - a lease that nobody renews runs out by itself
        log.warning("the claim was not released", extra={"failure": str(exc)})


class _Asked(BaseException):
    """SIGTERM in a process that had no handler for it."""


@contextmanager
def _raising_sigterm() -> Iterator[None]:
    """Make SIGTERM an exception where it means death at once; afterwards it means that again."""

    def ask(_number: int, _frame: FrameType | None) -> None:
        raise _Asked

    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, ask)
    try:
        yield
    except _Asked:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTERM)
        raise
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
