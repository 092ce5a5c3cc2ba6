"""Synthetic speech and the mouth a sound asks for."""

import numpy as np

from tasks.puppet.voices import augment, draw_speaker, level_of, mouth_track, normalise_level, speak


def test_a_seed_speaks_the_same_for_ever_and_with_pauses() -> None:
    first = speak(4, 3.0)
    assert np.array_equal(first, speak(4, 3.0)) and len(first) == 48_000
    opened = mouth_track(normalise_level(first), 25.0, 75)[:, 0]
    assert opened.min() < 0.05 and opened.max() > 0.6


def test_speakers_vary_in_pitch_and_tract() -> None:
    voices = [draw_speaker(seed) for seed in range(40)]
    assert max(v.pitch for v in voices) > 1.6 * min(v.pitch for v in voices)
    assert all(70 <= v.pitch <= 330 for v in voices)


def test_levels_are_normalised_and_silence_stays_silent() -> None:
    quiet = 0.02 * speak(5, 2.0)
    assert abs(level_of(normalise_level(quiet)) + 20) < 0.1
    assert not normalise_level(np.zeros(16_000)).any()


def test_silence_shuts_the_mouth_and_gain_does_not_move_it() -> None:
    assert mouth_track(np.zeros(16_000), 25.0, 25).max() == 0
    sound = speak(6, 2.0)
    loud, soft = (mouth_track(normalise_level(g * sound), 25.0, 50) for g in (1.0, 0.1))
    assert np.allclose(loud, soft, atol=1e-6)


def test_a_part_of_a_track_has_the_mouth_of_the_whole() -> None:
    sound = normalise_level(speak(7, 4.0))
    whole = mouth_track(sound, 25.0, 90)
    part = mouth_track(sound, 25.0, 40, start_frame=30)
    assert np.allclose(whole[33:67], part[3:37])


def test_augmented_speech_keeps_its_length_and_its_rhythm() -> None:
    sound = normalise_level(speak(8, 4.0))
    for seed in range(4):
        heard = augment(sound, np.random.default_rng(seed))
        assert heard.shape == sound.shape and np.abs(heard).max() <= 1
        pair = [mouth_track(normalise_level(track), 25.0, 100)[:, 0] for track in (sound, heard)]
        assert np.corrcoef(*pair)[0, 1] > 0.75
