"""What an episode's run shows while its children work: how many are done, how long it will take, the newest frame."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from prefect import get_client
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.actions import ArtifactUpdate

from tasks.children import Child
from tasks.dashboard import artifact_key, as_picture, picture_of, watched
from tasks.plan.types import Plan
from tasks.pod import Pod
from tasks.pointer import find_done
from tasks.progress import watcher
from tasks.run_progress import run_watcher

log = logging.getLogger(__name__)
EVERY_SECONDS = 10.0
PICTURES = {"segment": "thumbnail", "shot": "contact_sheet"}


class Board:
    """One page and one bar, kept up to date in place; nothing outside a flow run, and never a reason to fail."""

    def __init__(self, pod: Pod, plan: Plan, what: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._pod, self._plan, self._what, self._clock = pod, plan, what, clock
        self._begun, self._shown_at = clock(), -EVERY_SECONDS
        self._done_before: int | None = None
        self._newest: Child | None = None
        self._artifact: UUID | None = None
        self._bar = run_watcher(f"{what}s-{plan.episode}", watcher.get())

    def show(self, fresh: Sequence[Child], done: int, total: int) -> None:
        """Show that `done` of `total` children are there, `fresh` among them since the last time."""
        self._bar.advance("episode", self._plan.episode, done, total)
        self._newest = fresh[-1] if fresh else self._newest
        self._done_before = done if self._done_before is None else self._done_before
        now = self._clock()
        if not watched() or (done < total and now - self._shown_at < EVERY_SECONDS):
            return
        self._shown_at = now
        try:
            self._put(self.page(done, total))
        except Exception as exc:  # noqa: BLE001 - what renders must not end because nobody can watch it
            log.warning("board not shown", extra={"failure": str(exc)})

    def page(self, done: int, total: int) -> str:
        """Return the page as markdown."""
        took = self._clock() - self._begun
        lately = done - (self._done_before or 0)
        left = f", about {clock_time(took / lately * (total - done))} left" if lately > 0 and done < total else ""
        lines = [f"# {self._plan.title}", f"**{done} of {total} {self._what}s** after {clock_time(took)}{left}"]
        return "\n\n".join([*lines, *self._newest_lines()]) + "\n"

    def _newest_lines(self) -> list[str]:
        pointer = find_done(self._pod.store, self._newest.item) if self._newest else None
        if self._newest is None or pointer is None:
            return []
        said = f"newest: **{self._newest.name}**, attempt {pointer.attempt} of {pointer.worker}"
        picture = picture_of(self._pod.store, self._newest.item, PICTURES[self._what])
        return [said, as_picture(self._newest.name, picture)] if picture else [said]

    def _put(self, page: str) -> None:
        if self._artifact is None:
            made: Any = create_markdown_artifact(
                page, key=artifact_key("newest", self._what, self._plan.episode), description=self._plan.title
            )
            self._artifact = made
        else:
            with get_client(sync_client=True) as client:
                client.update_artifact(self._artifact, ArtifactUpdate(data=page))


def clock_time(seconds: float) -> str:
    """Return hours, minutes and seconds."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
