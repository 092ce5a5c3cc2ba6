"""Windows of a shot: the released table to the number, and what must hold for every length, step and setting."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.windows import (
    FusionConfig,
    FusionMode,
    ShotLatents,
    Window,
    num_audio_frames,
    num_frames_for_latents,
    num_latents_for_frames,
    plan_windows,
    released_audio_frames,
    released_noise_latents,
    shot_latents,
    window_audio_frames,
    window_latents,
)

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
RELEASED = FusionConfig("released")
PUPPET = FusionConfig("guarded", window_latents=9, shift_latents=2, max_window_latents=13)

modes = st.sampled_from(["released", "aligned", "guarded"])
num_frames = st.integers(1, 1500)
steps = st.integers(0, 120)


@st.composite
def fusions(draw, mode: FusionMode | None = None) -> FusionConfig:
    f = draw(st.integers(2, 33))
    return FusionConfig(
        mode=mode or draw(modes),
        window_latents=f,
        shift_latents=draw(st.integers(0, 40)),
        direction=draw(st.sampled_from(["backward", "forward"])),
        max_window_latents=draw(st.sampled_from([0, f, f + f // 2, 2 * f])),
    )


def lengths(windows: tuple[Window, ...]) -> list[int]:
    return [len(window.latents) for window in windows]


def test_windows_are_the_recorded_ones_at_all_50_steps():
    recorded = json.loads((GOLDEN / "window_starts_50steps.json").read_text())
    assert sorted(recorded) == ["100", "129", "33", "65", "97"]
    for total, starts in recorded.items():
        shot = ShotLatents(int(total), int(total), -(-int(total) // 33))
        ours = [[w.latents for w in plan_windows(shot, i, RELEASED)] for i in range(50)]
        assert ours == [[tuple((s + j) % shot.total for j in range(33)) for s in step] for step in starts]


def test_released_lengths_are_the_recorded_ones():
    for frames, recorded in json.loads((GOLDEN / "pipeline_trace.json").read_text())["shots"].items():
        n = int(frames)
        shot = shot_latents(n, RELEASED)
        assert released_audio_frames(n) == recorded["n_audio_padded"]
        assert released_noise_latents(n) == recorded["L_noise"]
        assert (shot.total, shot.kept) == (recorded["L_denoised"], recorded["L_kept"])
        assert shot.num_windows == recorded["windows_per_step"]
        offsets = [-plan_windows(shot, i, RELEASED)[0].latents[0] % shot.total for i in range(50)]
        assert offsets == recorded["shift"]


@pytest.mark.parametrize(
    ("frames", "total", "windows", "kept"),
    [(129, 33, 1, 33), (130, 65, 2, 34), (250, 65, 2, 64), (260, 97, 3, 67), (300, 97, 3, 77), (388, 129, 4, 99),
     (400, 129, 4, 102)],
)  # fmt: skip
def test_released_table_of_lengths(frames, total, windows, kept):
    assert shot_latents(frames, RELEASED) == ShotLatents(total, kept, windows)


@given(num_frames)
def test_latents_hold_all_frames_and_no_latent_is_idle(n):
    latents = num_latents_for_frames(n)
    assert num_frames_for_latents(latents) >= n > num_frames_for_latents(latents - 1)


@given(num_frames, steps, st.one_of(fusions("aligned"), fusions("guarded")))
def test_every_latent_is_denoised_once_per_step(n, step, fusion):
    shot = shot_latents(n, fusion)
    latents = [latent for window in plan_windows(shot, step, fusion) for latent in window.latents]
    assert sorted(latents) == list(range(shot.total))


@given(num_frames, steps, fusions("released"))
def test_released_windows_cover_all_latents_and_none_more_than_twice(n, step, fusion):
    shot = shot_latents(n, fusion)
    latents = [latent for window in plan_windows(shot, step, fusion) for latent in window.latents]
    overlap = fusion.window_latents * shot.num_windows - shot.total
    assert set(latents) == set(range(shot.total))
    assert len(latents) - len(set(latents)) == overlap
    assert max(latents.count(latent) for latent in set(latents)) <= 2


@given(num_frames, fusions("aligned"))
def test_aligned_windows_are_equal_and_waste_less_than_a_latent_each(n, fusion):
    shot = shot_latents(n, fusion)
    assert shot.kept == num_latents_for_frames(n)
    assert 0 <= shot.total - shot.kept < shot.num_windows
    assert shot.num_windows == -(-shot.kept // fusion.window_latents)
    assert set(lengths(plan_windows(shot, 3, fusion))) == {window_latents(shot, fusion)}
    assert window_latents(shot, fusion) <= fusion.window_latents


@given(num_frames, steps, fusions("guarded"))
def test_guarded_windows_run_from_start_to_end_without_a_wrap(n, step, fusion):
    shot = shot_latents(n, fusion)
    windows = plan_windows(shot, step, fusion)
    assert shot.total == shot.kept == num_latents_for_frames(n)
    assert [latent for window in windows for latent in window.latents] == list(range(shot.total))
    assert [window.index for window in windows] == list(range(len(windows)))
    assert max(lengths(windows)) <= fusion.longest
    assert shot.num_windows <= len(windows) <= shot.num_windows + 1


@given(num_frames, steps, st.integers(2, 33), st.integers(0, 40))
def test_guarded_with_half_a_window_to_spare_costs_no_call_and_makes_no_stub(n, step, f, shift):
    fusion = FusionConfig("guarded", f, shift, max_window_latents=f + f // 2)
    shot = shot_latents(n, fusion)
    windows = plan_windows(shot, step, fusion)
    assert len(windows) == shot.num_windows
    if shot.num_windows > 1:
        assert min(lengths(windows)) >= -(-f // 2)


@given(st.integers(1, 33), steps, modes.filter(lambda mode: mode != "released"))
def test_a_short_shot_is_one_window_of_its_length(latents, step, mode):
    fusion = FusionConfig(mode)
    shot = shot_latents(num_frames_for_latents(latents), fusion)
    assert plan_windows(shot, step, fusion) == (Window(0, tuple(range(latents))),)


def test_no_border_of_a_long_take_stays_where_it_is():
    shot = shot_latents(1500, PUPPET)
    starts = [{w.latents[0] for w in plan_windows(shot, i, PUPPET)[1:]} for i in range(6)]
    assert all(not a & b for a, b in pairwise(starts))


def test_inner_borders_move_by_the_shift_towards_the_start():
    fusion = FusionConfig("guarded", 9, 2)
    shot = shot_latents(145, fusion)  # 37 latents
    assert [w.latents[0] for w in plan_windows(shot, 1, fusion)] == [0, 7, 16, 25, 31]  # 34 would leave 3: evened out
    assert [w.latents[0] for w in plan_windows(shot, 0, fusion)] == [0, 9, 18, 27, 32]


@given(num_frames, steps, st.integers(2, 33), st.integers(0, 33))
def test_forward_aligned_windows_mirror_backward_ones(n, step, f, shift):
    back, forth = (FusionConfig("aligned", f, shift, direction) for direction in ("backward", "forward"))
    shot = shot_latents(n, back)
    mirrored = {
        tuple(-1 - latent + shot.total for latent in reversed(w.latents)) for w in plan_windows(shot, step, back)
    }
    assert {w.latents for w in plan_windows(shot, step, forth)} == mirrored


@given(num_frames, steps, fusions())
def test_a_latent_hears_its_own_four_frames_and_the_first_of_a_window_its_last_one(n, step, fusion):
    shot = shot_latents(n, fusion)
    period = 4 * shot.total
    for window in plan_windows(shot, step, fusion):
        frames = window_audio_frames(window, shot)
        assert len(frames) == 4 * len(window.latents) - 3
        assert frames[0] == 4 * window.latents[0]
        assert max(frames) < num_audio_frames(shot, fusion)
        for j, latent in enumerate(window.latents[1:], start=1):
            assert frames[4 * j - 3 : 4 * j + 1] == tuple((4 * latent + m) % period for m in (-3, -2, -1, 0))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"window_latents": 1}, "at least 2"),
        ({"shift_latents": -1}, "cannot be negative"),
        ({"window_latents": 9, "max_window_latents": 8}, "below window_latents 9"),
    ],
)
def test_impossible_settings_are_refused_in_words(settings, words):
    with pytest.raises(ValueError, match=words):
        FusionConfig(**settings)


def test_a_shot_without_frames_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        shot_latents(0, RELEASED)
