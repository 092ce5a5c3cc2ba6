"""Which latents each network call sees: the windows of a shot at every step. Integers only.

f window length in latents, k window, i step, s how far the windows have moved at step i (mod f), L latents of the shot.

Position-shift fusion, Algorithm 1 of arXiv:2505.20156: a long take is denoised in windows of f latents whose borders
move at every step, so that no border stays where a seam could grow. A window reads only the previous step's latents.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

FusionMode = Literal["released", "aligned", "guarded"]
Direction = Literal["backward", "forward"]


@dataclass(frozen=True)
class FusionConfig:
    """How a long take is cut into windows and how the cuts move.

    `released`: the release's table of lengths; windows wrap from the shot's start to its end, and what is covered
    twice is averaged. `aligned`: equal windows of at most `window_latents`, wrapping, every latent once. `guarded`:
    exactly the shot's latents, no wrap; only inner borders move. `direction`: the release moves the windows towards
    the shot's start, the paper's text towards its end. `max_window_latents` is the longest window that guarded fusion
    may make (0: the window itself); from f + f // 2 on, it makes exactly as many windows as hard cuts would.
    """

    mode: FusionMode = "guarded"
    window_latents: int = 33  # 129 frames, the release's window
    shift_latents: int = 10  # the release's; the paper uses 3 to 7
    direction: Direction = "backward"
    max_window_latents: int = 0

    def __post_init__(self) -> None:
        if self.window_latents < 2:
            raise ValueError(f"a window of {self.window_latents} latents is too short; it needs at least 2")
        if self.shift_latents < 0:
            raise ValueError(f"shift_latents is {self.shift_latents}; it counts latents and cannot be negative")
        if 0 < self.max_window_latents < self.window_latents:
            raise ValueError(
                f"max_window_latents {self.max_window_latents} is below window_latents {self.window_latents}; "
                "raise it or use 0"
            )

    @property
    def longest(self) -> int:
        return self.max_window_latents or self.window_latents


@dataclass(frozen=True)
class ShotLatents:
    """Latents of a shot: denoised, kept for decoding, and windows per step (guarded may need one more)."""

    total: int
    kept: int
    num_windows: int


@dataclass(frozen=True)
class Window:
    """One network call: absolute latent indices in the order in which the network sees them, wraps included."""

    index: int
    latents: tuple[int, ...]

    @property
    def centre(self) -> int:
        return self.latents[len(self.latents) // 2]


def num_latents_for_frames(num_frames: int) -> int:
    """Return the latents that hold `num_frames` pictures: the first stands for 1 frame, each later one for 4.

    Raises: ValueError for a shot without a frame.
    """
    if num_frames < 1:
        raise ValueError(f"a shot of {num_frames} frames has nothing to denoise; it needs at least 1")
    return (num_frames + 2) // 4 + 1


def num_frames_for_latents(num_latents: int) -> int:
    """Return how many pictures `num_latents` latents decode to."""
    return 4 * (num_latents - 1) + 1


def released_audio_frames(num_frames: int, window_latents: int = 33) -> int:
    """Return the length of the release's padded audio track: one window's frames, or 5 more than the shot has."""
    one_window = num_frames_for_latents(window_latents)
    return one_window if num_frames <= one_window else num_frames + 5


def released_noise_latents(num_frames: int, window_latents: int = 33) -> int:
    """Return how many latents the release draws noise for; one window uses the first `window_latents` of them."""
    stride = window_latents - 1
    return (released_audio_frames(num_frames, window_latents) // (4 * stride) + 1) * stride + 1


def shot_latents(num_frames: int, fusion: FusionConfig) -> ShotLatents:
    """Return how many latents a shot of `num_frames` frames has under `fusion`."""
    kept, f = num_latents_for_frames(num_frames), fusion.window_latents
    if fusion.mode == "released":
        total = f if num_frames <= num_frames_for_latents(f) else released_noise_latents(num_frames, f)
        return ShotLatents(total, released_audio_frames(num_frames, f) // 4 + 1, _ceil(total, f))
    num_windows = _ceil(kept, f)
    total = kept if fusion.mode == "guarded" else num_windows * _ceil(kept, num_windows)
    return ShotLatents(total, kept, num_windows)


def plan_windows(shot: ShotLatents, step: int, fusion: FusionConfig) -> tuple[Window, ...]:
    """Return the windows of a step, in the order of their index.

    `step` counts the moves of the borders (model.schedule.Step.move): the step's number unless moves are held.
    """
    if fusion.mode == "guarded":
        return _guarded_windows(shot.total, step, fusion)
    f = window_latents(shot, fusion)
    offset = _offset(step, f, fusion) if shot.num_windows > 1 else 0
    return tuple(Window(k, tuple((f * k + offset + j) % shot.total for j in range(f))) for k in range(shot.num_windows))


def window_latents(shot: ShotLatents, fusion: FusionConfig) -> int:
    """Return the length of this shot's (unmerged) windows: shortened in aligned mode."""
    return shot.total // shot.num_windows if fusion.mode == "aligned" else fusion.window_latents


def window_audio_frames(window: Window, shot: ShotLatents) -> tuple[int, ...]:
    """Return the 4 t - 3 audio frames of a window of t latents, as indices into the shot's track.

    The window's first latent l has frame 4 l alone, each later one 4 l - 3 .. 4 l; the track wraps with the latents
    after 4 L frames. Indices past the track's end stand for zeros.
    """
    start, period = 4 * window.latents[0], 4 * shot.total
    return tuple((start + m) % period for m in range(num_frames_for_latents(len(window.latents))))


def num_audio_frames(shot: ShotLatents, fusion: FusionConfig) -> int:
    """Return how many audio frames the windows of a shot may ask for; a shorter track is followed by zeros."""
    return num_frames_for_latents(shot.total) if fusion.mode == "guarded" else 4 * shot.total


def _guarded_windows(total: int, step: int, fusion: FusionConfig) -> tuple[Window, ...]:
    borders = _guarded_borders(total, step, fusion)
    return tuple(Window(k, tuple(range(a, b))) for k, (a, b) in enumerate(pairwise(borders)))


def _guarded_borders(total: int, step: int, fusion: FusionConfig) -> list[int]:
    """Return 0, the inner borders f k - s, L; no end piece shorter than half a window where it can be helped."""
    f = fusion.window_latents
    if total <= f:
        return [0, total]
    offset = _offset(step, f, fusion) % f
    borders = [0, *(b for b in range(offset, total, f) if b > 0), total]
    if len(borders) - 1 > _ceil(total, f):  # one more piece than hard cuts make: merge the shorter end if allowed
        head_first = borders[1] <= total - borders[-2]
        merged = borders[2] if head_first else total - borders[-3]
        if merged <= fusion.longest:
            del borders[1 if head_first else -2]
    if len(borders) > 2 and borders[1] < _ceil(f, 2):
        borders[1] = borders[2] // 2
    if len(borders) > 2 and total - borders[-2] < _ceil(f, 2):
        borders[-2] = (borders[-3] + total) // 2
    return borders


def _offset(step: int, f: int, fusion: FusionConfig) -> int:
    """Return where window 0 would start: -s for the release's direction, s for the paper's, s = shift i mod f."""
    s = (fusion.shift_latents * step) % f
    return -s if fusion.direction == "backward" else s


def _ceil(a: int, b: int) -> int:
    return -(-a // b)
