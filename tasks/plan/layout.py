"""Where each shot lies on the episode's time line, in frames. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from tasks.manifest.models import Manifest


@dataclass(frozen=True)
class ShotRange:
    """Frames [start_frame, end_frame) of the episode."""

    start_frame: int
    end_frame: int

    @property
    def num_frames(self) -> int:
        return self.end_frame - self.start_frame


def frame_at(seconds: float, fps: float) -> int:
    """Return the frame nearest to a time; halves go up, so neighbouring shots never disagree."""
    return int(seconds * fps + 0.5)


def lay_out(manifest: Manifest, audio_seconds: float, own_seconds: Mapping[str, float]) -> tuple[ShotRange, ...]:
    """Return every shot's frames; a shot lasts its duration, else to the next one's start, its own stems' or the sound's end.

    `audio_seconds` is the length of the mix, or of the longest stem; `own_seconds` by shot id the length of the
    longest stem that belongs to that shot alone. The ranges are contiguous, and their sum is round(seconds x fps).
    Raises: ValueError when a shot ends up without a frame (the manifest's rules refuse that first).
    """
    fps = manifest.episode.fps
    starts: list[float] = []
    cursor = 0.0
    for shot in manifest.shots:
        start = cursor if shot.start_seconds is None else shot.start_seconds
        starts.append(start)
        cursor = start + (shot.duration_seconds or own_seconds.get(shot.id, 0.0))
    last = manifest.shots[-1]
    end = audio_seconds if last.duration_seconds is None and last.id not in own_seconds else cursor
    edges = [frame_at(start, fps) for start in starts] + [frame_at(end, fps)]
    for shot, start_frame, end_frame in zip(manifest.shots, edges, edges[1:]):
        if end_frame <= start_frame:
            raise ValueError(f"shot {shot.id}: ends at frame {end_frame}, not after its start {start_frame}; give it a duration")
    return tuple(ShotRange(a, b) for a, b in zip(edges, edges[1:]))
