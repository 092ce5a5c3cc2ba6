"""A wrong clock for this process: all of Python's ways to ask for the time of day, as the farm's modules see them."""

import sys
import time
from datetime import datetime, timedelta, tzinfo

OURS = ("farm", "tasks", "model", "db")


def skew_clock(seconds: float) -> None:
    """Put this process's clock forward, or back; what measures durations (time.monotonic) goes on as before."""
    true_time, true_ns = time.time, time.time_ns
    time.time = lambda: true_time() + seconds
    time.time_ns = lambda: true_ns() + int(seconds * 1e9)

    class Skewed(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Skewed":
            return super().now(tz) + timedelta(seconds=seconds)

    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in OURS and getattr(module, "datetime", None) is datetime:
            module.datetime = Skewed  # type: ignore[attr-defined]
