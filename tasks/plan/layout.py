"""Where each shot lies on the episode's time line, in frames. Pure."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

from tasks.manifest.models import Manifest
from tasks.manifest.times import shot_spans
from tasks.plan.types import MediaFact


@dataclass(frozen=True)
class ShotRange:
    """Frames [start_frame, end_frame) of the episode."""

    start_frame: int
    end_frame: int

    @property
    def num_frames(self) -> int:
        return self.end_frame - self.start_frame


def frame_at(seconds: float, fps: float) -> int:
    """Return the frame nearest to a time; halves go up, so neighbouring shots, and the film, never disagree.

    A half is one within a millionth of a frame: 0.58 s at 25 fps are 14.5 frames, and 14.499999999999998 in floats.
    """
    return math.floor(round(seconds * fps, 6) + 0.5)


def lay_out(manifest: Manifest, facts: Mapping[str, MediaFact]) -> tuple[ShotRange, ...]:
    """Return every shot's frames: contiguous, and their sum is round(seconds x fps) of the whole.

    `facts` by the path as the manifest writes it. Raises: ValueError when a shot ends up without a frame or a known
    end (the manifest's rules refuse that first).
    """
    fps, spans = manifest.episode.fps, shot_spans(manifest, facts)
    if any(span.start_seconds is None or span.end_seconds is None for span in spans):
        raise ValueError("a shot's length is not known; give it a duration_seconds, or the episode a mix")
    edges = [frame_at(span.start_seconds or 0.0, fps) for span in spans] + [frame_at(spans[-1].end_seconds or 0.0, fps)]
    for shot, start_frame, end_frame in zip(manifest.shots, edges, edges[1:]):
        if end_frame <= start_frame:
            raise ValueError(
                f"shot {shot.id}: ends at frame {end_frame}, not after its start {start_frame}; give it a duration"
            )
    return tuple(ShotRange(a, b) for a, b in itertools.pairwise(edges))
