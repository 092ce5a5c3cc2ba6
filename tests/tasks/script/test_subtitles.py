"""SubRip, WebVTT and RTTM in and out."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import MediaError
from tasks.plan.types import Turn
from tasks.script.rttm import format_rttm, parse_rttm, read_rttm
from tasks.script.subtitles import format_srt, format_vtt, parse_srt, parse_vtt

DATA = Path(__file__).parents[2] / "data" / "script"


def test_srt_takes_speakers_from_brackets_colons_and_dashes():
    script = parse_srt((DATA / "kitchen.srt").read_text(encoding="utf-8"))
    found = [(line.character, line.text, line.start_seconds) for line in script.lines]
    assert found == [
        ("ana", "Who ate the last biscuit?", 1.0),
        ("ben", "Not me.", 2.6),
        ("ana", "You did.", 4.0),
        ("ben", "Never!", 4.0),
        ("", "The rain goes on.", 60.25),
    ]
    assert script.lines[0].emotion == "angry"


def test_vtt_takes_speakers_from_voice_spans_and_skips_notes_and_styles():
    script = parse_vtt((DATA / "kitchen.vtt").read_text(encoding="utf-8"))
    found = [(line.character, line.text, line.start_seconds, line.end_seconds) for line in script.lines]
    assert found == [
        ("ana", "Who ate the last biscuit?", 1.0, 2.5),
        ("ben_brown", "Not me & not Cem.", 2.6, 3.9),
        ("ana", "You did.", 4.0, 6.0),
        ("ben_brown", "Never!", 4.0, 6.0),
    ]
    assert dict(script.names)["ben_brown"] == "Ben Brown"


@pytest.mark.parametrize(
    "name, parse, write", [("kitchen.srt", parse_srt, format_srt), ("kitchen.vtt", parse_vtt, format_vtt)]
)
def test_written_and_read_again_subtitles_are_the_same(name, parse, write):
    script = parse((DATA / name).read_text(encoding="utf-8"))
    assert parse(write(script)).lines == script.lines


def test_a_cue_that_ends_before_it_starts_is_named():
    with pytest.raises(ValueError, match=r"bad.srt:2: ends at 1.000 s, not after its start 2.000 s"):
        parse_srt("1\n00:00:02,000 --> 00:00:01,000\nHello\n", "bad.srt")


def test_subtitles_without_the_webvtt_header_are_refused():
    with pytest.raises(ValueError, match="is this SubRip"):
        parse_vtt("1\n00:00:01,000 --> 00:00:02,000\nHello\n")


def test_a_line_without_a_time_cannot_become_a_subtitle():
    script = parse_srt((DATA / "kitchen.srt").read_text(encoding="utf-8"))
    untimed = replace(script, lines=(replace(script.lines[0], start_seconds=None),))
    with pytest.raises(ValueError, match="align the script"):
        format_vtt(untimed)


def test_rttm_keeps_turns_and_passes_over_other_lines():
    turns = read_rttm(DATA / "kitchen.rttm")
    assert turns == (Turn(1.0, 2.5, "ana"), Turn(2.6, 3.9, "ben"), Turn(3.7, 4.5, "ana"))


@given(
    st.lists(
        st.tuples(st.integers(0, 10**7), st.integers(1, 10**5), st.sampled_from(["ana", "ben", "c-3"])), max_size=20
    )
)
def test_rttm_written_and_read_again_is_the_same(spans):
    turns = tuple(sorted(Turn(a / 1000, (a + b) / 1000, name) for a, b, name in spans))
    assert parse_rttm(format_rttm(turns)) == turns


def test_every_faulty_rttm_line_is_named_at_once(tmp_path):
    path = tmp_path / "bad.rttm"
    path.write_text("SPEAKER a 1 x 2 <NA> <NA> ana\nSPEAKER a 1 1.0 -2.0 <NA> <NA> ana <NA> <NA>\n")
    with pytest.raises(MediaError, match=r"bad.rttm:1: (.|\n)*bad.rttm:2: "):
        read_rttm(path)
