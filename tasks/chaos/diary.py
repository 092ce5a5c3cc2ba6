"""What every process of the chaos believes: written down at once, in a file of its own that is only added to."""

import json
import os
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

What = Literal["put", "published", "round", "unexpected", "deleted"]


class Diary:
    """One process's notes. What is noted outlives the process, however it ends."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{name}.jsonl"

    def note(self, what: What, about: object = "") -> None:
        """Add a line."""
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(file, json.dumps([what, str(about)]).encode() + b"\n")
        finally:
            os.close(file)

    def error(self, exc: BaseException) -> None:
        """Note an error that nothing done here on purpose explains."""
        self.note("unexpected", f"{type(exc).__name__}: {exc}")

    def says(self, *what: What) -> bool:
        """Say whether there is such a note."""
        return self.path.exists() and any(one in what for one, _ in read_notes(self.path))


@dataclass(frozen=True)
class Beliefs:
    """All notes together: who believes to have won which item, what nobody expected, what was deleted on purpose."""

    winners: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    unexpected: Counter[str] = field(default_factory=Counter)
    deleted: Counter[str] = field(default_factory=Counter)

    def two_winners(self) -> int:
        """Return how many items more workers believe to have won than there was a win to be had.

        That is one, and one more each time a winner's record was deleted from outside.
        """
        return sum(len(who) > 1 + self.deleted[item] for item, who in self.winners.items())


def read_beliefs(folder: Path) -> Beliefs:
    """Return what all processes have noted."""
    beliefs = Beliefs()
    for path in sorted(folder.glob("*.jsonl")):
        for what, about in read_notes(path):
            if what in ("put", "published"):
                beliefs.winners[about].add(path.stem)
            elif what == "unexpected":
                beliefs.unexpected[about.partition(":")[0]] += 1
            elif what == "deleted":
                beliefs.deleted[about] += 1
    return beliefs


def read_notes(path: Path) -> list[tuple[str, str]]:
    """Return a diary's notes: what, and about what."""
    return [(what, about) for what, about in map(json.loads, path.read_text().splitlines())]
