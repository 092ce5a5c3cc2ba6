"""Guidance and the feature cache, around networks that count their calls."""

import pytest
import torch

from model.guidance import Guided, guide
from model.latent_cache import CachedNetwork, Features
from model.schedule import ScheduleConfig, plan_steps
from model.windows import Window

WINDOW = Window(0, (0, 1))
X = torch.zeros(1, 2, 1, 1)


class Recorder:
    """Answers 1 in the unconditional branch and 3 in the other, and remembers who asked."""

    def __init__(self):
        self.calls = []

    def velocity(self, x, window, step, branch):
        self.calls.append(branch)
        return torch.full_like(x, 3.0 if branch == "cond" else 1.0)


class Parts:
    """Features that say at which step and in which window they were made."""

    def __init__(self):
        self.full_calls = 0

    def features(self, x, window, step, branch):
        self.full_calls += 1
        made = 100.0 * step.index
        image = made + torch.tensor(window.latents, dtype=torch.float32)[:, None, None]
        return Features(torch.full((1, 1), made + window.index), image, torch.full((1, 1), made - window.index))

    def head(self, features, x, window, step, branch):
        self.seen = features
        return features.image[None, :, :, :]


def test_guidance_is_two_calls_unconditional_first():
    network = Recorder()
    step = plan_steps(ScheduleConfig(4, guidance=5.0, rule="constant"))[0]
    assert torch.equal(Guided(network).velocity(X, WINDOW, step), torch.full_like(X, 1 + 5 * 2))
    assert network.calls == ["uncond", "cond"]


def test_guidance_one_is_a_single_call():
    network = Recorder()
    step = plan_steps(ScheduleConfig(4, guidance=1.0))[0]
    assert torch.equal(Guided(network).velocity(X, WINDOW, step), torch.full_like(X, 3))
    assert network.calls == ["cond"]


@pytest.mark.parametrize(("scale", "expected"), [(0.0, 1.0), (1.0, 3.0), (7.5, 16.0)])
def test_guide_goes_through_both_branches(scale, expected):
    assert float(guide(X + 1, X + 3, scale).mean()) == expected


def cached_steps(hold_shift):
    steps = plan_steps(ScheduleConfig(cache=True, hold_shift=hold_shift))
    return steps[15], steps[16]


def test_the_released_rule_takes_each_latents_own_tokens_and_the_first_ones_surroundings():
    full, cached = cached_steps(hold_shift=False)
    parts = Parts()
    network = CachedNetwork(parts, held=False)
    for window in (Window(0, (0, 1)), Window(1, (2, 3)), Window(2, (3, 0))):  # 3 and 0 are covered twice
        network.velocity(X, window, full, "cond")
    network.velocity(X, Window(1, (1, 2)), cached, "cond")
    assert parts.full_calls == 3
    assert parts.seen.image.flatten().tolist() == [1501, 1502]
    assert parts.seen.reference.item() == 1500  # latent 1 was last in window 0
    network.velocity(X, Window(1, (3, 0)), cached, "cond")
    assert parts.seen.text.item() == 1500 - 2  # the later window's stay


def test_branches_do_not_share_features():
    full, cached = cached_steps(hold_shift=True)
    network = CachedNetwork(Parts())
    network.velocity(X, WINDOW, full, "cond")
    with pytest.raises(ValueError, match="full step"):
        network.velocity(X, WINDOW, cached, "uncond")


def test_a_held_window_takes_back_its_own_features():
    full, cached = cached_steps(hold_shift=True)
    parts = Parts()
    network = CachedNetwork(parts)
    network.velocity(X, WINDOW, full, "cond")
    network.velocity(X, WINDOW, cached, "cond")
    assert parts.full_calls == 1
    assert parts.seen.image.flatten().tolist() == [1500, 1501]


def test_a_window_that_moved_has_no_features():
    full, cached = cached_steps(hold_shift=True)
    network = CachedNetwork(Parts())
    network.velocity(X, WINDOW, full, "cond")
    with pytest.raises(ValueError, match="moved or started on a cached step"):
        network.velocity(X, Window(0, (1, 2)), cached, "cond")


def test_latents_that_were_never_seen_have_no_features():
    _, cached = cached_steps(hold_shift=False)
    with pytest.raises(ValueError, match=r"latents \[0, 1\]"):
        CachedNetwork(Parts(), held=False).velocity(X, WINDOW, cached, "cond")
