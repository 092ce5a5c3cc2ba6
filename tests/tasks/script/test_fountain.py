"""Fountain: cues, directions, comments, scenes; written back it reads the same."""

from pathlib import Path

from tasks.script.fountain import format_fountain, parse_fountain
from tasks.script.types import emotion_of, key_of

DATA = Path(__file__).parents[2] / "data" / "script"


def read():
    return parse_fountain((DATA / "kitchen.fountain").read_text(encoding="utf-8"))


def test_every_speech_has_its_speaker_and_its_words():
    script = read()
    assert script.title == "The Last Biscuit"
    assert [(line.character, line.text) for line in script.lines] == [
        ("ana", "Who ate the last biscuit?"),
        ("ben", "Not me."),
        ("ben", "I only looked at it. For a long time."),
        ("ana", "He looked at it."),
        ("mcfly", "I was asleep."),
        ("ben", "It was a good biscuit. It really was."),
    ]
    assert dict(script.names) == {"ana": "Ana", "ben": "Ben", "mcfly": "McFly"}


def test_parentheticals_become_emotions_or_stay_notes():
    lines = read().lines
    assert [line.emotion for line in lines] == ["angry", None, "happy", None, None, "sad"]
    assert [line.note for line in lines] == ["", "", "", "to herself", "not angry", ""]


def test_scenes_point_to_their_first_line_and_comments_are_gone():
    script = read()
    assert script.scenes == ((0, "INT. KITCHEN - NIGHT"), (5, "ON THE ROOF"))
    assert "cem" not in dict(script.names)


def test_written_and_read_again_the_lines_are_the_same():
    script = read()
    again = parse_fountain(format_fountain(script))
    assert (again.lines, again.title) == (script.lines, script.title)


def test_a_direction_that_denies_an_emotion_asks_for_none():
    assert emotion_of("(without laughing)") is None
    assert emotion_of("(laughs, not sad)") == "happy"
    assert emotion_of("(gasps)") == "surprised"


def test_names_become_manifest_keys():
    assert key_of("Ben Brown") == "ben_brown"
    assert key_of("  ") == ""
    assert key_of("Åsa-Liv!") == "asa_liv"
    assert key_of("花").startswith("character_")
