"""Pure checks on a stream of frames: what a rendered shot must be before anybody may see it.

Frames come in pieces, in order; only the frame before is kept, so memory does not depend on length.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.errors import CheckFailed
from tasks.plan.types import FaceBox

BLACK_LEVEL = 6.0  # of 255: darker than any lit scene
FLAT_DEVIATION = 1.0  # of 255: one colour all over
DIVERGED = 2.5  # decoders overshoot -1..1 a little; beyond this it is no picture
DEAD_FRAMES = 3  # that many black or flat frames in a row are a fault, fewer a flash
FROZEN_DIFFERENCE = 0.15  # of 255, mean over the face: encoded stills differ less, a talking mouth by more than 1
FROZEN_SECONDS = 1.0  # people hold still for shorter than that while they speak


@dataclass(frozen=True)
class Speaker:
    """A face and the frames of the shot in which its character speaks, half-open."""

    character: str
    face: FaceBox
    ranges: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class ShotFacts:
    """What the plan says a shot must be. `dark_plate`: its plate is itself black, so black frames are no fault."""

    shot: str
    num_frames: int
    width: int
    height: int
    fps: float
    speakers: tuple[Speaker, ...] = ()
    dark_plate: bool = False


@dataclass(frozen=True)
class Verdict:
    """What was found; no problems: the shot may be published."""

    shot: str
    num_frames: int
    problems: tuple[str, ...]
    mean_level: float
    longest_still_seconds: float  # of a speaking face

    @property
    def passed(self) -> bool:
        return not self.problems

    def require(self) -> None:
        """Raise CheckFailed with every problem, if there is one."""
        if self.problems:
            raise CheckFailed(f"shot {self.shot}: " + "; ".join(self.problems))


def is_dead(levels: npt.NDArray[np.float32]) -> bool:
    """Say whether a picture (h, w, 3), levels 0 to 255, shows nothing: one colour, or black."""
    return float(levels.std()) < FLAT_DEVIATION or float(levels.mean()) < BLACK_LEVEL


@dataclass
class _Run:
    """The longest run of frames for which something held, and where it began."""

    longest: int = 0
    start: int = 0
    _length: int = 0

    def add(self, index: int, holds: bool) -> None:
        self._length = self._length + 1 if holds else 0
        if self._length > self.longest:
            self.longest, self.start = self._length, index - self._length + 1


@dataclass
class ShotChecker:
    """Feed it every frame in order, then ask for the verdict."""

    facts: ShotFacts
    num_frames: int = 0
    _level_sum: float = 0.0
    _bad_sizes: set[tuple[int, ...]] = field(default_factory=set)
    _not_finite: list[int] = field(default_factory=list)
    _out_of_range: int = 0
    _dead: _Run = field(default_factory=_Run)
    _still: dict[str, _Run] = field(default_factory=dict)
    _before: npt.NDArray[np.float32] | None = None

    def feed(self, frames: npt.NDArray[Any]) -> None:
        """Look at the next frames: bytes (n, height, width, 3), or a decoder's floats (n, 3, height, width), -1..1."""
        if frames.dtype != np.uint8:
            frames = np.moveaxis(frames, 1, 3)
        for frame in frames:
            if frame.shape != (self.facts.height, self.facts.width, 3):
                self._bad_sizes.add(tuple(frame.shape))
            else:
                self._look(self._levels(frame))
            self.num_frames += 1

    def _levels(self, frame: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        if frame.dtype == np.uint8:
            return frame.astype(np.float32)
        if not np.isfinite(frame).all():
            self._not_finite.append(self.num_frames)
            frame = np.nan_to_num(frame, nan=0.0, posinf=1.0, neginf=-1.0)
        if np.abs(frame).max() > DIVERGED:
            self._out_of_range += 1
        return np.asarray(np.clip(frame, -1, 1) * 127.5 + 127.5, np.float32)

    def _look(self, levels: npt.NDArray[np.float32]) -> None:
        mean, index = float(levels.mean()), self.num_frames
        self._level_sum += mean
        self._dead.add(index, is_dead(levels) and not self.facts.dark_plate)
        for speaker in self.facts.speakers:
            run = self._still.setdefault(speaker.character, _Run())
            speaking = any(start < index < end for start, end in speaker.ranges)
            run.add(index, speaking and self._difference(levels, speaker.face) < FROZEN_DIFFERENCE)
        self._before = levels

    def _difference(self, levels: npt.NDArray[np.float32], face: FaceBox) -> float:
        if self._before is None:
            return float("inf")
        height, width = levels.shape[:2]
        rows = slice(int(face.y * height), max(int((face.y + face.h) * height), int(face.y * height) + 1))
        columns = slice(int(face.x * width), max(int((face.x + face.w) * width), int(face.x * width) + 1))
        return float(np.abs(levels[rows, columns] - self._before[rows, columns]).mean())

    def verdict(self) -> Verdict:
        """Return what the frames fed so far amount to."""
        still = max((run.longest for run in self._still.values()), default=0) / self.facts.fps
        mean = self._level_sum / max(self.num_frames, 1)
        return Verdict(self.facts.shot, self.num_frames, tuple(self._problems()), mean, still)

    def _problems(self) -> list[str]:
        facts, problems = self.facts, []
        if self.num_frames != facts.num_frames:
            problems.append(f"{self.num_frames} frames instead of {facts.num_frames}")
        for shape in sorted(self._bad_sizes):
            problems.append(f"frames of {shape} instead of ({facts.height}, {facts.width}, 3)")
        if self._not_finite:
            first, count = self._not_finite[0], len(self._not_finite)
            problems.append(f"{count} frames hold values that are no numbers, the first is frame {first}")
        if self._out_of_range:
            problems.append(f"{self._out_of_range} frames lie far outside -1..1, the decoder has diverged")
        if self._dead.longest >= DEAD_FRAMES:
            seconds = self._dead.start / facts.fps
            problems.append(f"{self._dead.longest} frames are black or of one colour from {seconds:.2f} s on")
        for character, run in sorted(self._still.items()):
            if run.longest >= FROZEN_SECONDS * facts.fps:
                where = f"from {run.start / facts.fps:.2f} s on for {run.longest / facts.fps:.2f} s"
                problems.append(f"the face of {character!r} stands still while it speaks {where}")
        return problems
