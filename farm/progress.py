"""How a render looks on a terminal: bars with time left; elsewhere a plain line per part."""

import sys
import threading
import time

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from tasks.progress import Stage

UNITS = {"segment": "steps", "shot": "frames", "film": "shots", "episode": "parts"}


class Bars:
    """A watcher for people at a terminal."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description:<28}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self._bars: dict[str, TaskID] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> "Bars":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def advance(self, stage: Stage, name: str, done: int, total: int) -> None:
        """Move a part's bar."""
        label = f"{stage} {name}"
        with self._lock:
            if label not in self._bars:
                self._bars[label] = self._progress.add_task(label, total=total, unit=UNITS[stage])
            self._progress.update(self._bars[label], completed=done, total=total)

    def note(self, text: str) -> None:
        """Print a line above the bars."""
        self._progress.console.print(text)


class Lines:
    """A watcher for logs: one line when a part begins to move, one when it is there."""

    def __init__(self) -> None:
        self._begun: dict[str, float] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def advance(self, stage: Stage, name: str, done: int, total: int) -> None:
        """Print a line when a part is finished."""
        label = f"{stage} {name}"
        with self._lock:
            begun = self._begun.setdefault(label, time.monotonic())
        if done == total:
            self.note(f"{label}: {total} {UNITS[stage]} in {time.monotonic() - begun:.1f} s")

    def note(self, text: str) -> None:
        """Print a line."""
        print(text, file=sys.stderr, flush=True)
