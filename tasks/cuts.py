"""Where long material is cut into shots: the cheapest cuts that keep the bounds. Pure, whole numbers only.

Declared changes are always cut. Between them a dynamic program takes the cheapest set of candidate frames such that
every piece is within the bounds; the same input gives the same cuts. One long take is not cut at all: it stays one shot
and is fused across pods. Frames are episode frames; costs are thousandths inside and units outside.
"""

import itertools
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tasks.plan.types import Cut, CutReason, Turn

SILENCE, TURN, SENTENCE, LOW_ENERGY, FORCED, OVERLAP = 1_000, 4_000, 6_000, 10_000, 40_000, 1_000_000
QUIET_SECONDS = 0.25  # in a pause: this far from any voice, half of what can be won is won


@dataclass(frozen=True)
class Candidate:
    """Cutting before `frame` costs `cost` thousandths, because of `reason`."""

    frame: int
    reason: CutReason
    cost: int


@dataclass(frozen=True)
class CutBounds:
    """How long a piece may be, in seconds; 2 to 15 unless the manifest says otherwise."""

    shortest_seconds: float = 2.0
    longest_seconds: float = 15.0

    def __post_init__(self) -> None:
        if not 0 < self.shortest_seconds <= self.longest_seconds:
            raise ValueError(
                f"pieces of {self.shortest_seconds:g} to {self.longest_seconds:g} s: the shortest must be above 0 and"
                " at most the longest"
            )


def _spans(turns: Iterable[Turn], fps: float) -> list[tuple[int, int]]:
    """Return the frames that turns touch, half-open."""
    return sorted((int(turn.start_seconds * fps), -int(-turn.end_seconds * fps // 1)) for turn in turns)


def _depth(spans: Sequence[tuple[int, int]], num_frames: int) -> list[int]:
    """Return how many speak across the border before each frame: a turn's own first and last borders are free."""
    steps = [0] * (num_frames + 2)
    for start, end in spans:
        if end - start > 1:
            steps[min(start + 1, num_frames)] += 1
            steps[min(end, num_frames)] -= 1
    return list(itertools.accumulate(steps))[: num_frames + 1]


def _silence_cost(frame: int, edges: Sequence[int], fps: float) -> int:
    """Return the cost of a border in a pause: dearest beside a voice, cheapest in the middle of a long one."""
    if not edges:
        return SILENCE
    place = bisect_left(edges, frame)
    near = min(abs(frame - edge) for edge in edges[max(0, place - 1) : place + 1])
    quiet = max(1, round(QUIET_SECONDS * fps))
    return SILENCE + SILENCE * quiet // (quiet + near)


def candidates(
    num_frames: int,
    fps: float,
    turns: Sequence[Turn],
    sentence_ends_seconds: Sequence[float] = (),
    levels: Sequence[float] | None = None,
) -> tuple[Candidate, ...]:
    """Return what cutting before each of the frames 1 .. num_frames - 1 would cost, and why one would.

    `levels` are the mix's loudness per frame (any unit that grows): inside speech the quieter half is preferred.
    """
    spans = _spans(turns, fps)
    depth = _depth(spans, num_frames)
    touching = Counter(edge for span in spans for edge in span)
    edges = sorted(touching)
    sentences = {round(seconds * fps) for seconds in sentence_ends_seconds}
    ranks = _ranks(levels, num_frames) if levels is not None else None
    found = []
    for frame in range(1, num_frames):
        if depth[frame] > 1:
            found.append(Candidate(frame, "forced", OVERLAP))
        elif depth[frame] == 1 and frame in sentences:
            found.append(Candidate(frame, "sentence", SENTENCE))
        elif depth[frame] == 1 and touching[frame]:
            found.append(Candidate(frame, "turn", 2 * TURN))  # one begins or ends, another goes on
        elif depth[frame] == 1 and ranks is not None and ranks[frame] < 250:
            found.append(Candidate(frame, "low_energy", LOW_ENERGY + 40 * ranks[frame]))
        elif depth[frame] == 1:
            found.append(Candidate(frame, "forced", FORCED))
        elif touching[frame] > 1:
            found.append(Candidate(frame, "turn", TURN))
        else:
            found.append(Candidate(frame, "silence", _silence_cost(frame, edges, fps)))
    return tuple(found)


def _ranks(levels: Sequence[float], num_frames: int) -> list[int]:
    """Return each frame border's loudness rank in thousandths, 0 the quietest."""
    padded = list(levels[:num_frames]) + [0.0] * (num_frames - len(levels))
    border = [0.0] + [max(a, b) for a, b in itertools.pairwise(padded)]
    order = sorted(range(num_frames), key=lambda frame: (border[frame], frame))
    ranks = [0] * num_frames
    for place, frame in enumerate(order):
        ranks[frame] = 1000 * place // num_frames
    return ranks


def choose(found: Sequence[Candidate], start: int, end: int, shortest: int, longest: int) -> tuple[Candidate, ...]:
    """Return the cheapest cuts of the frames [start, end) into pieces of `shortest` to `longest` frames.

    Among equal costs the fewest cuts, then the latest last cut. When no set of cuts can keep both bounds, the shortest
    piece is allowed to be shorter, as little as possible. Candidates must cover every frame between start and end.
    O(frames) by a sliding minimum.
    """
    length = end - start
    if length <= longest:
        return ()
    shortest = min(shortest, length // -(-length // longest))
    price = {candidate.frame: candidate for candidate in found if start < candidate.frame < end}
    best: dict[int, tuple[int, int]] = {start: (0, 0)}  # cost, number of cuts so far
    came_from: dict[int, int] = {}
    window: deque[int] = deque()
    for frame in range(start + 1, end + 1):
        entering = frame - shortest
        if entering in best:
            while window and best[window[-1]] >= best[entering]:
                window.pop()
            window.append(entering)
        while window and window[0] < frame - longest:
            window.popleft()
        if not window or (frame < end and frame not in price):
            continue
        cost, num_cuts = best[window[0]]
        came_from[frame] = window[0]
        best[frame] = (cost, num_cuts) if frame == end else (cost + price[frame].cost, num_cuts + 1)
    chosen, frame = [], came_from[end]
    while frame != start:
        chosen.append(price[frame])
        frame = came_from[frame]
    return tuple(reversed(chosen))


def cut(
    num_frames: int,
    fps: float,
    turns: Sequence[Turn],
    declared_frames: Sequence[int] = (),
    sentence_ends_seconds: Sequence[float] = (),
    levels: Sequence[float] | None = None,
    bounds: CutBounds = CutBounds(),
) -> tuple[Cut, ...]:
    """Return every piece's first frame with its reason and cost, and the end: pieces lie between neighbours.

    A stretch between declared changes that is shorter than the shortest piece stays as it was declared.
    """
    found = candidates(num_frames, fps, turns, sentence_ends_seconds, levels)
    shortest, longest = -int(-bounds.shortest_seconds * fps // 1), int(bounds.longest_seconds * fps)
    shortest = min(shortest, longest)
    changes = sorted({frame for frame in declared_frames if 0 < frame < num_frames})
    cuts = [Cut(0, "start", 0.0), *(Cut(frame, "declared", 0.0) for frame in changes)]
    for start, end in itertools.pairwise([0, *changes, num_frames]):
        cuts += [Cut(one.frame, one.reason, one.cost / 1000) for one in choose(found, start, end, shortest, longest)]
    return (*sorted(cuts, key=lambda one: one.frame), Cut(num_frames, "end", 0.0))
