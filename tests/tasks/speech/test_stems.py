"""Gated stems of a mix, and voices of a mix under the cast's names."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from tasks.errors import ConfigError, PermanentError
from tasks.plan.types import Turn
from tasks.script.rttm import format_rttm
from tasks.speech.clips import load_clips
from tasks.speech.conversation import Recipe, make_conversation
from tasks.speech.diarize import UnknownVoices, WrittenTurns, alone, open_diarizer, turns_from_mix
from tasks.speech.score import diarization_error
from tasks.speech.sound import read_sound
from tasks.speech.stems import gate_gain, gated_blocks, write_gated_stems

DATA = Path(__file__).parents[2] / "data" / "speech"


@pytest.fixture(scope="module")
def made():
    return make_conversation(load_clips(DATA, 2), Recipe(24.0, 0.1, -60.0, 40.0, 0.0), 5)


@pytest.fixture
def mixed(made, tmp_path):
    """A mix, its turns under voices' numbers as RTTM, and a voice sample of each speaker from other words."""
    mix = sum(made.clean.values())
    soundfile.write(tmp_path / "mix.wav", mix, 16_000)
    numbers = {name: f"voice_{index}" for index, name in enumerate(reversed(list(made.clean)))}
    turns = [Turn(turn.start_seconds, turn.end_seconds, numbers[turn.character]) for turn in made.turns]
    (tmp_path / "mix.rttm").write_text(format_rttm(turns))
    samples = {"caller": DATA / "caller_numbers.wav", "reader": DATA / "reader_not_ill_disposed.wav"}
    return tmp_path, samples


def test_numbered_voices_get_the_names_of_their_samples(made, mixed):
    folder, samples = mixed
    found = turns_from_mix(folder / "mix.wav", samples, open_diarizer(f"rttm:{folder / 'mix.rttm'}"))
    assert diarization_error(made.turns, found).rate == 0


def test_voices_that_no_sample_tells_apart_are_asked_for(mixed):
    folder, samples = mixed
    same = {"ana": samples["reader"], "ben": samples["reader"]}
    with pytest.raises(UnknownVoices, match=r"could be swapped.*speaks first at"):
        turns_from_mix(folder / "mix.wav", same, WrittenTurns(folder / "mix.rttm"))
    with pytest.raises(UnknownVoices, match=r"2 voices were found, 1 have a voice sample"):
        turns_from_mix(folder / "mix.wav", {"ana": samples["reader"]}, WrittenTurns(folder / "mix.rttm"))


def test_turns_that_have_the_casts_names_keep_them(mixed, made):
    folder, samples = mixed
    (folder / "named.rttm").write_text(format_rttm(made.turns))
    found = turns_from_mix(folder / "mix.wav", samples, WrittenTurns(folder / "named.rttm"))
    assert [turn.character for turn in found] == [turn.character for turn in made.turns]


def test_a_diarizer_without_its_models_says_what_to_put_where(tmp_path):
    with pytest.raises(ConfigError, match=r"no segmentation\*\.onnx|sherpa-onnx is not installed|no embedding"):
        open_diarizer(f"sherpa:{tmp_path}")
    (tmp_path / "segmentation.onnx").write_bytes(b"no network")
    (tmp_path / "embedding.onnx").write_bytes(b"no network")
    with pytest.raises(ConfigError, match=r"embedding model cannot be loaded|sherpa-onnx is not installed"):
        open_diarizer(f"sherpa:{tmp_path}")
    with pytest.raises(PermanentError, match=r"write rttm:FILE"):
        open_diarizer("guess")


def test_gated_stems_are_the_turns_with_soft_edges_and_silence_elsewhere(tmp_path):
    mix = np.random.default_rng(0).uniform(-0.5, 0.5, 48_000).astype(np.float32)
    turns = (Turn(0.5, 1.0, "ana"), Turn(0.9, 2.0, "ben"))
    files = write_gated_stems(mix, turns, tmp_path)
    ana, ben = read_sound(files["ana"]), read_sound(files["ben"])
    assert len(ana) == len(ben) == len(mix)
    np.testing.assert_allclose(ana[8_000:16_000], mix[8_000:16_000], atol=1 / 32_000)
    np.testing.assert_allclose(ben[14_400:32_000], mix[14_400:32_000], atol=1 / 32_000)
    assert not ana[: 8_000 - 480].any() and not ana[16_000 + 480 :].any()


def test_the_gate_rises_without_a_step_and_does_not_depend_on_blocks():
    turns = (Turn(0.5, 1.0, "ana"),)
    whole = gate_gain(turns, 0, 32_000)
    assert np.abs(np.diff(whole)).max() < 0.01 and whole.max() == 1 and whole.min() == 0
    pieces = np.concatenate([gate_gain(turns, start, 500) for start in range(0, 32_000, 500)])
    np.testing.assert_array_equal(pieces, whole)


def test_a_silent_character_is_a_track_of_zeros():
    mix = np.ones(20_000, np.float32)
    track = np.concatenate(list(gated_blocks(mix, (Turn(0, 1, "ana"),), "ben")))
    assert len(track) == 20_000 and not track.any()


def test_alone_leaves_out_what_others_speak_over():
    turns = [Turn(0, 4, "ana"), Turn(1, 2, "ben"), Turn(3.5, 6, "ben")]
    assert alone(turns, "ana") == [(0, 1), (2, 3.5)]
    assert alone(turns, "ben") == [(4, 6)]
