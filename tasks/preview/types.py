"""What the preview page is made from: plain values, gathered once."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.plan.cost import Cost
from tasks.plan.types import MediaFact, Plan

PEAKS_PER_SECOND = 31.25  # one peak per 512 samples at 16 kHz
Image = NDArray[np.uint8]


@dataclass(frozen=True)
class VoiceTrack:
    """One sound file of one character on the episode's time line: largest absolute sample per 32 ms."""

    character: str
    file: str
    start_seconds: float
    peaks: NDArray[np.float32]


@dataclass(frozen=True)
class Notice:
    """Something to look at before rendering: where, when, and one sentence with what to do."""

    rule: str
    shot: str
    character: str
    start_seconds: float
    end_seconds: float
    text: str


@dataclass(frozen=True)
class Preview:
    """Everything the page shows. `plates` by shot id; `names` from character key to the name for people."""

    plan: Plan
    names: Mapping[str, str]
    plates: Mapping[str, Image]
    tracks: tuple[VoiceTrack, ...]
    media: Mapping[str, MediaFact]
    costs: tuple[Cost, ...]
    notices: tuple[Notice, ...]
