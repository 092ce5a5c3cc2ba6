"""What a rule finds, before it is given a file and a line; and the words that findings share."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Finding:
    """`path` leads through the manifest: ("shots", 2, "characters", 0, "face")."""

    path: Path
    rule: str
    message: str


def dotted(path: Path) -> str:
    """Return the path as people write it: shots[2].characters[0].face."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.lstrip(".") or "manifest"


def shown(value: object) -> str:
    """Return a value for a message, shortened to 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the way out for an unknown name: the nearest known one, or the list."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    few = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return f"known are: {few}" if names else "none is declared yet"
