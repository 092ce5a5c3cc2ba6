"""The sampler over the real transformer: one pod or several, cached or not, one branch or two."""

from dataclasses import replace

import pytest
import torch
from tiny_network import TINY, draw

from model.denoiser import build_denoiser
from model.exchange import plan_exchange
from model.guidance import Guided
from model.noise import shot_noise
from model.sampler import FLOAT32, Take, denoise_step, finish, merge, sample, select
from model.sampler import draw as draw_noise
from model.schedule import ScheduleConfig, moves, plan_steps
from model.shot import Prompt, ShotConditions, ShotVoice
from model.windows import FusionConfig, plan_windows, shot_latents

FUSION = FusionConfig("guarded", 4, 1, max_window_latents=6)
SHOT = shot_latents(45, FUSION)  # 12 latents, 3 windows
SIZE = (4, 6)


@pytest.fixture(scope="module")
def conditions() -> ShotConditions:
    audio = TINY.audio

    def prompt(seed):
        mask = (torch.arange(6) < 4 + seed).long()
        return Prompt(draw(6, TINY.text_width, seed=seed), mask, draw(TINY.pooled_width, seed=seed))

    def voice(seed):
        return ShotVoice(
            audio=draw(45, audio.rows_per_frame, audio.layers + 1, audio.width, seed=seed),
            mask=(draw(SHOT.total, *SIZE, seed=seed) > 0).float(),
            strength=torch.linspace(0.5, 1.5, SHOT.total),
            emotion=draw(2, 16, 4, 4, seed=seed),
            emotion_index=torch.arange(SHOT.total) % 2,
        )

    motion = torch.linspace(0, 50, SHOT.total)[:, None].expand(-1, 4)
    return ShotConditions(SHOT, prompt(1), prompt(2), draw(16, 1, *SIZE), (voice(1), voice(2)), motion, motion)


def make_take(num_steps=4, guidance=3.0, **schedule):
    steps = plan_steps(ScheduleConfig(num_steps, guidance=guidance, **schedule))
    return Take(SHOT, FUSION, steps, shot_noise(3, (16, *SIZE)))


def render_on_two_pods(make_denoiser, take):
    """Return the shot from two pods in lock step, each told only what the plan of the exchange says."""
    denoisers, own, published = [make_denoiser(), make_denoiser()], [{}, {}], []
    for step in take.steps:
        parts = plan_exchange(SHOT, FUSION, step.index, 2, moves(take.steps))
        states = [draw_noise(take, part.windows) for part in parts]
        if step.index:
            heard = [{k: v for r in p.reads for k, v in select(published[r.segment], r.pieces).items()} for p in parts]
            states = [merge(own[s] | heard[s]) for s in (0, 1)]
        own = [denoise_step(denoisers[s], states[s], parts[s].windows, step, FLOAT32) for s in (0, 1)]
        published = [select(own[s], parts[s].publishes) for s in (0, 1)]
    return finish(take, own[0] | own[1])


def test_two_pods_make_the_bits_of_one_with_the_real_network(tiny, conditions):
    take = make_take(2)

    def denoiser():
        return build_denoiser(tiny, conditions, take.steps)

    assert torch.equal(render_on_two_pods(denoiser, take), sample(denoiser(), take))


class Plain:
    """The whole network, told everything anew at every call."""

    def __init__(self, transformer, conditions):
        self.transformer, self.conditions = transformer, conditions

    def velocity(self, x, window, step, branch):
        return self.transformer(x[None], torch.tensor([step.t]), [self.conditions.window(window, step, branch)])[0]


def test_the_denoiser_is_the_network_told_about_each_window(tiny, conditions):
    take = make_take(2)
    plain = Guided(Plain(tiny, conditions))
    assert torch.allclose(
        sample(build_denoiser(tiny, conditions, take.steps), take), sample(plain, take), rtol=0, atol=2e-5
    )


def test_a_cached_step_is_near_the_full_one_and_nearer_than_the_step_before(tiny, conditions):
    steps = make_take(20, cache=True).steps[6:8]
    full, cached = steps
    assert cached.cached and not full.cached
    window = plan_windows(SHOT, full.move, FUSION)[0]
    x = draw(16, len(window.latents), *SIZE)
    denoiser = build_denoiser(tiny, conditions, steps, "released")
    before = denoiser.velocity(x, window, full)
    ours = denoiser.velocity(x, window, cached)
    exact = build_denoiser(tiny, conditions, steps).velocity(x, window, cached)
    assert 0 < float((ours - exact).abs().mean()) < float((before - exact).abs().mean())


def test_a_residual_cache_without_tolerance_skips_nothing(tiny, conditions):
    take = make_take(2)
    exact, cautious = (build_denoiser(tiny, conditions, take.steps, cache, 0.0) for cache in ("off", "residual"))
    assert torch.allclose(sample(cautious, take), sample(exact, take), rtol=0, atol=2e-5)


def test_guidance_one_is_the_conditional_branch(tiny, conditions):
    take = make_take(1, guidance=1.0, rule="constant")
    silent = replace(conditions, negative=conditions.positive)
    assert torch.equal(
        sample(build_denoiser(tiny, conditions, take.steps), take),
        sample(build_denoiser(tiny, silent, take.steps), take),
    )


def test_both_branches_matter_when_guided(tiny, conditions):
    take = make_take(1)
    other = replace(conditions, negative=conditions.positive)
    assert not torch.equal(
        sample(build_denoiser(tiny, conditions, take.steps), take),
        sample(build_denoiser(tiny, other, take.steps), take),
    )


def test_a_guarded_take_does_not_depend_on_what_lies_beyond_the_window_at_the_first_step(tiny, conditions):
    """Windows of one step are independent: the last one's audio reaches the first one only after the borders move."""
    loud = tuple(replace(v, audio=torch.cat([v.audio[:-4], v.audio[-4:] + 3])) for v in conditions.voices)
    take = make_take(1)
    ours, theirs = (
        sample(build_denoiser(tiny, c, take.steps), take) for c in (conditions, replace(conditions, voices=loud))
    )
    assert torch.equal(ours[:, :8], theirs[:, :8])
    assert not torch.equal(ours[:, 8:], theirs[:, 8:])
