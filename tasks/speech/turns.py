"""Turns: who speaks from when to when, from one stem per speaker."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tasks.plan.types import Turn
from tasks.speech.features import BLOCK_FRAMES, StemFeatures, extract
from tasks.speech.gate import GateSettings, speaking
from tasks.speech.sound import Sound, sound_blocks, stem_blocks
from tasks.speech.vad import FRAME_SAMPLES, FRAME_SECONDS, SAMPLE_RATE


@dataclass(frozen=True)
class TurnSettings:
    """How frames become turns."""

    pause_seconds: float = 0.8  # shorter silences belong to the turn around them
    interrupted_pause_seconds: float = 0.25  # the same while somebody else speaks
    shortest_seconds: float = 0.16
    pad_seconds: float = 0.1  # breath before, release after
    gate: GateSettings = field(default_factory=GateSettings)


Span = tuple[float, float]


def _runs(active: NDArray[np.bool_]) -> list[Span]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], active.astype(np.int8), [0]])))
    return [(int(a) * FRAME_SECONDS, int(b) * FRAME_SECONDS) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _spoken(spans: Iterable[Span], start: float, end: float) -> bool:
    return any(a < end and b > start for a, b in spans)


def _join(spans: Sequence[Span], others: Sequence[Span], settings: TurnSettings) -> list[Span]:
    """Return spans with short pauses filled, blips dropped and edges padded."""
    joined: list[Span] = []
    for start, end in spans:
        if joined:
            last_end = joined[-1][1]
            busy = _spoken(others, last_end, start)
            if start - last_end < (settings.interrupted_pause_seconds if busy else settings.pause_seconds):
                joined[-1] = (joined[-1][0], end)
                continue
        joined.append((start, end))
    return [span for span in joined if span[1] - span[0] >= settings.shortest_seconds]


def turns_from_activity(
    names: Sequence[str], active: NDArray[np.bool_], seconds: float, settings: TurnSettings = TurnSettings()
) -> tuple[Turn, ...]:
    """Return turns from frames (s, t) of 32 ms in which each name speaks, within 0..`seconds`."""
    runs = [_runs(row) for row in active]
    turns = []
    for index, name in enumerate(names):
        others = [span for other, spans in enumerate(runs) if other != index for span in spans]
        for start, end in _join(runs[index], others, settings):
            begin, finish = max(0.0, start - settings.pad_seconds), min(seconds, end + settings.pad_seconds)
            if finish <= begin:
                continue
            turns.append(Turn(round(begin, 3), round(finish, 3), name))
    return tuple(sorted(turns))


def stem_features(stems: Mapping[str, Sound]) -> StemFeatures:
    """Return what the gate needs of the stems, read block by block: one hour of four stems stays under 1 GB."""
    blocks = stem_blocks(stems, BLOCK_FRAMES * FRAME_SAMPLES)
    return extract(tuple(stems), blocks)


def turns_from_stems(
    stems: Mapping[str, Sound], mix: Sound | None = None, settings: TurnSettings = TurnSettings()
) -> tuple[Turn, ...]:
    """Return who speaks when, in order of time; overlaps are kept, bleed from other stems is not speech.

    `stems` maps a character to its track: a file, or 16 kHz mono samples. Where the mix is given, the film ends with
    it, and so do the turns. Raises: MediaError when a file cannot be read.
    """
    features = stem_features(stems)
    active = speaking(features, settings.gate)
    seconds = features.num_samples / SAMPLE_RATE
    if mix is not None:
        seconds = min(seconds, sum(map(len, sound_blocks(mix, BLOCK_FRAMES * FRAME_SAMPLES))) / SAMPLE_RATE)
    return turns_from_activity(features.names, active, seconds, settings)


def plain_turns(features: StemFeatures, settings: TurnSettings = TurnSettings()) -> tuple[Turn, ...]:
    """Return turns from voice activity alone, without the gate: what the benchmark compares with."""
    active = features.probability > settings.gate.probability_on
    return turns_from_activity(features.names, active, features.num_samples / SAMPLE_RATE, settings)
