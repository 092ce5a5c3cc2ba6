"""The level of speech in a track: the small network hears every stem at the level it was trained at."""

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.floating]


def level_of(samples: Samples) -> float:
    """Return the level of the speech in a track in dBFS, pauses left out; -120 for silence."""
    whole = samples[: len(samples) // 320 * 320].reshape(-1, 320)
    power = (whole**2).mean(axis=1) if len(whole) else np.zeros(1)
    active = power[power > max(float(power.max()) * 10**-2.5, 1e-12)]
    return float(10 * np.log10(active.mean())) if len(active) else -120.0


def normalise_level(samples: Samples, decibel: float = -20.0) -> Samples:
    """Return a track whose speech has the level that the network was trained at; silence stays silence."""
    level = level_of(samples)
    return samples if level < -70 else samples * 10 ** ((decibel - level) / 20)
