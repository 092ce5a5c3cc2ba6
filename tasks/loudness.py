"""Integrated loudness of a sound file (ITU-R BS.1770-4), and the one gain that brings it to a target."""

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tasks.errors import MediaError
from tasks.sound import sound_blocks, sound_facts

PEAK_LIMIT = 10 ** (-1 / 20)  # -1 dBFS: no limiter, so a gain stops here
_STEP_SECONDS = 0.1  # blocks of 0.4 s, every 0.1 s
_SURROUND_WEIGHTS = (1.0, 1.0, 1.0, 0.0, 1.41, 1.41)  # left, right, centre, LFE, surrounds


def k_weighting(sample_rate: int) -> npt.NDArray[np.float64]:
    """Return the two filter sections of BS.1770 for any sample rate: (2, 6) second-order sections."""
    shelf = _biquad(1681.974450955533, 0.7071752369554196, 3.999843853973347, sample_rate, shelf=True)
    highpass = _biquad(38.13547087602444, 0.5003270373238773, 0.0, sample_rate, shelf=False)
    return np.array([shelf, highpass])


def _biquad(hertz: float, q: float, gain_db: float, sample_rate: int, *, shelf: bool) -> list[float]:
    k = math.tan(math.pi * hertz / sample_rate)
    a0 = 1 + k / q + k * k
    a1, a2 = 2 * (k * k - 1) / a0, (1 - k / q + k * k) / a0
    if not shelf:
        return [1.0, -2.0, 1.0, 1.0, a1, a2]
    vh = 10 ** (gain_db / 20)
    vb = vh**0.4996667741545416
    return [(vh + vb * k / q + k * k) / a0, 2 * (k * k - vh) / a0, (vh - vb * k / q + k * k) / a0, 1.0, a1, a2]


def measure(path: Path) -> tuple[float, float]:
    """Return integrated loudness in LUFS (-inf for silence) and the sample peak 0..1, one block in memory."""
    from scipy.signal import sosfilt  # a fifth of what a worker imports, and few films ask for a loudness

    facts = sound_facts(path)
    step = round(facts.sample_rate * _STEP_SECONDS)
    weights = np.array(_SURROUND_WEIGHTS[: facts.channels] if facts.channels == 6 else [1.0] * facts.channels)
    sections, peak, energies = k_weighting(facts.sample_rate), 0.0, []
    state = np.zeros((len(sections), 2, facts.channels))
    for block in sound_blocks(path, "float64", step * 64):
        peak = max(peak, float(np.abs(block).max()))
        filtered, state = sosfilt(sections, block, axis=0, zi=state)
        whole = filtered[: len(filtered) // step * step].reshape(-1, step, facts.channels)
        energies.append((whole**2).mean(axis=1) @ weights)
    return _gated(np.concatenate(energies)), peak


def _gated(steps: npt.NDArray[np.float64]) -> float:
    """Return the loudness of 0.1 s energies after the absolute gate (-70) and the relative one (-10)."""
    blocks = np.convolve(steps, np.full(4, 0.25), "valid") if len(steps) >= 4 else np.zeros(0)
    heard = blocks[blocks > 10 ** ((-70 + 0.691) / 10)]
    if not len(heard):
        return -math.inf
    loud = heard[heard > heard.mean() / 10]
    return float(-0.691 + 10 * np.log10(loud.mean()))


def gain_to(path: Path, target_lufs: float) -> float:
    """Return the factor that brings the sound to the target, or as near as its peaks allow.

    Raises: MediaError for silence, which no gain makes louder.
    """
    loudness, peak = measure(path)
    if math.isinf(loudness):
        raise MediaError(f"{path.name} is silent, it cannot be brought to {target_lufs} LUFS; leave loudness_lufs out")
    wanted = float(10 ** ((target_lufs - loudness) / 20))
    return min(wanted, PEAK_LIMIT / peak) if wanted > 1 else wanted
