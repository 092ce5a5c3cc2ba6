"""Turns from stems: measured on conversations made from real speech, and on what goes wrong in studios."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from tasks.errors import MediaError
from tasks.plan.types import Turn
from tasks.speech.clips import load_clips
from tasks.speech.conversation import Recipe, make_conversation, trim_utterance
from tasks.speech.gate import speaking
from tasks.speech.score import diarization_error
from tasks.speech.turns import TurnSettings, plain_turns, stem_features, turns_from_activity, turns_from_stems

DATA = Path(__file__).parents[2] / "data" / "speech"


def converse(speakers, seed=0, **recipe):
    return make_conversation(load_clips(DATA, speakers), Recipe(**{"seconds": 24.0, **recipe}), seed)


@pytest.mark.parametrize(
    "speakers, overlap, bleed, snr, room",
    [(2, 0.0, -12.0, 30.0, 0.0), (2, 0.2, -12.0, 25.0, 0.3), (3, 0.1, -18.0, 15.0, 0.0), (4, 0.2, -30.0, 12.0, 0.2)],
)
def test_turns_from_stems_with_bleed_are_within_five_percent(speakers, overlap, bleed, snr, room):
    made = converse(speakers, overlap=overlap, bleed_db=bleed, snr_db=snr, room_seconds=room)
    assert diarization_error(made.turns, turns_from_stems(made.stems)).rate <= 0.05


def test_the_gate_is_what_keeps_neighbours_out():
    made = converse(3, bleed_db=-12.0)
    features = stem_features(made.stems)
    gated = turns_from_activity(features.names, speaking(features), features.num_samples / 16_000)
    assert diarization_error(made.turns, plain_turns(features)).rate > 1.0
    assert diarization_error(made.turns, gated).rate < 0.03


def test_microphones_thirty_decibels_apart_and_a_silent_member_change_nothing():
    made = converse(2, bleed_db=-15.0, level_spread_db=0.0)
    ana, ben = made.stems
    heard = {ana: made.stems[ana], ben: made.stems[ben] * 0.03, "cem": 0.1 * (made.clean[ana] + made.clean[ben])}
    found = turns_from_stems(heard)
    assert diarization_error(made.turns, found).rate < 0.05
    assert all(turn.character != "cem" for turn in found)


def test_a_word_thrown_in_is_heard_over_the_bleed():
    made = converse(1, snr_db=40.0)
    (name,) = made.stems
    word = trim_utterance(load_clips(DATA, 1)[name][0])[:9_600]
    start = round((made.turns[1].start_seconds + 0.8) * 16_000)
    thrown = np.zeros_like(made.stems[name])
    thrown[start : start + len(word)] = word / word.std() * 0.05
    found = turns_from_stems({name: made.stems[name] + 0.2 * thrown, "other": thrown + 0.2 * made.stems[name]})
    others = [turn for turn in found if turn.character == "other"]
    assert len(others) == 1
    assert abs(others[0].start_seconds - start / 16_000) < 0.3


def test_files_of_other_rates_and_lengths_give_the_same_turns_as_arrays(tmp_path):
    made = converse(2)
    stems = {}
    for index, (name, samples) in enumerate(made.stems.items()):
        stems[name] = tmp_path / f"{name}.wav"
        if index:
            from scipy.signal import resample_poly

            soundfile.write(stems[name], np.stack([resample_poly(samples, 3, 1)] * 2, axis=1), 48_000)
        else:
            soundfile.write(stems[name], samples[: len(samples) - 4000], 16_000)
    found, expected = turns_from_stems(stems), turns_from_stems(made.stems)
    assert [turn.character for turn in found] == [turn.character for turn in expected]
    for a, b in zip(found, expected, strict=True):
        assert abs(a.start_seconds - b.start_seconds) < 0.11 and abs(a.end_seconds - b.end_seconds) < 0.3


def test_silence_and_no_stems_give_no_turns():
    assert turns_from_stems({}) == ()
    assert turns_from_stems({"ana": np.zeros(40_000, np.float32), "ben": np.zeros(0, np.float32)}) == ()


def test_turns_end_with_the_mix():
    made = converse(2)
    cut_off = made.turns[-1].start_seconds + 0.5
    found = turns_from_stems(made.stems, sum(made.stems.values())[: round(cut_off * 16_000)])
    assert found[-1].end_seconds == pytest.approx(cut_off, abs=0.001)


def test_a_file_that_is_no_sound_is_named(tmp_path):
    (tmp_path / "ana.wav").write_text("not a sound")
    with pytest.raises(MediaError, match=r"ana\.wav: cannot be read as sound"):
        turns_from_stems({"ana": tmp_path / "ana.wav"})


def test_short_pauses_belong_to_a_turn_unless_somebody_answers():
    frames = 100
    active = np.zeros((2, frames), bool)
    active[0, 10:30] = active[0, 45:60] = True  # a pause of 0.48 s
    joined = turns_from_activity(("ana", "ben"), active, 3.2, TurnSettings(pad_seconds=0))
    assert joined == (Turn(0.32, 1.92, "ana"),)
    active[1, 32:43] = True
    answered = turns_from_activity(("ana", "ben"), active, 3.2, TurnSettings(pad_seconds=0))
    assert [turn.character for turn in answered] == ["ana", "ben", "ana"]


def test_a_conversation_is_the_same_for_the_same_seed():
    first, second = converse(2, seed=3), converse(2, seed=3)
    assert first.turns == second.turns
    assert all(np.array_equal(first.stems[name], second.stems[name]) for name in first.stems)
