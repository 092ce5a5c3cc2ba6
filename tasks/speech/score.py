"""How wrong turns are: diarization error rate as in the NIST evaluations, with names known."""

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.plan.types import Turn


@dataclass(frozen=True)
class DiarizationError:
    """Seconds of each kind of error, and of speech in the reference (an overlap of two counts twice)."""

    missed_seconds: float
    false_seconds: float
    confused_seconds: float
    speech_seconds: float

    @property
    def rate(self) -> float:
        """Errors as a share of the reference's speech; 0 for no speech and no error."""
        wrong = self.missed_seconds + self.false_seconds + self.confused_seconds
        return wrong / self.speech_seconds if self.speech_seconds else float(wrong > 0)


def diarization_error(
    reference: Sequence[Turn], found: Sequence[Turn], collar_seconds: float = 0.25
) -> DiarizationError:
    """Return the error of `found`; overlaps count, `collar_seconds` around each reference boundary do not.

    Names are the characters' own, so no mapping is searched. Exact: the sum over the intervals between all boundaries.
    """
    events: list[tuple[float, int, str, int]] = []  # time, side (0 reference, 1 found, 2 collar), character, step
    for side, turns in enumerate((reference, found)):
        for turn in turns:
            events += [(turn.start_seconds, side, turn.character, 1), (turn.end_seconds, side, turn.character, -1)]
    if collar_seconds > 0:
        for turn in reference:
            for edge in (turn.start_seconds, turn.end_seconds):
                events += [(edge - collar_seconds, 2, "", 1), (edge + collar_seconds, 2, "", -1)]
    events.sort(key=lambda event: event[0])
    depth: tuple[dict[str, int], dict[str, int], dict[str, int]] = ({}, {}, {})
    missed = false = confused = speech = previous = 0.0
    for time, side, character, step in events:
        seconds, previous = time - previous, time
        if seconds > 0 and not depth[2].get("", 0):
            true = {name for name, count in depth[0].items() if count > 0}
            said = {name for name, count in depth[1].items() if count > 0}
            swapped = min(len(true - said), len(said - true))
            missed += seconds * (len(true - said) - swapped)
            false += seconds * (len(said - true) - swapped)
            confused += seconds * swapped
            speech += seconds * len(true)
        depth[side][character] = depth[side].get(character, 0) + step
    return DiarizationError(missed, false, confused, speech)
