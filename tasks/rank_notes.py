"""What the processes of a multi-GPU pod and the one that started them tell each other: files in a folder of the pod."""

import json
import os
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tasks.errors import FarmError
from tasks.progress import Stage, Watcher


@dataclass
class RankNotes:
    """A folder: `stop` (somebody asked us to go), `progress`, and `outcome-RANK` of every rank that has ended."""

    folder: Path
    _seen: str = field(default="", init=False)

    @property
    def stop(self) -> Path:
        """The file whose presence asks the ranks to save their step and end."""
        return self.folder / "stop"

    def advance(self, stage: Stage, name: str, done: int, total: int) -> None:
        """Note progress (a `tasks.progress.Watcher`); `pass_on` reads it."""
        self._write("progress", [stage, name, done, total])

    def note(self, text: str) -> None:
        """Leave the words to the log."""

    def pass_on(self, watch: Watcher) -> None:
        """Tell a watcher the newest progress, once."""
        path = self.folder / "progress"
        text = path.read_text() if path.exists() else ""
        if text != self._seen:
            self._seen = text
            watch.advance(*json.loads(text))

    def succeed(self, rank: int, result: str) -> None:
        """Note what a rank has made."""
        self._write(f"outcome-{rank}", {"result": result})

    def fail(self, rank: int, exc: BaseException) -> None:
        """Note why a rank ended."""
        self._write(f"outcome-{rank}", {"error": type(exc).__name__, "message": str(exc)})
        (self.folder / f"traceback-{rank}").write_text("".join(traceback.format_exception(exc)))

    def result(self, rank: int) -> str | None:
        """Return what a rank has made, None when it left no word.

        Raises: the error it ended with, as the class it had if that is one of ours; RuntimeError for any other.
        """
        path = self.folder / f"outcome-{rank}"
        if not path.exists():
            return None
        said = json.loads(path.read_text())
        if "error" not in said:
            return str(said["result"])
        ours = {kind.__name__: kind for kind in _kinds(FarmError)}
        if said["error"] in ours:
            raise ours[said["error"]](said["message"])
        raise RuntimeError(f"rank {rank}: {said['error']}: {said['message']}")

    def _write(self, name: str, value: object) -> None:
        draft = self.folder / f"{name}.{os.getpid()}"
        draft.write_text(json.dumps(value))
        draft.replace(self.folder / name)


def _kinds(kind: type[FarmError]) -> Iterator[type[FarmError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _kinds(below)
