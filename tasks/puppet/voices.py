"""Training speech: synthetic speakers by formant synthesis, their augmentation, and the mouth that a sound asks for.

Samples are 16 kHz float64 in -1..1. k harmonics, p control points (5 ms), n samples, f video frames.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.signal import butter, fftconvolve, sosfilt

from tasks.puppet.level import level_of, normalise_level

__all__ = ["RATE", "augment", "draw_speaker", "level_of", "mouth_track", "normalise_level", "speak"]
RATE = 16_000
_HOP = 80  # samples of a control point
Samples = NDArray[np.float64]
Track = NDArray[np.float64]

# F1, F2, F3 in Hz of an average adult
_VOWELS = {
    "a": (760, 1250, 2550), "e": (520, 1850, 2550), "i": (300, 2300, 3000), "o": (480, 900, 2450),
    "u": (330, 850, 2300),
    "ae": (680, 1720, 2450), "uh": (600, 1200, 2500), "er": (480, 1350, 1750), "ih": (400, 1950, 2600),
    "aw": (620, 950, 2500),
}  # fmt: skip
# voiced level, noise level, noise centre in Hz, seconds
_CONSONANTS = {
    "m": (0.24, 0.0, 500, 0.07), "n": (0.24, 0.0, 1500, 0.065), "l": (0.4, 0.0, 1200, 0.06),
    "r": (0.4, 0.0, 1300, 0.06),
    "w": (0.35, 0.0, 700, 0.06), "y": (0.38, 0.0, 2200, 0.055), "s": (0.0, 0.16, 5800, 0.1),
    "sh": (0.0, 0.2, 3200, 0.1),
    "f": (0.0, 0.05, 4500, 0.08), "v": (0.2, 0.04, 4000, 0.06), "z": (0.16, 0.1, 5500, 0.07),
    "h": (0.0, 0.05, 1500, 0.05),
    "p": (0.0, 0.0, 800, 0.08), "t": (0.0, 0.02, 4500, 0.07), "k": (0.0, 0.02, 2000, 0.08),
    "b": (0.06, 0.0, 600, 0.07), "d": (0.06, 0.0, 3500, 0.06), "g": (0.06, 0.0, 1800, 0.07), "": (1.0, 0.0, 1000, 0.0),
}  # fmt: skip


@dataclass(frozen=True)
class Speaker:
    """One synthetic voice."""

    pitch: float  # Hz
    tract: float  # formants times this: 1.2 a child, 0.9 a large man
    rate: float
    breath: float
    tilt: float  # dB per octave beyond the source's own
    melody: float


def draw_speaker(seed: int) -> Speaker:
    """Return the voice number `seed`; the same for ever."""
    rng = np.random.default_rng([seed, 31])
    tract = float(rng.uniform(0.88, 1.26))
    pitch = float(np.exp(rng.normal(np.log(105 * tract**3.4), 0.16)))
    return Speaker(
        float(np.clip(pitch, 70, 330)), tract, float(rng.uniform(0.8, 1.3)), float(rng.uniform(0.0, 0.06)),
        float(rng.uniform(-5, 1)), float(rng.uniform(0.04, 0.2)),
    )  # fmt: skip


def _phones(
    rng: Generator, voice: Speaker, seconds: float
) -> list[tuple[float, float, float, float, tuple[float, ...]]]:
    """Return (seconds, voiced, noise, noise centre, formants) of phrases with pauses."""
    names, vowels = list(_CONSONANTS), list(_VOWELS)
    found: list[tuple[float, float, float, float, tuple[float, ...]]] = []
    total, formants = 0.0, _VOWELS["uh"]
    while total < seconds:
        pause = float(rng.choice([rng.uniform(0.12, 0.5), rng.uniform(0.5, 1.6)]))
        found.append((pause, 0.0, 0.0, 1000.0, formants))
        total += pause
        for syllable in range(int(rng.integers(3, 14))):
            stress = float(rng.choice([0.55, 0.8, 1.0]) * rng.uniform(0.85, 1.1))
            onset = names[int(rng.integers(len(names)))]
            formants = _VOWELS[vowels[int(rng.integers(len(vowels)))]]
            level, noise, centre, length = _CONSONANTS[onset]
            parts = [(length * rng.uniform(0.8, 1.3), level * stress, noise, float(centre), formants)] if onset else []
            parts.append((rng.uniform(0.07, 0.16) * (0.75 + 0.5 * stress), stress, 0.0, 1000.0, formants))
            if rng.random() < 0.4:
                level, noise, centre, length = _CONSONANTS[names[int(rng.integers(len(names)))]]
                parts.append((0.8 * length, level * stress * 0.8, noise * 0.8, float(centre), formants))
            if syllable % 4 == 3:
                parts.append((float(rng.uniform(0.0, 0.09)), 0.0, 0.0, 1000.0, formants))
            found += [(max(0.01, part[0] / voice.rate), *part[1:]) for part in parts]
            total += sum(part[0] for part in parts) / voice.rate
    return found


def _controls(rng: Generator, voice: Speaker, seconds: float) -> NDArray[np.float64]:
    """Return voiced level, noise level, noise centre, F1, F2, F3 every 5 ms, smoothed: (p, 6)."""
    points = int(seconds * RATE / _HOP) + 1
    rows: list[NDArray[np.float64]] = []
    for length, level, noise, centre, formants in _phones(rng, voice, seconds):
        row = np.array([level, noise, centre, *(f * voice.tract for f in formants)])
        rows.append(np.repeat(row[None], max(1, round(length * RATE / _HOP)), axis=0))
    track = np.concatenate(rows)[:points]
    for columns, reach in ((slice(0, 2), 3), (slice(2, 6), 7)):
        kernel = np.hanning(2 * reach + 1)
        kernel /= kernel.sum()
        padded = np.pad(track[:, columns], ((reach, reach), (0, 0)), mode="edge")
        track[:, columns] = np.stack([np.convolve(column, kernel, mode="valid") for column in padded.T], axis=1)
    return track


def _gain(frequency: NDArray[np.float64], formants: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the vocal tract's gain at frequencies (p, k) for formants (p, 3)."""
    out = np.full_like(frequency, 0.006)
    for i, (width, level) in enumerate(((75.0, 1.0), (105.0, 0.5), (160.0, 0.25))):
        centre = formants[:, i : i + 1]
        out += level * width**2 / ((frequency - centre) ** 2 + width**2) * (1 + 0.2 * (frequency < centre))
    return out + 0.08 * np.exp(-(((frequency - 3600) / 500) ** 2))


def speak(seed: int, seconds: float, voice: Speaker | None = None) -> Samples:
    """Return babble of a synthetic speaker with pauses, peak about 0.5: (n,)."""
    voice = voice or draw_speaker(seed)
    rng = np.random.default_rng([seed, 32])
    track = _controls(rng, voice, seconds)
    points, count = len(track), int(seconds * RATE)
    times = np.arange(points)
    wander = np.cumsum(rng.normal(0, 1, points)) * 0.004
    melody = (
        voice.melody * np.sin(2 * np.pi * times * _HOP / RATE * rng.uniform(0.35, 0.8) + rng.uniform(0, 6))
        + wander
        - wander.mean()
    )
    pitch = voice.pitch * np.exp(np.clip(melody, -0.6, 0.6)) * (0.92 + 0.14 * track[:, 0])
    places = np.arange(count) / _HOP
    phase = 2 * np.pi * np.cumsum(np.interp(places, times, pitch)) / RATE
    harmonics = np.arange(1, int(min(4200 / voice.pitch, 40)) + 1)
    frequency = pitch[:, None] * harmonics
    gains = _gain(frequency, track[:, 3:6]) * (frequency / 500) ** (-0.5 + voice.tilt / 6) * track[:, :1]
    sound = np.zeros(count)
    for k, harmonic in enumerate(harmonics):
        sound += np.interp(places, times, gains[:, k]) * np.sin(harmonic * phase + 0.7 * k * k)
    noise = rng.normal(0, 1, count)
    low, high = (
        sosfilt(butter(2, band, "bandpass", fs=RATE, output="sos"), noise) for band in ((600, 3000), (2800, 7600))
    )
    share = np.clip((np.interp(places, times, track[:, 2]) - 1500) / 3000, 0, 1)
    hiss = np.interp(places, times, track[:, 1])
    breath = voice.breath * np.interp(places, times, track[:, 0])
    sound = sound / (np.abs(sound).max() + 1e-9) + 1.4 * hiss * (share * high + (1 - share) * low) + breath * low
    return np.asarray(0.5 * sound / (np.abs(sound).max() + 1e-9))


def mouth_track(samples: Samples, fps: float, num_frames: int, start_frame: int = 0) -> Track:
    """Return openness 0..1 and width -1..1 that a level-normalised track asks for: (f, 2).

    Openness follows the level of the speech band within 40 ms of the frame; width the balance of its upper and lower
    half ("ee" wide, "oo" round).
    """
    window = np.hanning(962)[1:-1]  # 60 ms
    centres = (np.round((start_frame + np.arange(num_frames)) * RATE / fps) + 0.5 * RATE / fps).astype(int)
    padded = np.pad(samples, (480, 480 + max(0, int(centres[-1]) + 480 - len(samples))))
    pieces = np.stack([padded[c : c + 960] for c in centres]) * window
    power = np.abs(np.fft.rfft(pieces, 1024, axis=1)) ** 2 / (window**2).sum()
    hertz = np.fft.rfftfreq(1024, 1 / RATE)

    def band(low: float, high: float) -> Track:
        return np.asarray(power[:, (hertz >= low) & (hertz < high)].sum(axis=1) / 512)

    speech, lower, upper = band(180, 3400), band(200, 1100), band(1400, 3400)
    opened = np.clip((10 * np.log10(speech + 1e-9) + 44) / 27, 0, 1) ** 1.35
    width = np.tanh(0.55 * (np.log10((upper + 1e-7) / (lower + 1e-7)) + 1.15) / 0.6)
    kernel = np.array([0.2, 0.6, 0.2])
    opened = np.convolve(np.pad(opened, 1, mode="edge"), kernel, mode="valid")
    width = np.convolve(np.pad(width * (opened > 0.04), 2, mode="edge"), np.full(5, 0.2), mode="valid")
    return np.stack([opened, width], axis=1)


def augment(samples: Samples, rng: Generator) -> Samples:
    """Return a track as a microphone in a room might give it: gain, tone, echo, noise."""
    sound = samples * 10 ** (rng.uniform(-4, 4) / 20)
    if rng.random() < 0.4:
        length = int(rng.uniform(0.04, 0.25) * RATE)
        echo = rng.normal(0, 1, length) * np.exp(-np.arange(length) / (0.25 * length)) * rng.uniform(0.02, 0.08)
        echo[0] = 1.0
        sound = fftconvolve(sound, echo)[: len(samples)]
    if rng.random() < 0.5:
        tone = butter(1, rng.uniform(200, 2500), "lowpass", fs=RATE, output="sos")
        share = rng.uniform(-0.6, 1.2)
        sound = sound + share * sosfilt(tone, sound)
    if rng.random() < 0.25:
        sound = sosfilt(
            butter(3, (rng.uniform(60, 300), rng.uniform(3300, 7500)), "bandpass", fs=RATE, output="sos"), sound
        )
    if rng.random() < 0.8:
        noise = rng.normal(0, 1, len(samples))
        colour = sosfilt(butter(1, rng.uniform(100, 6000), "lowpass", fs=RATE, output="sos"), noise)
        sound = sound + colour / (colour.std() + 1e-9) * 10 ** (rng.uniform(-85, -42) / 20)
    return np.clip(sound, -1, 1)
