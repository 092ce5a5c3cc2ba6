"""Conversations with known turns, made from recordings of real speech: what benchmarks and tests are measured on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample

from tasks.plan.types import Turn
from tasks.speech.vad import SAMPLE_RATE

Samples = NDArray[np.float32]
UTTERANCE_SHARE = 0.35  # an utterance begins and ends this far up from a clip's quiet to its loud parts, in decibels


@dataclass(frozen=True)
class Recipe:
    """What a conversation is made of; decibels are relative to the speaker's own level."""

    seconds: float = 60.0
    overlap: float = 0.1  # share of the spoken time in which two speak
    bleed_db: float = -18.0  # a neighbour's voice in one's microphone
    snr_db: float = 30.0  # own speech over each microphone's own noise
    level_spread_db: float = 6.0  # microphones are set differently by up to this
    room_seconds: float = 0.0  # reverberation time of the bleed; 0: one delayed copy


@dataclass(frozen=True)
class Conversation:
    """Stems at 16 kHz with bleed and noise, the same without bleed, and the turns that are true."""

    stems: dict[str, Samples]
    clean: dict[str, Samples]
    turns: tuple[Turn, ...]


def trim_utterance(samples: Samples) -> Samples:
    """Return a clip without the quiet before and after its words."""
    hop = SAMPLE_RATE // 100
    frames = samples[: len(samples) // hop * hop].reshape(-1, hop)
    power = np.convolve(np.mean(frames.astype(np.float64) ** 2, axis=1), np.ones(5) / 5, mode="same")
    level = 10 * np.log10(power + 1e-12)
    quiet, top = np.percentile(level, (5, 95))
    loud = np.flatnonzero(level > quiet + UTTERANCE_SHARE * (top - quiet))
    return samples[loud[0] * hop : (loud[-1] + 1) * hop]


def another_speaker(samples: Samples, factor: float) -> Samples:
    """Return the clip with pitch and formants moved by `factor`, as a tape played faster: one more speaker."""
    return np.asarray(resample(samples, round(len(samples) / factor)), np.float32)


def _level(samples: Samples) -> float:
    return float(np.sqrt(np.mean(samples.astype(np.float64) ** 2)))


def _room(rng: np.random.Generator, seconds: float) -> NDArray[np.float64]:
    """Return an impulse response of unit energy: a delay of 1 to 12 ms, then a decaying tail of noise."""
    delay = int(rng.integers(SAMPLE_RATE // 1000, SAMPLE_RATE * 12 // 1000))
    if not seconds:
        return np.asarray(np.eye(1, delay + 1, delay)[0])
    times = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    tail = rng.standard_normal(len(times)) * 10 ** (-3 * times / seconds) * 0.02
    response = np.concatenate([np.zeros(delay), [1.0], tail])
    return np.asarray(response / np.sqrt(np.sum(response**2)))


def _convolve(samples: Samples, response: NDArray[np.float64]) -> NDArray[np.float64]:
    size = 1 << int(np.ceil(np.log2(len(samples) + len(response))))
    spectrum = np.fft.rfft(samples, size) * np.fft.rfft(response, size)
    return np.asarray(np.fft.irfft(spectrum, size)[: len(samples)], np.float64)


def _schedule(
    clips: Mapping[str, Sequence[Samples]], recipe: Recipe, rng: np.random.Generator
) -> list[tuple[int, str, int]]:
    """Return (first sample, speaker, clip index): speakers alternate at random, overlapping as often as asked."""
    names = list(clips)
    scheduled: list[tuple[int, str, int]] = []
    cursor, last, both, spoken = SAMPLE_RATE // 2, "", 0, 1
    while cursor < recipe.seconds * SAMPLE_RATE:
        speaker = names[int(rng.integers(len(names)))]
        if speaker == last and len(names) > 1:
            continue
        index = int(rng.integers(len(clips[speaker])))
        num_samples = len(clips[speaker][index])
        shared = 0
        if scheduled and both < recipe.overlap * spoken:
            longest = min(num_samples, len(clips[last][scheduled[-1][2]]), 2 * SAMPLE_RATE) // 2
            shared = int(rng.integers(longest // 2, longest))
            start = max(cursor - shared, scheduled[-1][0])
            if len(scheduled) > 1:  # never three at once
                before = scheduled[-2]
                start = max(start, before[0] + len(clips[before[1]][before[2]]))
            shared = cursor - start
        else:
            start = cursor + int(rng.uniform(0.1, 0.9) * SAMPLE_RATE)
        both, spoken = both + shared, spoken + num_samples - shared
        scheduled.append((start, speaker, index))
        cursor, last = start + num_samples, speaker
    return scheduled


def make_conversation(clips: Mapping[str, Sequence[Samples]], recipe: Recipe, seed: int) -> Conversation:
    """Return a conversation of the speakers in `clips` (name -> utterances at 16 kHz), the same for the same seed."""
    rng = np.random.default_rng(seed)
    trimmed = {name: [trim_utterance(clip) for clip in own] for name, own in clips.items()}
    trimmed = {name: [clip / _level(clip) * 0.05 for clip in own] for name, own in trimmed.items()}
    scheduled = _schedule(trimmed, recipe, rng)
    num_samples = max(start + len(trimmed[name][index]) for start, name, index in scheduled) + SAMPLE_RATE // 2
    voices = {name: np.zeros(num_samples, np.float32) for name in clips}
    turns = []
    for start, name, index in scheduled:
        clip = trimmed[name][index]
        voices[name][start : start + len(clip)] += clip
        turns.append(Turn(start / SAMPLE_RATE, (start + len(clip)) / SAMPLE_RATE, name))
    stems, clean = {}, {}
    for name, own in voices.items():
        gain = 10 ** (rng.uniform(-0.5, 0.5) * recipe.level_spread_db / 20)
        noise = rng.standard_normal(num_samples) * 0.05 * 10 ** (-recipe.snr_db / 20)
        heard = own + noise
        for other in voices:
            if other != name:
                bled = _convolve(voices[other], _room(rng, recipe.room_seconds))
                heard = heard + bled * 10 ** (recipe.bleed_db / 20)
        stems[name] = (gain * heard).astype(np.float32)
        clean[name] = (gain * own).astype(np.float32)
    return Conversation(stems, clean, tuple(sorted(turns)))
