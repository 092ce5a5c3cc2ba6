"""What the segments of a shot tell each other between two steps. Integers only.

f window length, L latents of the shot, S segments, i step. A segment is a pod's share of the shot's windows.

At every step a segment denoises its windows from the previous step's latents. What it did not predict itself it reads
from what other segments published after that step. Predictions are exchanged as they left the window, before doubly
covered latents are averaged, so that every reader averages the same values in the same order (window order).

Circular modes use drifting ownership: the windows of a segment move with the borders, so it reads exactly the last
`shift_latents` of its left neighbour's latents. Guarded windows cannot drift over the shot's ends: there a segment
keeps its place, and the odd window that some steps have goes where it delays least.
"""

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from itertools import accumulate, pairwise

from model.windows import FusionConfig, ShotLatents, Window, plan_windows, window_latents

Segments = int | tuple[int, ...]  # how many share the shot evenly, or the windows of each
Owned = tuple[tuple[Window, ...], ...]  # the windows of each segment at one step


@dataclass(frozen=True)
class Piece:
    """Some latents of one window's prediction; `latents` are absolute and in window order."""

    window: int
    latents: tuple[int, ...]


@dataclass(frozen=True)
class Read:
    """What a segment takes from another segment's output of the previous step."""

    segment: int
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class SegmentStep:
    """One segment's part of one step: windows to denoise, what to read before, what to publish after."""

    segment: int
    windows: tuple[Window, ...]
    reads: tuple[Read, ...]
    publishes: tuple[Piece, ...]

    @property
    def num_latents_read(self) -> int:
        return sum(len(piece.latents) for read in self.reads for piece in read.pieces)


def even_shares(num_windows: int, num_segments: int) -> tuple[int, ...]:
    """Return how many windows each segment renders when a shot is shared out evenly, the first ones taking more.

    Raises: ValueError when there are more segments than windows.
    """
    if not 1 <= num_segments <= num_windows:
        raise ValueError(f"{num_windows} windows cannot be shared by {num_segments} segments; use 1 to {num_windows}")
    base, rest = divmod(num_windows, num_segments)
    return tuple(base + (s < rest) for s in range(num_segments))


def segment_windows(
    shot: ShotLatents, step: int, fusion: FusionConfig, segments: Segments
) -> tuple[tuple[Window, ...], ...]:
    """Return the windows that each segment denoises at a step, which counts moves as in `plan_windows`.

    Raises: ValueError when the shares do not sum to the shot's windows.
    """
    shares = _shares(shot, segments)
    windows = plan_windows(shot, step, fusion)
    if fusion.mode == "guarded":
        return tuple(windows[a:b] for a, b in pairwise(_guarded_cuts(windows, shares, shot.total)))
    f = window_latents(shot, fusion)
    drift = (fusion.shift_latents * step) // f * (1 if fusion.direction == "backward" else -1)
    places = [windows[(place - drift) % shot.num_windows] for place in range(shot.num_windows)]
    starts = [sum(shares[:s]) for s in range(len(shares) + 1)]
    return tuple(tuple(places[a:b]) for a, b in pairwise(starts))


def plan_exchange(
    shot: ShotLatents,
    fusion: FusionConfig,
    step: int,
    segments: Segments,
    moves: Sequence[int] | None = None,
) -> tuple[SegmentStep, ...]:
    """Return every segment's part of a step.

    `moves` says how far the borders have moved at each step of the schedule (None: once per step, for ever); the
    last step publishes nothing here, see `plan_result`. At step 0 nothing is read: noise is a function of the latent.
    Raises: ValueError when the shares do not sum to the shot's windows, or the step is outside `moves`.
    """
    before, now, after = _around(shot, fusion, step, segments, moves)
    reads = _reads(before, now) if before else _nothing(now)
    wanted = _wanted(_reads(now, after)) if after else {}
    return tuple(
        SegmentStep(s, windows, reads[s], _published(windows, wanted.get(s, set()))) for s, windows in enumerate(now)
    )


def plan_segment(
    shot: ShotLatents,
    fusion: FusionConfig,
    step: int,
    segments: Segments,
    segment: int,
    moves: Sequence[int] | None = None,
) -> SegmentStep:
    """Return one segment's part of a step, as `plan_exchange` has it, without planning everybody else's.

    Raises: as `plan_exchange`.
    """
    before, now, after = _around(shot, fusion, step, segments, moves)
    own = _latents(now[segment])
    reads = _reads_of(segment, own, before, range(len(before)))
    touching = [r for r, windows in enumerate(after) if any(not own.isdisjoint(w.latents) for w in windows)]
    theirs = (_reads_of(r, _latents(after[r]), now, (segment,)) for r in touching)
    return SegmentStep(segment, now[segment], reads, _published(now[segment], _wanted(theirs).get(segment, set())))


def plan_result(
    shot: ShotLatents, fusion: FusionConfig, last_step: int, segments: Segments, moves: Sequence[int] | None = None
) -> tuple[tuple[Piece, ...], ...]:
    """Return what each segment publishes after the last step: all of its predictions of kept latents."""
    owned = _owned(shot, fusion, last_step, segments, moves)
    kept = tuple(
        tuple(Piece(w.index, tuple(latent for latent in w.latents if latent < shot.kept)) for w in windows)
        for windows in owned
    )
    return tuple(tuple(piece for piece in pieces if piece.latents) for pieces in kept)


def _shares(shot: ShotLatents, segments: Segments) -> tuple[int, ...]:
    shares = even_shares(shot.num_windows, segments) if isinstance(segments, int) else segments
    if sum(shares) != shot.num_windows or min(shares) < 1:
        raise ValueError(f"shares {shares} do not cover {shot.num_windows} windows; every segment needs at least 1")
    return shares


def _owned(
    shot: ShotLatents, fusion: FusionConfig, step: int, segments: Segments, moves: Sequence[int] | None
) -> tuple[tuple[Window, ...], ...]:
    if moves is not None and not 0 <= step < len(moves):
        raise ValueError(f"step {step} is outside the schedule of {len(moves)} steps")
    return segment_windows(shot, step if moves is None else moves[step], fusion, segments)


def _around(
    shot: ShotLatents, fusion: FusionConfig, step: int, segments: Segments, moves: Sequence[int] | None
) -> tuple[Owned, Owned, Owned]:
    """Return who owns what at the step before, at this one and at the next; empty where there is none."""
    now = _owned(shot, fusion, step, segments, moves)
    before = _owned(shot, fusion, step - 1, segments, moves) if step > 0 else ()
    is_last = moves is not None and step == len(moves) - 1
    return before, now, () if is_last else _owned(shot, fusion, step + 1, segments, moves)


def _guarded_cuts(windows: Sequence[Window], shares: Sequence[int], total: int) -> list[int]:
    """Return the indices of the windows at which each segment begins.

    Every segment has the windows of its share. Where guarded fusion made one more, that segment takes it which keeps
    the longest segment shortest, then the borders nearest to where they would be on an unmoved, even grid: a border
    cannot drift for ever, so it jumps back by a window less the shift, and cells centred on home make that cheapest.
    """
    starts = [*(w.latents[0] for w in windows), total]
    firsts = [0, *accumulate(shares)]
    extra = len(windows) - firsts[-1]
    plain = [starts[first] for first in firsts[:-1]]  # where a segment begins when a later one takes the odd window
    moved = [starts[first + extra] for first in firsts]  # and when an earlier one has taken it
    longest = _longest_by_taker(plain, moved)
    astray = _astray_by_taker(plain, moved, firsts, total)
    taker = min(range(len(shares)), key=lambda s: (longest[s], astray[s]))
    return [first + (extra if s > taker else 0) for s, first in enumerate(firsts)]


def _longest_by_taker(plain: Sequence[int], moved: Sequence[int]) -> list[int]:
    """Return for each segment how many latents the longest one has when this one takes the odd window."""
    before = [0, *accumulate((b - a for a, b in pairwise(plain)), max)]
    after = [0, *accumulate((b - a for a, b in reversed(list(pairwise(moved[1:])))), max)][::-1]
    return [max(before[s], moved[s + 1] - plain[s], after[s]) for s in range(len(plain))]


def _astray_by_taker(plain: Sequence[int], moved: Sequence[int], firsts: Sequence[int], total: int) -> list[int]:
    """Return for each segment how far the borders are from an even grid's when it takes the odd window."""
    # whole numbers: latents times windows
    before = list(accumulate(abs(start * firsts[-1] - total * first) for start, first in zip(plain, firsts)))
    away = [abs(start * firsts[-1] - total * first) for start, first in zip(moved, firsts)]
    after = list(accumulate(reversed(away[1:])))[::-1]
    return [before[s] + after[s] for s in range(len(plain))]


def _reads(before: Owned, now: Owned) -> tuple[tuple[Read, ...], ...]:
    """Return for each segment what it needs of the others' previous windows: every prediction of every latent."""
    owners: dict[int, list[int]] = {}
    for source, windows in enumerate(before):
        for latent in _latents(windows):
            owners.setdefault(latent, []).append(source)
    found = []
    for reader, windows in enumerate(now):
        latents = _latents(windows)
        sources = sorted({source for latent in latents for source in owners.get(latent, ())})
        found.append(_reads_of(reader, latents, before, sources))
    return tuple(found)


def _reads_of(reader: int, latents: frozenset[int], before: Owned, sources: Iterable[int]) -> tuple[Read, ...]:
    return tuple(
        Read(source, pieces) for source in sources if source != reader and (pieces := _pieces(before[source], latents))
    )


def _pieces(windows: Sequence[Window], latents: Set[int]) -> tuple[Piece, ...]:
    pieces = (Piece(w.index, tuple(latent for latent in w.latents if latent in latents)) for w in windows)
    return tuple(piece for piece in pieces if piece.latents)


def _wanted(reads: Iterable[Sequence[Read]]) -> dict[int, set[tuple[int, int]]]:
    """Return for each segment which of its predictions (window, latent) somebody reads."""
    wanted: dict[int, set[tuple[int, int]]] = {}
    for reader in reads:
        for read in reader:
            places = wanted.setdefault(read.segment, set())
            places.update((piece.window, latent) for piece in read.pieces for latent in piece.latents)
    return wanted


def _published(windows: Sequence[Window], wanted: Set[tuple[int, int]]) -> tuple[Piece, ...]:
    """Return what of a segment's predictions is wanted, in its windows' order."""
    pieces = (Piece(w.index, tuple(latent for latent in w.latents if (w.index, latent) in wanted)) for w in windows)
    return tuple(piece for piece in pieces if piece.latents)


def _latents(windows: Sequence[Window]) -> frozenset[int]:
    return frozenset(latent for window in windows for latent in window.latents)


def _nothing(now: Sequence[object]) -> tuple[tuple[Read, ...], ...]:
    return ((),) * len(now)
