"""Trying again: how often, how long to wait, and knowing that an earlier try may have worked."""

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from tasks.errors import StoreError

log = logging.getLogger(__name__)
T = TypeVar("T")


class TryAgain(Exception):
    """Inside a store: this try failed in a way that the next may not; the effect may have happened all the same."""


@dataclass(frozen=True)
class Retry:
    """Waits of `first_seconds`, twice that, and so on up to `max_seconds`, each shortened at random by up to half.

    Eight tries wait up to 24 s in all: longer than a store's usual hiccup, shorter than a lease. Where the tries
    themselves take long, because nothing answers, there is none that begins later than `total_seconds` after the first.
    """

    tries: int = 8
    first_seconds: float = 0.2
    max_seconds: float = 8.0
    total_seconds: float = 45.0
    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[], float] = field(default_factory=lambda: random.Random().random)
    clock: Callable[[], float] = time.monotonic

    def wait_seconds(self, failures: int) -> float:
        """Return the wait after this many failures (from 1)."""
        whole = min(self.max_seconds, self.first_seconds * 2.0 ** (failures - 1))
        return whole * (1.0 - 0.5 * self.jitter())

    def run(self, what: str, attempt: Callable[[bool], T]) -> T:
        """Call `attempt(maybe_done)` until it returns; maybe_done: an earlier try may have had its effect.

        Raises: StoreError after the last try, from its cause.
        """
        deadline = self.clock() + self.total_seconds
        for failures in range(1, self.tries + 1):
            try:
                return attempt(failures > 1)
            except TryAgain as exc:
                if failures == self.tries or self.clock() > deadline:
                    raise StoreError(f"{what}: {exc} ({failures} tries)") from exc
                log.warning(
                    "store call failed, trying again", extra={"call": what, "failure": str(exc), "try": failures}
                )
                self.sleep(self.wait_seconds(failures))
        raise AssertionError("a retry has at least one try")
