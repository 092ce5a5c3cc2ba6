"""Which words were said when: script lines without times laid on turns, by order, speaker and length. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tasks.plan.types import Turn
from tasks.script.types import ScriptLine

LETTERS_PER_SECOND = 14.0
SKIP_LINE, SKIP_TURN, STRANGER, MOST_TOGETHER = 4.0, 2.5, 6.0, 4
BAND = 50  # a line is looked for this many turns before and after its share of the whole; keeps hours affordable


@dataclass(frozen=True)
class Alignment:
    """Lines with times where a turn was found; indices of lines nobody speaks, and turns that no line claims."""

    lines: tuple[ScriptLine, ...]
    unspoken_lines: tuple[int, ...]
    unwritten_turns: tuple[Turn, ...]


def _weight(line: ScriptLine) -> float:
    return max(1.0, len(line.text)) / LETTERS_PER_SECOND


def _cost(lines: Sequence[ScriptLine], turns: Sequence[Turn]) -> float:
    """Return how badly a run of lines fits a run of turns; both of one speaker, or it costs a stranger each."""
    who = turns[0].character
    strangers = sum(line.character not in ("", who) for line in lines) + sum(turn.character != who for turn in turns)
    expected, heard = sum(map(_weight, lines)), sum(turn.end_seconds - turn.start_seconds for turn in turns)
    misfit = abs(expected - heard) / max(expected, heard)
    late = 0.0
    if lines[0].start_seconds is not None:
        late = min(abs(lines[0].start_seconds - turns[0].start_seconds), 5.0)
    return STRANGER * strangers + 2.0 * misfit + 0.5 * late + 0.3 * (len(lines) + len(turns) - 2)


def align(lines: Sequence[ScriptLine], turns: Sequence[Turn]) -> Alignment:
    """Return the lines with the times of the turns that speak them.

    A dynamic program over both in order: one line on one turn, one line on up to four turns of the speaker (pauses),
    or up to four lines in one turn (shared by their letters); lines nobody speaks and turns nobody wrote cost. Times
    that a line already has (subtitles) pull it towards its turn. A line without a speaker takes the turn's.
    """
    turns = sorted(turns)
    band = BAND * max(len(lines), len(turns))
    moves = [
        (1, 0),
        (0, 1),
        *((1, k) for k in range(1, MOST_TOGETHER + 1)),
        *((k, 1) for k in range(2, MOST_TOGETHER + 1)),
    ]
    best: dict[tuple[int, int], tuple[float, tuple[int, int]]] = {(0, 0): (0.0, (0, 0))}
    for i in range(len(lines) + 1):
        for j in range(len(turns) + 1):
            if abs(i * len(turns) - j * len(lines)) > band:
                continue
            options = []
            for m, n in moves:
                if m <= i and n <= j and (i - m, j - n) in best:
                    step = _step(lines[i - m : i], turns[j - n : j])
                    options.append((best[i - m, j - n][0] + step, (m, n)))
            if options:
                best[i, j] = min(options)
    return _trace(lines, turns, best)


def _step(lines: Sequence[ScriptLine], turns: Sequence[Turn]) -> float:
    if not turns:
        return SKIP_LINE
    return _cost(lines, turns) if lines else SKIP_TURN


def _trace(
    lines: Sequence[ScriptLine],
    turns: Sequence[Turn],
    best: dict[tuple[int, int], tuple[float, tuple[int, int]]],
) -> Alignment:
    timed = list(lines)
    unspoken: list[int] = []
    unwritten: list[Turn] = []
    i, j = len(lines), len(turns)
    while i or j:
        m, n = best[i, j][1]
        i, j = i - m, j - n
        own, heard = range(i, i + m), turns[j : j + n]
        wrong = any(lines[k].character not in ("", heard[0].character) for k in own) if heard else True
        if not n or wrong:
            unspoken += [k for k in own if lines[k].start_seconds is None]
        if not m or wrong:
            unwritten += heard
        if m and n and not wrong:
            for k, line in zip(own, _share(lines[i : i + m], heard), strict=True):
                timed[k] = line
    return Alignment(tuple(timed), tuple(sorted(unspoken)), tuple(sorted(unwritten)))


def _share(lines: Sequence[ScriptLine], turns: Sequence[Turn]) -> list[ScriptLine]:
    """Return lines with their part of the turns' time, by letters."""
    start, end = turns[0].start_seconds, turns[-1].end_seconds
    whole, done, shared = sum(map(_weight, lines)), 0.0, []
    for line in lines:
        begin = start + (end - start) * done / whole
        done += _weight(line)
        finish = start + (end - start) * done / whole
        shared.append(
            replace(
                line,
                character=line.character or turns[0].character,
                start_seconds=round(begin, 3),
                end_seconds=round(finish, 3),
            )
        )
    return shared


def sentence_ends(lines: Sequence[ScriptLine]) -> tuple[float, ...]:
    """Return when sentences end, for the cutter: by letters within each timed line."""
    ends = []
    for line in lines:
        if line.start_seconds is None or line.end_seconds is None or not line.text:
            continue
        for index, letter in enumerate(line.text, start=1):
            if letter in ".!?…" and (index == len(line.text) or line.text[index] == " "):
                ends.append(line.start_seconds + (line.end_seconds - line.start_seconds) * index / len(line.text))
    return tuple(ends)
