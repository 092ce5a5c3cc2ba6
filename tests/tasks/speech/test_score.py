"""The error rate against cases worked out by hand, and against counting every 10 ms."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.plan.types import Turn
from tasks.speech.score import diarization_error


def test_cases_worked_out_by_hand():
    truth = [Turn(0, 10, "ana"), Turn(10, 20, "ben")]
    assert diarization_error(truth, truth).rate == 0
    assert diarization_error(truth, [], 0).rate == 1
    assert diarization_error(truth, [Turn(0, 20, "ana")], 0).confused_seconds == pytest.approx(10)
    assert diarization_error(truth, [*truth, Turn(0, 5, "ben")], 0).false_seconds == pytest.approx(5)
    late = [Turn(0.2, 10.2, "ana"), Turn(10.2, 20, "ben")]
    assert diarization_error(truth, late).rate == 0
    assert diarization_error([], [Turn(0, 1, "ana")]).rate == 1


spans = st.lists(
    st.tuples(st.integers(0, 300), st.integers(1, 120), st.sampled_from(["ana", "ben", "cem"])), max_size=8
)


@given(spans, spans)
@settings(deadline=None, max_examples=60)
def test_it_is_what_counting_every_frame_gives(first, second):
    truth = [Turn(a / 100, (a + b) / 100, name) for a, b, name in first]
    found = [Turn(a / 100, (a + b) / 100, name) for a, b, name in second]
    wrong = speech = 0
    for frame in range(425):
        now = (frame + 0.5) / 100
        if any(abs(now - edge) < 0.25 for turn in truth for edge in (turn.start_seconds, turn.end_seconds)):
            continue
        said = {turn.character for turn in truth if turn.start_seconds <= now < turn.end_seconds}
        heard = {turn.character for turn in found if turn.start_seconds <= now < turn.end_seconds}
        wrong += max(len(said - heard), len(heard - said))
        speech += len(said)
    got = diarization_error(truth, found)
    total = got.missed_seconds + got.false_seconds + got.confused_seconds
    assert total == pytest.approx(wrong / 100, abs=1e-6)
    assert got.speech_seconds == pytest.approx(speech / 100, abs=1e-6)
