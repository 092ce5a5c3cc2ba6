"""RTTM, the diarization community's table of turns, in and out.

One line a turn: `SPEAKER file channel start duration <NA> <NA> name <NA> <NA>` (NIST RT-09 evaluation plan). Other line
types are passed over.
"""

from collections.abc import Iterable
from pathlib import Path

from tasks.errors import MediaError
from tasks.plan.types import Turn


def parse_rttm(text: str, source: str = "RTTM") -> tuple[Turn, ...]:
    """Return the turns of an RTTM text, in order of time.

    Raises: ValueError naming every line that is not a turn.
    """
    turns, faults = [], []
    for number, line in enumerate(text.lstrip("\ufeff").splitlines(), start=1):
        fields = line.split()
        if not fields or fields[0] != "SPEAKER":
            continue
        try:
            start, duration = float(fields[3]), float(fields[4])
            name = fields[7]
        except (IndexError, ValueError):
            faults.append(f"{source}:{number}: {line.strip()!r} is not SPEAKER file channel start duration . . name")
            continue
        if not (start >= 0 and 0 < duration < float("inf")):
            faults.append(
                f"{source}:{number}: starts at {start:g} s for {duration:g} s; give a start >= 0, a length > 0"
            )
            continue
        turns.append(Turn(start, round(start + duration, 6), name))
    if faults:
        raise ValueError("\n".join(faults))
    return tuple(sorted(turns))


def format_rttm(turns: Iterable[Turn], file_id: str = "episode") -> str:
    """Return the turns as RTTM, times in milliseconds' precision."""
    lines = [
        f"SPEAKER {file_id} 1 {turn.start_seconds:.3f} {turn.end_seconds - turn.start_seconds:.3f}"
        f" <NA> <NA> {turn.character} <NA> <NA>"
        for turn in sorted(turns)
    ]
    return "".join(f"{line}\n" for line in lines)


def read_rttm(path: Path) -> tuple[Turn, ...]:
    """Return the turns of an RTTM file. Raises: MediaError when it cannot be read or has a faulty line."""
    try:
        return parse_rttm(path.read_text(encoding="utf-8"), path.name)
    except (OSError, ValueError) as exc:
        raise MediaError(f"{path}: {exc}") from exc
