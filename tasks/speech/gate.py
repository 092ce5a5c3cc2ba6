"""Who really speaks in each frame: voice activity, and louder than what bleeds in from the other microphones.

A neighbour's voice is in every microphone, and voice activity alone hears it there. So the gate learns from the
recording itself how loud each stem's voice arrives in each other stem, band by band, predicts the bleed of every
frame, and lets a character speak only where its stem is near its own speech level and clearly above noise plus
prediction. s stems, t frames, b bands; powers are mean squares, levels decibels.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tasks.speech.features import StemFeatures

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class GateSettings:
    """Where the gate opens; the defaults come from scripts/bench_turns.py."""

    probability_on: float = 0.5
    probability_off: float = 0.3
    excess_on_db: float = 4.0  # mean over bands, each counted up to most_band_db, over noise and predicted bleed
    excess_off_db: float = 2.0
    most_band_db: float = 12.0
    bleed_weight: float = 3.0  # how soon predicted bleed counts beside the noise
    below_own_db: float = 24.0  # how far under its own speech level a character still speaks
    tail_db: float = 6.0  # a room lets the bleed fall by this much a frame
    floor_seconds: float = 90.0
    least_power: float = 1e-10
    rounds: int = 3


def _decibels(power: Array) -> Array:
    return np.asarray(10 * np.log10(np.maximum(power, 1e-14)), np.float32)


def _smooth(power: Array) -> Array:
    """Return the power averaged over neighbouring frames (1, 2, 1): a delay of some milliseconds does no harm."""
    padded = np.pad(power, ((0, 0), (1, 1), (0, 0)), mode="edge")
    return np.asarray((padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]) / 4, np.float32)


def noise_floor(power: Array, frames_per_section: int, least_power: float) -> Array:
    """Return the noise power (s, t, b): per section the tenth percentile, raised to a mean, interpolated."""
    num_frames = power.shape[1]
    num_sections = max(1, round(num_frames / frames_per_section))
    edges = np.linspace(0, num_frames, num_sections + 1).astype(int)
    levels = np.stack([np.percentile(power[:, a:b], 10, axis=1) for a, b in pairwise(edges)], axis=1)
    centres = (edges[:-1] + edges[1:]) / 2
    right = np.searchsorted(centres, np.arange(num_frames)).clip(0, num_sections - 1)
    left = (right - 1).clip(0)
    span = np.maximum(centres[right] - centres[left], 1)
    share = np.clip((np.arange(num_frames) - centres[left]) / span, 0, 1).astype(np.float32)[None, :, None]
    return np.asarray(1.5 * (levels[:, left] * (1 - share) + levels[:, right] * share) + least_power, np.float32)


def _own_level(level: Array, speech: Mask) -> Array:
    """Return each stem's speech level (s,) in dB: a high percentile over `speech`, -inf where there is none."""
    return np.array(
        [np.percentile(level[i][speech[i]], 90) if speech[i].sum() >= 8 else -np.inf for i in range(len(level))]
    )


def _dominant(level: Array, own: Array) -> Mask:
    """Return where a stem is the loudest relative to its own speech level, and near it (s, t)."""
    relative = level - np.where(np.isfinite(own), own, np.inf)[:, None]
    return np.asarray((relative >= relative.max(axis=0)) & (relative > -15))


def _transfer(heard: Array, voice: Array, alone: Mask) -> Array:
    """Return gains (s, s, b): median power of stem i's sound per power of stem j's voice while only j speaks."""
    num_stems, _, num_bands = voice.shape
    gains = np.zeros((num_stems, num_stems, num_bands), np.float32)
    for j in range(num_stems):
        for band in range(num_bands):
            source = voice[j, :, band]
            if alone[j].sum() < 8:
                continue
            frames = alone[j] & (source >= np.percentile(source[alone[j]], 50)) & (source > 0)
            if frames.any():
                gains[:, j, band] = np.median(heard[:, frames, band] / source[frames], axis=1)
        gains[j, j] = 0
    return gains


def _echoes(gains: Array) -> Mask:
    """Return (s,): stems that only repeat another stem's voice.

    Whatever the microphones' gains are, the product of the two gains between two speakers is small: the bleed of one
    times the bleed of the other. Near 1 it says that the two stems hold one voice; the quieter is the echo.
    """
    total = gains.mean(axis=2)
    product = total * total.T
    return np.asarray(np.any((product > 0.15) & (total < total.T), axis=1))


def _bleed(voice: Array, gains: Array, tail: float) -> Array:
    """Return the predicted bleed power (s, t, b), falling by the factor `tail` a frame at most."""
    predicted: Array = np.einsum("ijb,jtb->itb", gains, voice)
    for frame in range(1, predicted.shape[1]):
        np.maximum(predicted[:, frame], tail * predicted[:, frame - 1], out=predicted[:, frame])
    return predicted


def _hysteresis(on: Mask, stay: Mask) -> Mask:
    """Return runs of `stay` (s, t) that hold at least one frame of `on`."""
    result = np.zeros_like(on)
    for row, (start, hold) in enumerate(zip(on, stay | on, strict=True)):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], hold.view(np.int8), [0]])))
        for a, b in zip(edges[::2], edges[1::2], strict=True):
            result[row, a:b] = start[a:b].any()
    return result


def speaking(features: StemFeatures, settings: GateSettings = GateSettings()) -> Mask:
    """Return (s, t): the frames in which each stem's own character speaks; overlaps are kept."""
    if not features.probability.size:
        return np.zeros(features.probability.shape, bool)
    power = _smooth(features.power)
    frames_per_section = round(settings.floor_seconds * 16_000 / 512)
    floor = noise_floor(power, frames_per_section, settings.least_power)
    voice = np.maximum(power - floor, 0)
    level = _decibels(voice.sum(axis=2))
    heard = (features.probability > settings.probability_on) & (power.sum(axis=2) > 2 * floor.sum(axis=2))
    own = _own_level(level, heard)
    alone = _dominant(level, own) & heard
    tail = 10 ** (-settings.tail_db / 10)
    active: Mask = heard
    for _ in range(settings.rounds):
        gains, most = _transfer(voice, voice, alone), _transfer(np.maximum(power - floor / 1.5, 0), voice, alone)
        echo = _echoes(gains)
        if echo.any():
            gains[:, echo] = most[:, echo] = 0
            own[echo] = -np.inf
        bleed = _bleed(voice, gains, tail)
        excess = np.clip(_decibels(power) - _decibels(floor + bleed), 0, settings.most_band_db).mean(axis=2)
        # under the noise no bleed is heard as speech: there voice activity is enough
        suspected = _bleed(voice, most, tail)
        heard_bleed = np.minimum(1, settings.bleed_weight * (suspected / (floor + suspected)).mean(axis=2))
        near = level > np.where(np.isfinite(own), own, np.inf)[:, None] - settings.below_own_db
        on = near & (excess >= settings.excess_on_db * heard_bleed) & (features.probability > settings.probability_on)
        stay = (
            near & (excess >= settings.excess_off_db * heard_bleed) & (features.probability > settings.probability_off)
        )
        active = _hysteresis(on, stay)
        own = np.where(np.isfinite(own), _own_level(level, active), -np.inf)
        alone = active & (active.sum(axis=0) == 1)
    return active
