"""Lines on turns: by order, by speaker, by length, by time."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.plan.types import Turn
from tasks.script.align import LETTERS_PER_SECOND, align, sentence_ends
from tasks.script.types import ScriptLine


def line(character, seconds, **more):
    return ScriptLine(character, "x" * round(seconds * LETTERS_PER_SECOND), **more)


@given(
    st.lists(
        st.tuples(st.sampled_from(["ana", "ben"]), st.integers(5, 60), st.integers(1, 15)), min_size=1, max_size=12
    )
)
@settings(deadline=None, max_examples=60)
def test_a_script_spoken_as_written_is_found_line_by_line(spoken):
    now, turns, lines = 0.0, [], []
    for who, tenths, pause in spoken:
        now += pause / 10
        turns.append(Turn(round(now, 3), round(now + tenths / 10, 3), who))
        lines.append(line(who, tenths / 10))
        now += tenths / 10
    found = align(lines, turns)
    assert not found.unspoken_lines and not found.unwritten_turns
    assert [one.character for one in found.lines] == [who for who, _, _ in spoken]
    assert all(a.start_seconds <= b.start_seconds for a, b in zip(found.lines, found.lines[1:]))


def test_a_line_with_a_pause_takes_both_turns_and_two_lines_share_one():
    turns = [Turn(0, 2, "ana"), Turn(2.9, 4, "ana"), Turn(5, 9, "ben")]
    found = align([line("ana", 3.1), line("ben", 1), line("ben", 3)], turns)
    assert [(one.start_seconds, one.end_seconds) for one in found.lines] == [(0, 4), (5, 6), (6, 9)]


def test_what_was_not_said_and_what_was_not_written_is_reported():
    turns = [Turn(0, 2, "ana"), Turn(3, 5, "cem"), Turn(6, 8, "ben")]
    found = align([line("ana", 2), line("ben", 2), line("dia", 2)], turns)
    assert found.unspoken_lines == (2,)
    assert found.unwritten_turns == (Turn(3, 5, "cem"),)
    assert found.lines[1].start_seconds == 6 and found.lines[2].start_seconds is None


def test_a_line_without_a_speaker_takes_the_speaker_of_its_turn():
    timed = ScriptLine("", "The rain goes on.", None, 4.1, 5.9)
    found = align([timed], [Turn(0, 1.5, "ana"), Turn(4, 6, "ben")])
    assert found.lines[0].character == "ben"


def test_sentence_ends_are_placed_by_letters():
    spoken = ScriptLine("ana", "One two. Three!", None, 0.0, 1.5)
    assert sentence_ends([spoken]) == (1.5 * 8 / 15, 1.5)
