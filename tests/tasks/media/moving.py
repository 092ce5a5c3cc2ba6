"""Frames that say their own number, for tests that count and compare films."""

from pathlib import Path

import numpy as np
import soundfile

from tasks.encode import Container, PictureWriter
from tasks.stitch import ShotPicture

WIDTH, HEIGHT = 96, 64


def bars(first: int, count: int) -> np.ndarray:
    """Return frames (count, 64, 96, 3) with a white bar in the column of the frame's number, modulo the width."""
    frames = np.full((count, HEIGHT, WIDTH, 3), 30, np.uint8)
    for place in range(count):
        frames[place, :, (first + place) % WIDTH] = 255
    return frames


def numbers(gray: np.ndarray) -> np.ndarray:
    """Return the column of the bar of each decoded frame (n, 64, 96)."""
    return gray.mean(axis=1).argmax(axis=1)


def write_shots(folder: Path, lengths: tuple[int, ...], fps: float = 25, kind: Container = "mp4") -> list[ShotPicture]:
    """Write shots of so many frames each; the bar walks on from shot to shot."""
    shots, first = [], 0
    for index, length in enumerate(lengths):
        path = folder / f"shot-{index}.{kind}"
        with PictureWriter(path, WIDTH, HEIGHT, fps, kind) as writer:
            for start in range(0, length, 7):
                writer.write(bars(first + start, min(7, length - start)))
        shots.append(ShotPicture(path, length))
        first += length
    return shots


def write_tone(path: Path, num_samples: int, rate: int = 16_000, channels: int = 1, subtype: str = "PCM_16") -> None:
    """Write a tone that never repeats a phase within a second, another one per channel."""
    times = np.arange(num_samples) / rate
    tones = [0.3 * np.sin(2 * np.pi * 97.3 * (channel + 1) * times) for channel in range(channels)]
    soundfile.write(path, np.stack(tones, axis=1), rate, subtype=subtype)
