"""Cuts: every frame once, bounds kept, overlaps spared, and never dearer than trying everything."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.cuts import OVERLAP, Candidate, CutBounds, candidates, choose, cut
from tasks.plan.types import Turn

FPS = 25


@st.composite
def spoken(draw, most_seconds=60):
    """Turns of up to three characters on a grid of 10 ms."""
    num_frames = draw(st.integers(1, most_seconds * FPS))
    starts = draw(st.lists(st.integers(0, num_frames * 4), max_size=12))
    turns = [
        Turn(start / 100, (start + draw(st.integers(5, 800))) / 100, draw(st.sampled_from(["ana", "ben", "cem"])))
        for start in starts
    ]
    return num_frames, turns


@given(spoken(), st.lists(st.integers(0, 1500), max_size=4), st.integers(5, 75), st.integers(75, 375))
@settings(deadline=None, max_examples=150)
def test_every_frame_lies_in_one_piece_and_bounds_are_kept(case, declared, shortest, longest):
    num_frames, turns = case
    bounds = CutBounds(shortest / FPS, max(longest, 2 * shortest) / FPS)
    cuts = cut(num_frames, FPS, turns, declared, bounds=bounds)
    frames = [one.frame for one in cuts]
    assert frames[0] == 0 and frames[-1] == num_frames
    assert frames == sorted(set(frames))
    changes = {0, num_frames, *(frame for frame in declared if 0 < frame < num_frames)}
    for start, end in itertools.pairwise(frames):
        assert end - start <= max(longest, 2 * shortest)
        assert end - start >= shortest or {start, end} <= changes
    assert changes <= set(frames)
    assert cut(num_frames, FPS, list(reversed(turns)), declared, bounds=bounds) == cuts


@given(spoken(most_seconds=40))
@settings(deadline=None, max_examples=100)
def test_an_overlap_is_cut_only_when_there_is_no_other_way(case):
    num_frames, turns = case
    bounds = CutBounds(1, 6)
    found = candidates(num_frames, FPS, turns)
    free = [one for one in found if one.cost < OVERLAP]
    cuts = cut(num_frames, FPS, turns, bounds=bounds)
    price = {one.frame: one.cost for one in found}
    if num_frames > 6 * FPS and any(price[one.frame] >= OVERLAP for one in cuts[1:-1]):
        assert not _reachable({0, num_frames, *(one.frame for one in free)}, num_frames, FPS, 6 * FPS)


def _reachable(frames, end, shortest, longest):
    reached = {0}
    for frame in sorted(frames):
        if any(frame - longest <= other <= frame - shortest for other in reached):
            reached.add(frame)
    return end in reached


@given(st.lists(st.integers(0, 40), min_size=1, max_size=13), st.integers(1, 4), st.integers(4, 7))
@settings(deadline=None, max_examples=200)
def test_no_other_set_of_cuts_is_cheaper(costs, shortest, longest):
    end = len(costs) + 1
    found = [Candidate(frame, "forced", cost) for frame, cost in enumerate(costs, start=1)]
    chosen = choose(found, 0, end, shortest, longest)
    least = min(shortest, end // -(-end // longest))
    frames = range(1, end)
    sets = itertools.chain.from_iterable(itertools.combinations(frames, count) for count in range(len(frames) + 1))
    allowed = [
        one
        for one in sets
        if all(least <= b - a <= longest for a, b in itertools.pairwise([0, *one, end])) or (not one and end <= longest)
    ]
    cheapest = min((sum(costs[frame - 1] for frame in one), len(one)) for one in allowed)
    if end <= longest:
        cheapest = (0, 0)
    assert (sum(one.cost for one in chosen), len(chosen)) == cheapest


def test_reasons_are_taken_in_the_order_of_trust():
    pause, relay = [Turn(0, 9.5, "ana"), Turn(10.5, 20, "ben")], [Turn(0, 10, "ana"), Turn(10, 20, "ben")]
    assert [(one.frame, one.reason) for one in cut(500, FPS, pause)][1:-1] == [(250, "silence")]
    assert [(one.frame, one.reason) for one in cut(500, FPS, relay)][1:-1] == [(250, "turn")]
    alone = [Turn(0, 20, "ana")]
    assert [one.reason for one in cut(500, FPS, alone, sentence_ends_seconds=[8.0])][1:-1] == ["sentence"]
    levels = [1.0] * 500
    levels[180:190] = [0.01] * 10
    quiet = cut(500, FPS, alone, levels=levels)[1]
    assert quiet.reason == "low_energy" and 180 < quiet.frame < 190
    assert [one.reason for one in cut(500, FPS, alone)][1:-1] == ["forced"]
    assert [one.reason for one in cut(500, FPS, pause, [100])] == ["start", "declared", "silence", "end"]


def test_a_cut_waits_for_the_end_of_an_overlap():
    turns = [Turn(0, 8, "ana"), Turn(6, 14.9, "ben"), Turn(14.9, 20, "ana")]
    (only,) = cut(500, FPS, turns)[1:-1]
    assert not 150 < only.frame < 200 and only.cost < OVERLAP / 1000


def test_a_piece_that_fits_is_not_cut():
    assert [one.reason for one in cut(375, FPS, [Turn(0, 15, "ana")])] == ["start", "end"]


def test_bounds_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="the shortest must be above 0 and at most the longest"):
        CutBounds(5, 4)
