"""The schedule: the recorded lists at 50 steps, and sense at every other number."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.schedule import (
    ScheduleConfig,
    can_resume_after,
    euler_step,
    guidance_at,
    moves,
    plan_steps,
    sigmas,
    timesteps,
)

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
counts = st.integers(1, 120)


@pytest.mark.parametrize(("num_steps", "shift"), [(50, 5), (30, 5), (50, 1), (50, 7)])
def test_noise_levels_and_timesteps_are_the_recorded_bits(num_steps, shift):
    recorded = np.load(GOLDEN / "scheduler.npz")
    assert np.array_equal(sigmas(num_steps, float(shift)).numpy(), recorded[f"sigmas_{num_steps}_{shift}"])
    assert np.array_equal(timesteps(num_steps, float(shift)).numpy(), recorded[f"timesteps_{num_steps}_{shift}"])


@pytest.mark.parametrize("index", [0, 25])
def test_euler_steps_are_the_recorded_bits(index):
    recorded = np.load(GOLDEN / "scheduler.npz")
    x, v = torch.from_numpy(recorded["step_x"]), torch.from_numpy(recorded["step_v"])
    assert np.array_equal(euler_step(x, v, plan_steps(ScheduleConfig())[index]).numpy(), recorded[f"step_out_i{index}"])


@pytest.mark.parametrize("rule", ["released", "fraction"])
def test_fifty_steps_are_the_recorded_trace_under_both_rules(rule):
    recorded = json.loads((GOLDEN / "pipeline_trace.json").read_text())["steps"]
    steps = plan_steps(ScheduleConfig(rule=rule, cache=True))
    assert [step.t for step in steps] == recorded["t"]
    assert [step.guidance for step in steps] == recorded["guidance"]
    assert [step.cached for step in steps] == recorded["is_cache"]
    assert [step.negative for step in steps] == recorded["negative"]
    scales = [float(torch.tensor(step.mask_scale, dtype=torch.float16)) for step in steps]
    assert scales == recorded["face_scale"]


def cached_steps(num_steps, rule):
    steps = plan_steps(ScheduleConfig(num_steps=num_steps, rule=rule, cache=True))
    return [step.index for step in steps if step.cached]


def test_released_lists_are_absolute_for_any_count():
    assert cached_steps(30, "released") == [16, 17, 18, 19, 21, 22, 23, 24, 26, 27, 28, 29]
    assert cached_steps(100, "released")[-50:] == list(range(50, 100))
    assert sum(step.negative for step in plan_steps(ScheduleConfig(num_steps=100, rule="released"))) == 10


@given(counts)
def test_phases_keep_their_share_of_any_schedule(num_steps):
    steps = plan_steps(ScheduleConfig(num_steps=num_steps, cache=True))
    assert sum(step.negative for step in steps) == -(-num_steps // 5)
    cached = [step.index for step in steps if step.cached]
    assert len(cached) <= 0.5 * num_steps
    assert all(0.3 * num_steps <= i <= 0.8 * num_steps for i in cached)
    assert not steps[-1].cached


@pytest.mark.parametrize(("num_steps", "num_cached"), [(4, 0), (8, 0), (20, 5), (30, 10), (50, 20), (100, 45)])
def test_usual_counts_cache_a_sensible_number_of_steps(num_steps, num_cached):
    assert len(cached_steps(num_steps, "fraction")) == num_cached


@given(counts, st.floats(0.5, 20))
def test_noise_falls_from_one_to_zero(num_steps, shift):
    levels = sigmas(num_steps, float(shift))
    assert float(levels[0]) == pytest.approx(1) and levels[-1] == 0
    assert bool((levels.diff() < 0).all())
    assert sum(step.euler for step in plan_steps(ScheduleConfig(num_steps, shift))) == pytest.approx(-1, abs=1e-5)


@given(counts, st.floats(1, 20))
def test_guidance_stays_between_one_and_its_scale(num_steps, scale):
    values = [step.guidance for step in plan_steps(ScheduleConfig(num_steps, guidance=scale))]
    assert values[0] == pytest.approx(scale)
    assert all(1 <= value <= scale + 1e-9 for value in values)


def test_guidance_one_needs_no_second_branch_under_both_plain_rules():
    for rule in ("fraction", "constant"):
        assert {step.guidance for step in plan_steps(ScheduleConfig(8, guidance=1.0, rule=rule))} == {1}


def test_the_released_rule_ignores_the_scale_after_ten_steps():
    low, high = (ScheduleConfig(guidance=scale, rule="released") for scale in (3.0, 9.0))
    assert guidance_at(9, low) != guidance_at(9, high)
    assert guidance_at(10, low) == guidance_at(10, high) == 5.9


def test_a_constant_rule_has_one_phase():
    steps = plan_steps(ScheduleConfig(6, guidance=2.0, rule="constant"))
    assert {(step.guidance, step.mask_scale, step.negative, step.cached) for step in steps} == {(2, 1.0, False, False)}


def test_windows_hold_still_on_cached_steps_and_move_once_on_every_other():
    steps = plan_steps(ScheduleConfig(cache=True))
    for before, step in pairwise(steps):
        assert step.move - before.move == (0 if step.cached else 1)
    assert moves(plan_steps(ScheduleConfig(cache=True, hold_shift=False))) == tuple(range(50))
    assert moves(plan_steps(ScheduleConfig())) == tuple(range(50))


def test_a_render_resumes_only_where_no_stored_features_are_needed():
    steps = plan_steps(ScheduleConfig(cache=True))
    assert [i for i in range(50) if not can_resume_after(steps, i)] == [i - 1 for i in range(50) if steps[i].cached]


@pytest.mark.parametrize(
    ("settings", "words"), [({"num_steps": 0}, "at least 1 step"), ({"guidance": 0.5}, "1 means none")]
)
def test_impossible_schedules_are_refused_in_words(settings, words):
    with pytest.raises(ValueError, match=words):
        ScheduleConfig(**settings)
