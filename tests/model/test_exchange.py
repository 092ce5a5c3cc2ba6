"""Who renders which window and tells whom what: for every mode, length, share and step."""

import time
from dataclasses import replace
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.exchange import even_shares, plan_exchange, plan_result, plan_segment, segment_windows
from model.windows import FusionConfig, ShotLatents, num_frames_for_latents, plan_windows, shot_latents

fusions = st.builds(
    FusionConfig,
    mode=st.sampled_from(["released", "aligned", "guarded"]),
    window_latents=st.just(6),
    shift_latents=st.integers(0, 7),
    direction=st.sampled_from(["backward", "forward"]),
    max_window_latents=st.sampled_from([0, 9]),
)


@st.composite
def shared_shots(draw) -> tuple[ShotLatents, FusionConfig, tuple[int, ...]]:
    fusion = draw(fusions)
    shot = shot_latents(draw(st.integers(1, 250)), fusion)
    cuts = sorted(draw(st.sets(st.integers(1, max(1, shot.num_windows - 1)), max_size=5)))
    edges = [0, *(cut for cut in cuts if cut < shot.num_windows), shot.num_windows]
    return shot, fusion, tuple(b - a for a, b in pairwise(edges))


@given(st.integers(1, 40), st.data())
def test_even_shares_cover_all_windows_and_differ_by_at_most_one(num_windows, data):
    shares = even_shares(num_windows, data.draw(st.integers(1, num_windows)))
    assert sum(shares) == num_windows
    assert max(shares) - min(shares) <= 1


@given(shared_shots(), st.integers(0, 30))
def test_every_window_has_one_owner_and_every_segment_has_work(shared, step):
    shot, fusion, shares = shared
    owned = segment_windows(shot, step, fusion, shares)
    assert all(owned)
    windows = [window for part in owned for window in part]
    assert sorted(windows, key=lambda w: w.index) == list(plan_windows(shot, step, fusion))
    if fusion.mode != "guarded":
        assert tuple(len(part) for part in owned) == shares


@given(shared_shots(), st.integers(1, 30))
def test_what_is_read_was_published_and_is_all_that_is_needed(shared, step):
    shot, fusion, shares = shared
    before = plan_exchange(shot, fusion, step - 1, shares)
    covering = [(w.index, latent) for w in plan_windows(shot, step - 1, fusion) for latent in w.latents]
    for part in plan_exchange(shot, fusion, step, shares):
        own = {(w.index, latent) for w in before[part.segment].windows for latent in w.latents}
        read = set()
        for source in part.reads:
            given_out = {(p.window, latent) for p in before[source.segment].publishes for latent in p.latents}
            taken = {(p.window, latent) for p in source.pieces for latent in p.latents}
            assert taken <= given_out
            assert source.segment != part.segment
            read |= taken
        needed = {latent for window in part.windows for latent in window.latents}
        assert read == {key for key in covering if key[1] in needed} - own


@given(shared_shots(), st.integers(0, 30))
def test_nothing_is_published_that_nobody_reads(shared, step):
    shot, fusion, shares = shared
    read = {
        (source.segment, piece.window, latent)
        for part in plan_exchange(shot, fusion, step + 1, shares)
        for source in part.reads
        for piece in source.pieces
        for latent in piece.latents
    }
    published = {
        (part.segment, piece.window, latent)
        for part in plan_exchange(shot, fusion, step, shares)
        for piece in part.publishes
        for latent in piece.latents
    }
    assert published == read


@given(shared_shots(), st.integers(0, 30))
def test_results_hold_every_kept_latent(shared, step):
    shot, fusion, shares = shared
    pieces = [piece for part in plan_result(shot, fusion, step, shares) for piece in part]
    assert {latent for piece in pieces for latent in piece.latents} == set(range(shot.kept))


@pytest.mark.parametrize("direction", ["backward", "forward"])
@pytest.mark.parametrize("num_segments", [2, 3, 5])
def test_drifting_segments_read_exactly_the_shift_from_one_neighbour(direction, num_segments):
    fusion = FusionConfig("aligned", direction=direction)
    shot = ShotLatents(33 * 5, 33 * 5, 5)
    towards = -1 if direction == "backward" else 1
    for step in range(1, 50):
        for part in plan_exchange(shot, fusion, step, num_segments):
            (source,) = part.reads
            assert source.segment == (part.segment + towards) % num_segments
            assert part.num_latents_read == 10


@pytest.mark.parametrize(("total", "most"), [(65, 11), (97, 12), (129, 13)])
def test_released_lengths_read_the_shift_and_the_twice_covered_latents(total, most):
    fusion = FusionConfig("released")
    windows = -(-total // 33)
    shot = ShotLatents(total, total, windows)
    reads = [p.num_latents_read for step in range(1, 50) for p in plan_exchange(shot, fusion, step, windows)]
    assert max(reads) == most
    assert min(reads) == 10


@given(shared_shots(), st.integers(0, 30))
def test_guarded_segments_keep_their_share_and_one_may_take_one_window_more(shared, step):
    shot, fusion, shares = shared
    fusion = FusionConfig("guarded", fusion.window_latents, fusion.shift_latents, fusion.direction)
    shot = ShotLatents(shot.kept, shot.kept, -(-shot.kept // 6))
    shares = even_shares(shot.num_windows, min(len(shares), shot.num_windows))
    more = [len(part) - share for part, share in zip(segment_windows(shot, step, fusion, shares), shares)]
    assert sorted(more)[:-1] == [0] * (len(shares) - 1)
    assert max(more) in (0, 1)


def test_the_odd_window_of_guarded_fusion_costs_at_most_half_a_window():
    fusion = FusionConfig("guarded", 33, 10)
    shot = shot_latents(num_frames_for_latents(33 * 12), fusion)
    loads = [
        max(sum(len(window.latents) for window in part) for part in segment_windows(shot, step, fusion, 12))
        for step in range(33)
    ]
    assert max(loads) <= 33 + 16
    assert sum(loads) / 33 / 33 < 1.26


def test_guarded_segments_read_from_neighbours_alone():
    fusion = FusionConfig("guarded", 33, 10)
    shot = shot_latents(num_frames_for_latents(33 * 8), fusion)
    for step in range(1, 50):
        for part in plan_exchange(shot, fusion, step, 4):
            assert all(abs(read.segment - part.segment) == 1 for read in part.reads)
            assert part.num_latents_read <= 33


def test_windows_that_hold_still_exchange_nothing():
    fusion = FusionConfig("aligned", 6, 2)
    shot = ShotLatents(18, 18, 3)
    held = plan_exchange(shot, fusion, 1, 3, moves=(0, 0, 1))
    assert [part.reads for part in held] == [()] * 3
    assert all(part.publishes for part in held)


def test_the_last_step_publishes_only_the_result():
    shot = ShotLatents(18, 17, 3)
    fusion = FusionConfig("aligned", 6, 2)
    assert all(part.publishes == () for part in plan_exchange(shot, fusion, 2, 3, moves=(0, 1, 2)))
    assert sum(len(piece.latents) for part in plan_result(shot, fusion, 2, 3) for piece in part) == 17


@pytest.mark.parametrize("segments", [0, 4, (1, 1), (3, 0), (2, 2)])
def test_shares_that_do_not_fit_are_refused(segments):
    with pytest.raises(ValueError, match="windows"):
        segment_windows(ShotLatents(18, 18, 3), 0, FusionConfig("aligned", 6), segments)


def test_a_step_outside_the_schedule_is_refused():
    with pytest.raises(ValueError, match="outside the schedule of 2 steps"):
        plan_exchange(ShotLatents(18, 18, 3), FusionConfig("aligned", 6), 2, 3, moves=(0, 1))


@given(shared_shots(), st.integers(0, 12), st.sampled_from([None, 13]))
def test_a_segments_own_plan_is_its_part_of_everybodys(shared, step, num_steps):
    shot, fusion, shares = shared
    moves = None if num_steps is None else tuple(range(num_steps))
    everybody = plan_exchange(shot, fusion, step, shares, moves)
    assert tuple(plan_segment(shot, fusion, step, shares, s, moves) for s in range(len(shares))) == everybody


@given(shared_shots(), st.integers(0, 30))
def test_the_odd_window_goes_where_it_delays_least(shared, step):
    shot, fusion, shares = shared
    guarded = shot_latents(num_frames_for_latents(shot.kept), replace(fusion, mode="guarded"))
    shares = even_shares(guarded.num_windows, min(len(shares), guarded.num_windows))
    windows = plan_windows(guarded, step, replace(fusion, mode="guarded"))
    starts = [*(w.latents[0] for w in windows), guarded.total]
    firsts = [0, *accumulate(shares)]
    extra = len(windows) - firsts[-1]

    def cost(taker):
        cuts = [starts[first + (extra if s > taker else 0)] for s, first in enumerate(firsts)]
        astray = sum(abs(cut * firsts[-1] - guarded.total * first) for cut, first in zip(cuts, firsts))
        return (
            max(b - a for a, b in pairwise(cuts)),
            astray,
            [len([w for w in windows if w.latents[0] < c]) for c in cuts],
        )

    best = min((cost(taker) for taker in range(len(shares))), key=lambda found: found[:2])[2]
    owned = segment_windows(guarded, step, replace(fusion, mode="guarded"), shares)
    assert [len(part) for part in owned] == [b - a for a, b in pairwise(best)]


def test_a_thousand_pods_plan_in_a_hundredth_of_a_step():
    fusion = FusionConfig("guarded")
    shot, shares = shot_latents(num_frames_for_latents(33 * 3000), fusion), (3,) * 1000
    begun = time.process_time()
    plan_segment(shot, fusion, 7, shares, 500)
    assert time.process_time() - begun < 1.0  # 0.03 s on one core; a step takes 20
