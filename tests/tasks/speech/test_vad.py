"""The batched activity network against the wheel's own runner."""

import warnings
from pathlib import Path

import numpy as np
import torch

from tasks.speech.sound import read_sound
from tasks.speech.vad import FRAME_SAMPLES, load_vad

DATA = Path(__file__).parents[2] / "data" / "speech"


def speech_probability(samples):
    """Return the probability of speech (s, t) in whole tracks (s, n); the last frame is filled with zeros."""
    padded = np.pad(samples, ((0, 0), (0, -samples.shape[1] % FRAME_SAMPLES)))
    network = load_vad()
    with torch.inference_mode():
        return network(torch.from_numpy(padded), network.start(len(padded)))[0].numpy()


def test_probabilities_are_the_wheels_own():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from silero_vad import load_silero_vad

        wheel = load_silero_vad()
    samples = read_sound(DATA / "reader_not_ill_disposed.wav")
    expected = wheel.audio_forward(torch.from_numpy(samples)[None], 16_000)[0].numpy()
    np.testing.assert_allclose(speech_probability(samples[None])[0], expected, atol=1e-5)


def test_blocks_and_batches_give_what_one_piece_gives():
    a, b = (read_sound(DATA / f"{name}.wav")[: 60 * FRAME_SAMPLES] for name in ("caller_numbers", "reader_had_leisure"))
    both = np.stack([a, b])
    network, parts = load_vad(), []
    state = network.start(2)
    for start in range(0, 60, 16):
        block = torch.from_numpy(both[:, start * FRAME_SAMPLES : (start + 16) * FRAME_SAMPLES])
        probability, state = network(block, state)
        parts.append(probability.numpy())
    np.testing.assert_allclose(np.concatenate(parts, axis=1), speech_probability(both), atol=1e-5)
    np.testing.assert_allclose(speech_probability(a[None])[0], speech_probability(both)[0], atol=1e-5)


def test_nothing_is_heard_in_nothing():
    assert speech_probability(np.zeros((1, 16_000), np.float32)).max() < 0.3
