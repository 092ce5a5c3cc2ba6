"""The released sampler, bit for bit, around a toy network; and that the toy notices what a sampler may get wrong."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from golden_sampler import (
    RELEASED_FUSION,
    ToyNetwork,
    compare_scheduler,
    compare_toy,
    load_case,
    load_toy,
    toy_conditions,
    toy_shot,
)

from model.guidance import Guided
from model.latent_cache import CachedNetwork
from model.noise import given_noise
from model.sampler import FLOAT32, RELEASED, Take, sample
from model.schedule import ScheduleConfig, plan_steps

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
SCHEDULE = ScheduleConfig(rule="released", cache=True, hold_shift=False)


def render(schedule=SCHEDULE, numerics=RELEASED, fusion=RELEASED_FUSION, held=False, **changed):
    """Return toy_L65 as we sample it and as it was recorded."""
    case = load_case(GOLDEN / "toy_L65.npz")
    shot = toy_shot(case["audio"].shape[1])
    conditions = replace(toy_conditions(case, shot), **changed)
    take = Take(shot, fusion, plan_steps(schedule), given_noise(case["latents"][0]), numerics)
    network = CachedNetwork(ToyNetwork(load_toy(GOLDEN), conditions), held)
    return sample(Guided(network), take), case["out"][0]


def test_the_released_sampler_around_the_toy_is_bit_equal():
    results = compare_toy(GOLDEN)
    assert [result.case for result in results] == ["toy_L33", "toy_L65"]
    assert [result.error for result in results] == [0.0, 0.0]


def test_the_schedule_is_bit_equal():
    results = compare_scheduler(GOLDEN)
    assert len(results) == 10
    assert all(result.error == 0 for result in results)


def test_schedule_fractions_are_the_released_lists_at_50_steps():
    ours, recorded = render(replace(SCHEDULE, rule="fraction"))
    assert torch.equal(ours, recorded)


@pytest.mark.parametrize(
    ("mistake", "least"),
    [
        ({"schedule": replace(SCHEDULE, cache=False)}, 1e-3),
        ({"schedule": replace(SCHEDULE, guidance=7.0)}, 1e-3),
        ({"schedule": replace(SCHEDULE, hold_shift=True), "held": True}, 1e-3),
        ({"schedule": replace(SCHEDULE, rule="constant")}, 1e-2),
        ({"fusion": replace(RELEASED_FUSION, direction="forward")}, 1e-3),
        ({"fusion": replace(RELEASED_FUSION, shift_latents=9)}, 1e-3),
        ({"numerics": FLOAT32}, 1e-6),
    ],
)
def test_every_deliberate_mistake_shows(mistake, least):
    ours, recorded = render(**mistake)
    assert float((ours - recorded).abs().max()) > least


def test_no_recorded_case_in_a_folder_is_no_result(tmp_path):
    assert compare_toy(tmp_path) == compare_scheduler(tmp_path) == []
