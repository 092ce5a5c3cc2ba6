"""A signature of a voice from its spectrum and pitch: enough to tell a cast apart, not to identify anybody. Pure."""

import numpy as np
from numpy.typing import NDArray

from tasks.speech.vad import SAMPLE_RATE

SPECTRAL_LEAST, SPECTRAL_MARGIN = 0.3, 0.06
FRAME, HOP, NUM_BANDS = 1024, 512, 26
LOW_PITCH, HIGH_PITCH = 70, 400  # Hz


def _bands() -> NDArray[np.float64]:
    """Return (513, 26) triangular bands, equally wide on the mel scale from 100 to 7000 Hz."""
    mel = np.linspace(2595 * np.log10(1 + 100 / 700), 2595 * np.log10(1 + 7000 / 700), NUM_BANDS + 2)
    edges = 700 * (10 ** (mel / 2595) - 1)
    hertz = np.arange(FRAME // 2 + 1)[:, None] * SAMPLE_RATE / FRAME
    rise = (hertz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - hertz) / (edges[2:] - edges[1:-1])
    return np.clip(np.minimum(rise, fall), 0, None)


def spectral_voiceprint(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return (53,): shape and spread of the voiced spectrum in decibels, and twice the octave of the pitch."""
    padded = np.pad(samples.astype(np.float64), (0, max(0, FRAME - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, FRAME)[::HOP] * np.hanning(FRAME)
    spectrum = np.abs(np.fft.rfft(frames)) ** 2
    power = spectrum.sum(axis=1)
    loud = power > np.percentile(power, 40)
    spectrum = spectrum[loud] if loud.any() else spectrum
    level = 10 * np.log10(spectrum @ _bands() + 1e-10)
    shape = level.mean(axis=0) - level.mean()
    echo = np.fft.irfft(spectrum)
    shortest, longest = SAMPLE_RATE // HIGH_PITCH, SAMPLE_RATE // LOW_PITCH
    period = shortest + np.argmax(echo[:, shortest:longest], axis=1)
    octave = np.median(np.log2(SAMPLE_RATE / period / 100))
    return np.concatenate([shape, level.std(axis=0) - level.std(axis=0).mean(), [12.0 * octave]])


def voice_likeness(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return how alike two voiceprints are: for this module's by distance (1 the same), for embeddings the cosine."""
    if len(a) == len(b) == 2 * NUM_BANDS + 1:
        return float(0.5 ** (np.sqrt(np.mean((a - b) ** 2)) / 4))
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b) + 1e-12))
