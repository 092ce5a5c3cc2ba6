"""Named places where a worker may be killed on purpose, to show that nothing is lost there."""

import os
import signal
from dataclasses import dataclass
from typing import Protocol


class CrashPoints(Protocol):
    """Told whenever the work passes a named point."""

    def hit(self, point: str) -> None:
        """Return, or never."""


class NoCrash:
    """What production uses."""

    def hit(self, point: str) -> None:
        """Return."""


@dataclass(frozen=True)
class CrashAt:
    """Kill this process, without any clean-up, when it passes `point`."""

    point: str

    def hit(self, point: str) -> None:
        """Die if this is the point."""
        if point == self.point:
            os.kill(os.getpid(), signal.SIGKILL)
