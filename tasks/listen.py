"""Stems as the network hears them: 16 kHz mono 16-bit, cut to shots, one shot in memory at a time."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.plan.layout import ShotRange
from tasks.speech.sound import sound_blocks

SAMPLE_RATE = 16_000
Samples = NDArray[np.int16]


def stream_samples(path: Path) -> Iterator[Samples]:
    """Yield a sound file's samples as 16 kHz mono int16 blocks; memory does not depend on its length.

    Raises: MediaError when the file cannot be decoded.
    """
    for block in sound_blocks(path, 10 * SAMPLE_RATE):
        yield np.rint(block * 32767).clip(-32768, 32767).astype(np.int16)


def cut(blocks: Iterable[Samples], ranges: Sequence[tuple[int, int]]) -> Iterator[Samples]:
    """Yield the samples of each half-open range, zeros past the sound's end; ranges ascend without overlap."""
    source, rest, position = iter(blocks), np.zeros(0, np.int16), 0
    for start, end in ranges:
        parts = []
        while position < end:
            if not len(rest):
                block = next(source, None)
                if block is None:
                    break
                rest = block
            keep = rest[: end - position]
            parts.append(keep[max(0, start - position) :])
            position, rest = position + len(keep), rest[len(keep) :]
        found = np.concatenate(parts) if parts else np.zeros(0, np.int16)
        yield np.pad(found, (0, end - start - len(found)))


def sample_ranges(ranges: Sequence[ShotRange], fps: float) -> list[tuple[int, int]]:
    """Return each shot's half-open range of 16 kHz samples."""
    per_frame = SAMPLE_RATE / fps
    return [(round(shot.start_frame * per_frame), round(shot.end_frame * per_frame)) for shot in ranges]


def silence(num_samples: int) -> Samples:
    """Return a silent speaker's track: encoded as silence, not the zeros that guidance uses."""
    return np.zeros(num_samples, np.int16)


def digest_samples(samples: Samples) -> str:
    """Return the SHA-256 of samples as they are stored (little-endian int16)."""
    return hashlib.sha256(samples.astype("<i2", copy=False).tobytes()).hexdigest()
