"""What a film shows where a segment was waived: the last good frame, or a slate that says so."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from torch import Tensor

from model.exchange import plan_result
from model.sampler import Take
from model.schedule import moves
from tasks.checks import ShotFacts, Speaker
from tasks.plan.types import ShotPlan

Pixels = npt.NDArray[np.uint8]  # (n, height, width, 3)


@dataclass
class Fill:
    """How the missing latents of a shot are shown. Feed it every frame in order."""

    how: Mapping[int, str]  # latent -> hold-last or slate
    still: Tensor  # (c, h, w): the plate, decoded in their place so that their neighbours decode as they should
    slate: Pixels = field(default_factory=lambda: np.zeros((1, 1, 1, 3), np.uint8))
    _last: Pixels | None = None
    _next: int = 0

    def show(self, frames: Pixels) -> Pixels:
        """Return the next frames with what is missing replaced."""
        shown = frames.copy()
        for row in range(len(frames)):
            how = self.how.get(latent_of(self._next))
            if how == "slate":
                shown[row] = self.slate[0]
            elif how and self._last is not None:
                shown[row] = self._last
            elif not how:
                self._last = frames[row]
            self._next += 1
        return shown

    def without(self, facts: ShotFacts) -> ShotFacts:
        """Return what the shot must be, with nobody expected to move where nothing was rendered."""
        return replace(facts, speakers=tuple(replace(who, ranges=self._spoken(who)) for who in facts.speakers))

    def _spoken(self, who: Speaker) -> tuple[tuple[int, int], ...]:
        frames = [f for start, end in who.ranges for f in range(start, end) if latent_of(f) not in self.how]
        starts = [f for i, f in enumerate(frames) if i == 0 or frames[i - 1] != f - 1]
        ends = [f + 1 for i, f in enumerate(frames) if i + 1 == len(frames) or frames[i + 1] != f + 1]
        return tuple(zip(starts, ends, strict=True))


def make_fill(shot: ShotPlan, waived: Mapping[int, str], take: Take, plate: Tensor, width: int, height: int) -> Fill:
    """Return how a shot's waived segments (index -> how) are shown; `plate` is (c, 1, h, w)."""
    how = {latent: waived[i] for i in waived for latent in latents_of(shot, i, take)}
    names = ", ".join(f"{index + 1}/{len(shot.segments)}" for index in sorted(waived))
    return Fill(how, plate[:, 0].float().cpu(), draw_slate(f"shot {shot.id}\nsegment {names}\nwaived", width, height))


def latents_of(shot: ShotPlan, segment: int, take: Take) -> Sequence[int]:
    """Return the latents of the finished shot that come from a segment."""
    shares = tuple(part.num_windows for part in shot.segments)
    pieces = plan_result(take.shot, take.fusion, len(take.steps) - 1, shares, moves(take.steps))[segment]
    return sorted({latent for piece in pieces for latent in piece.latents})


def latent_of(frame: int) -> int:
    """Return the latent that a frame of the shot belongs to."""
    return (frame + 3) // 4


def draw_slate(text: str, width: int, height: int) -> Pixels:
    """Return one frame (1, height, width, 3) with a text that nobody takes for a picture."""
    picture = Image.new("RGB", (width, height), (40, 40, 46))
    size = max(8, min(width, height) // 10)
    ImageDraw.Draw(picture).multiline_text(
        (width / 2, height / 2), text, fill=(230, 230, 230), font_size=size, anchor="mm", align="center"
    )
    return np.asarray(picture, np.uint8)[None]
