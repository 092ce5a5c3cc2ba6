"""From a script to turns and shots: reading speed where nothing is recorded yet, cuts where it is long. Pure."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from tasks.cuts import CutBounds, cut
from tasks.plan.types import Cut, Turn
from tasks.script.align import LETTERS_PER_SECOND, sentence_ends
from tasks.script.types import Script, ScriptLine

PAUSE_SECONDS = 0.4
LEAST_LINE_SECONDS = 0.6


def pace(lines: Sequence[ScriptLine]) -> tuple[ScriptLine, ...]:
    """Return the lines with times: their own where they have some, else one after the other at reading speed."""
    now, timed = 0.0, []
    for line in lines:
        if line.start_seconds is None or line.end_seconds is None:
            start = round(now + PAUSE_SECONDS, 3)
            seconds = max(LEAST_LINE_SECONDS, len(line.text) / LETTERS_PER_SECOND)
            line = replace(line, start_seconds=start, end_seconds=round(start + seconds, 3))
        timed.append(line)
        now = max(now, line.end_seconds or 0.0)
    return tuple(timed)


def turns_of(lines: Sequence[ScriptLine]) -> tuple[Turn, ...]:
    """Return the turns that timed lines speak."""
    found = (
        Turn(line.start_seconds, line.end_seconds, line.character)
        for line in lines
        if line.start_seconds is not None and line.end_seconds is not None and line.character
    )
    return tuple(sorted(found))


def shots_of(
    script: Script, seconds: float, fps: float, bounds: CutBounds
) -> tuple[tuple[Cut, ...], list[tuple[float, float]]]:
    """Return the cuts of a timed script, and its shots as (start, end) in seconds: scenes are declared changes."""
    declared = [
        round((script.lines[index].start_seconds or 0.0) * fps) - round(PAUSE_SECONDS / 2 * fps)
        for index, _ in script.scenes
        if 0 < index < len(script.lines)
    ]
    num_frames = max(1, round(seconds * fps))
    cuts = cut(num_frames, fps, turns_of(script.lines), declared, sentence_ends(script.lines), bounds=bounds)
    return cuts, [(a.frame / fps, b.frame / fps) for a, b in pairwise(cuts)]
