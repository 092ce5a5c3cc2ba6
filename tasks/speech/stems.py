"""Stems made from a mix and its turns: each character's turns with soft edges, encoded silence everywhere else."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.plan.types import Turn
from tasks.speech.sound import Sound, sound_blocks
from tasks.speech.vad import SAMPLE_RATE

EDGE_SECONDS = 0.03
BLOCK_SAMPLES = 30 * SAMPLE_RATE
Samples = NDArray[np.float32]


def gate_gain(
    turns: Iterable[Turn], first_sample: int, num_samples: int, edge_seconds: float = EDGE_SECONDS
) -> Samples:
    """Return the gain 0..1 of samples [first, first + num): 1 inside turns, half a cosine down outside their edges."""
    gain = np.zeros(num_samples, np.float32)
    edge = max(1, round(edge_seconds * SAMPLE_RATE))
    positions = np.arange(first_sample, first_sample + num_samples)
    for turn in turns:
        start, end = round(turn.start_seconds * SAMPLE_RATE), round(turn.end_seconds * SAMPLE_RATE)
        low, high = max(start - edge - first_sample, 0), min(end + edge - first_sample, num_samples)
        if low >= high:
            continue
        here = positions[low:high]
        outside = np.maximum(np.maximum(start - here, here - (end - 1)), 0)
        own = 0.5 + 0.5 * np.cos(np.pi * np.minimum(outside / edge, 1))
        gain[low:high] = np.maximum(gain[low:high], own.astype(np.float32))
    return gain


def gated_blocks(sound: Sound, turns: Sequence[Turn], character: str) -> Iterator[Samples]:
    """Yield a character's part of a sound as blocks of 16 kHz samples; as long as the sound, zeros where it is silent.

    Zeros are encoded like any sound: a silent character's track is silence, not the absence of a track.
    """
    own = [turn for turn in turns if turn.character == character]
    position = 0
    for block in sound_blocks(sound, BLOCK_SAMPLES):
        yield block * gate_gain(own, position, len(block))
        position += len(block)


def write_gated_stems(sound: Sound, turns: Sequence[Turn], folder: Path) -> dict[str, Path]:
    """Write NAME.wav (16 kHz, 16 bit) for every character with a turn; return the files. The sound itself is untouched.

    Raises: MediaError when the sound cannot be read.
    """
    import soundfile

    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for character in sorted({turn.character for turn in turns}):
        written[character] = folder / f"{character}.wav"
        with soundfile.SoundFile(written[character], "w", SAMPLE_RATE, 1, "PCM_16") as out:
            for block in gated_blocks(sound, turns, character):
                out.write(block)
    return written
