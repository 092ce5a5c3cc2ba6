"""Who wants to know how a render goes: one watcher per context, silent unless somebody looks."""

from contextvars import ContextVar
from typing import Literal, Protocol

Stage = Literal["segment", "shot", "film", "episode"]


class Watcher(Protocol):
    """Told what happens; must return at once, and is called from any thread."""

    def advance(self, stage: Stage, name: str, done: int, total: int) -> None:
        """Hear that `done` of `total` steps, frames or shots of a named part are there."""

    def note(self, text: str) -> None:
        """Hear one line for a person."""


class Silence:
    """Looks away."""

    def advance(self, stage: Stage, name: str, done: int, total: int) -> None:
        """Return."""

    def note(self, text: str) -> None:
        """Return."""


watcher: ContextVar[Watcher] = ContextVar("watcher", default=Silence())  # noqa: B039 - it has no state
