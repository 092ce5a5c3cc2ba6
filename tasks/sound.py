"""The film's sound as a stream: the studio's mix as it is, or the stems summed up where there is none."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import soundfile

from tasks.errors import MediaError

log = logging.getLogger(__name__)

Samples = npt.NDArray[Any]  # (samples, channels)
SampleType = Literal["int16", "int32", "float32", "float64"]
_EXACT: dict[str, SampleType] = {
    "PCM_U8": "int16", "PCM_S8": "int16", "PCM_16": "int16", "PCM_24": "int32", "PCM_32": "int32",
    "FLOAT": "float32", "DOUBLE": "float64",
}  # fmt: skip
BLOCK = 1 << 16
_RF64_FROM_BYTES = 4_000_000_000  # a plain WAV cannot say a longer length


@dataclass(frozen=True)
class SoundFacts:
    """What a file holds; `exact` is the smallest type that takes its samples unchanged."""

    sample_rate: int
    channels: int
    num_samples: int
    subtype: str
    exact: SampleType


def sound_facts(path: Path) -> SoundFacts:
    """Return what a sound file holds. Raises MediaError when it cannot be opened."""
    try:
        info = soundfile.info(path)
    except soundfile.LibsndfileError as exc:
        raise MediaError(f"{path.name} cannot be opened as sound ({exc}); export it again as WAV or FLAC") from exc
    if info.subtype not in _EXACT:
        raise MediaError(f"{path.name} is compressed inside ({info.subtype}); export it as PCM WAV or FLAC")
    return SoundFacts(info.samplerate, info.channels, info.frames, info.subtype, _EXACT[info.subtype])


def sound_blocks(path: Path, dtype: SampleType, block: int = BLOCK) -> Iterator[Samples]:
    """Yield the file's samples in order, (n, channels), n <= block. Integers and floats convert as libsndfile does."""
    with soundfile.SoundFile(path) as sound:
        while len(samples := sound.read(block, dtype=dtype, always_2d=True)):
            yield samples


@dataclass(frozen=True)
class PlacedStem:
    """A stem and when it begins in the episode."""

    path: Path
    start_seconds: float = 0.0


def sum_stems(stems: Sequence[PlacedStem], num_samples: int, out: Path) -> None:
    """Write the stems' sum as float WAV, `num_samples` long, one block in memory. Lowered as a whole if it would clip.

    Raises: MediaError when the stems' sample rates differ, for then no sum is exact.
    """
    facts = [sound_facts(stem.path) for stem in stems]
    rates = sorted({fact.sample_rate for fact in facts})
    if len(rates) != 1:
        raise MediaError(f"the stems have sample rates {rates}, a sum needs one; resample them or give audio.mix")
    channels = max(fact.channels for fact in facts)
    peak = _write_sum(stems, num_samples, rates[0], channels, 1.0, out)
    if peak > 1.0:
        log.warning("sum of stems lowered", extra={"peak": peak, "out": out.name})
        _write_sum(stems, num_samples, rates[0], channels, 0.999 / peak, out)


def _write_sum(
    stems: Sequence[PlacedStem], num_samples: int, rate: int, channels: int, gain: float, out: Path
) -> float:
    container = "RF64" if num_samples * channels * 4 > _RF64_FROM_BYTES else "WAV"
    sources = [(soundfile.SoundFile(stem.path), round(stem.start_seconds * rate)) for stem in stems]
    peak = 0.0
    try:
        with soundfile.SoundFile(out, "w", rate, channels, "FLOAT", format=container) as target:
            for first in range(0, num_samples, BLOCK):
                total = np.zeros((min(BLOCK, num_samples - first), channels))
                for source, start in sources:
                    _add(total, source, first - start)
                peak = max(peak, float(np.abs(total).max()))
                target.write((total * gain).astype(np.float32))
    finally:
        for source, _ in sources:
            source.close()
    return peak


def _add(total: Samples, source: soundfile.SoundFile, first: int) -> None:
    """Add the source's samples from `first` on (negative: it begins later) to a block; mono goes to every channel."""
    skip = max(0, -first)
    if skip >= len(total) or first + skip >= source.frames:
        return
    source.seek(first + skip)
    samples = source.read(len(total) - skip, dtype="float64", always_2d=True)
    total[skip : skip + len(samples)] += samples
