"""How far a run is, as a bar on its page in the dashboard; a server that is away costs nothing but the bar."""

import logging
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from tasks.dashboard import artifact_key, watched
from tasks.progress import Silence, Stage, Watcher

log = logging.getLogger(__name__)
EVERY_SECONDS = 5.0  # a bar that moves; each move is a row in the server's database


class RunProgress:
    """A watcher that shows the newest state every few seconds, and the last one always."""

    def __init__(self, key: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._key, self._clock = artifact_key(key), clock
        self._artifact: UUID | None = None
        self._shown_at = -EVERY_SECONDS

    def advance(self, stage: Stage, name: str, done: int, total: int) -> None:
        """Move the bar."""
        now = self._clock()
        if done < total and now - self._shown_at < EVERY_SECONDS:
            return
        self._shown_at = now
        try:
            self._show(100.0 * done / max(total, 1), f"{stage} {name}: {done} of {total}")
        except Exception as exc:  # noqa: BLE001 - what renders must not end because nobody can watch it
            log.warning("progress not shown", extra={"failure": str(exc)})

    def note(self, text: str) -> None:
        """Leave the words to the log."""

    def _show(self, percent: float, text: str) -> None:
        made: Any
        if self._artifact is None:
            made = create_progress_artifact(percent, key=self._key, description=text)
            self._artifact = made
        else:
            update_progress_artifact(self._artifact, progress=percent, description=text)


def run_watcher(key: str, outside: Watcher) -> Watcher:
    """Return who watches: the run's page if this is a run on a server and nobody else looks."""
    return RunProgress(key) if watched() and isinstance(outside, Silence) else outside
