"""What the gate looks at: per stem and frame of 32 ms, the probability of speech and the power in ten bands.

Stems are read in blocks, so that hours of them need megabytes. s stems, t frames, b bands.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from tasks.speech.vad import FRAME_SAMPLES, SAMPLE_RATE, load_vad

Array = NDArray[np.float32]

BLOCK_FRAMES = 512  # 16.4 s
BAND_EDGES_HZ = (120, 250, 400, 600, 850, 1200, 1700, 2400, 3300, 4600, 7000)
HEARING_LEVEL = 0.1  # the activity network was trained on speech at about this peak level
MOST_GAIN = 100.0


@dataclass(frozen=True)
class StemFeatures:
    """`probability` (s, t) 0..1; `power` (s, t, b), mean squares by band; `peak` (s, t), largest absolute sample."""

    names: tuple[str, ...]
    probability: Array
    power: Array
    peak: Array
    num_samples: int


def _band_matrix() -> Array:
    """Return (257, b): which bins of a 512-point spectrum belong to which band."""
    hertz = np.arange(FRAME_SAMPLES // 2 + 1) * SAMPLE_RATE / FRAME_SAMPLES
    bands = [(hertz >= low) & (hertz < high) for low, high in pairwise(BAND_EDGES_HZ)]
    return np.stack(bands, axis=1).astype(np.float32)


def _band_power(samples: Array) -> Array:
    """Return (s, t, b) for samples (s, 256 + 512 t): two Hann windows a frame, the first 256 samples are context."""
    half = FRAME_SAMPLES // 2
    window = np.hanning(FRAME_SAMPLES + 1)[:-1].astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(samples, FRAME_SAMPLES, axis=1)[:, ::half]  # (s, 2t, 512)
    spectrum = torch.fft.rfft(torch.from_numpy(frames * window)).numpy()
    power = (np.abs(spectrum) ** 2) @ _band_matrix() / (FRAME_SAMPLES * np.sum(window**2))
    num_frames = (samples.shape[1] - half) // FRAME_SAMPLES
    pairs = power[:, : 2 * num_frames].reshape(samples.shape[0], num_frames, 2, -1)
    return np.asarray(pairs.mean(axis=2), np.float32)


def extract(names: tuple[str, ...], blocks: Iterable[Array]) -> StemFeatures:
    """Return the features of stems that arrive as blocks (s, n) of 16 kHz samples, each but the last 512 x 512 long."""
    network = load_vad()
    state = network.start(len(names))
    context = np.zeros((len(names), FRAME_SAMPLES // 2), np.float32)
    loudest = np.full((len(names), 1), 1e-6, np.float32)
    probabilities, powers, peaks, num_samples = [], [], [], 0
    for block in blocks:
        num_samples += block.shape[1]
        samples = np.pad(block, ((0, 0), (0, -block.shape[1] % FRAME_SAMPLES)))
        peak = np.abs(samples.reshape(len(names), -1, FRAME_SAMPLES)).max(axis=2)
        # follows the stem's own level: a stem recorded 30 dB too low is heard as well as the others
        loudest = np.maximum(loudest * 0.7, np.percentile(peak, 95, axis=1, keepdims=True).astype(np.float32))
        gain = np.clip(HEARING_LEVEL / loudest, 0.0, MOST_GAIN)
        with torch.inference_mode():
            probability, state = network(torch.from_numpy(samples * gain), state)
        powers.append(_band_power(np.concatenate([context, samples], axis=1)))
        probabilities.append(probability.numpy())
        peaks.append(peak)
        context = samples[:, -FRAME_SAMPLES // 2 :]
    if not probabilities:
        empty = np.zeros((len(names), 0), np.float32)
        return StemFeatures(names, empty, np.zeros((*empty.shape, len(BAND_EDGES_HZ) - 1), np.float32), empty, 0)
    return StemFeatures(
        names,
        np.concatenate(probabilities, axis=1),
        np.concatenate(powers, axis=1),
        np.concatenate(peaks, axis=1),
        num_samples,
    )
