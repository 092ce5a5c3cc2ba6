"""Two ways to compute one thing are tested against each other: every saving against the plain path."""

import dataclasses

import pytest
import torch
from tiny_network import GRID, TINY, draw, make_conditions, make_voice, random_network

from model.attention import joint_layout, sdpa
from model.blocks import PLAIN, Options
from model.guidance import Guided
from model.guidance_voices import VoiceGuided, guide_voices, one_voice
from model.latent_cache import CachedNetwork
from model.linear import Linear, to_float8_
from model.residual_cache import ResidualCache
from model.sampler import Take, sample
from model.schedule import ScheduleConfig, plan_steps
from model.shot import Prompt, ShotConditions, ShotVoice
from model.shot_network import SharedGuided, TabledNetwork
from model.tables import build_tables, drop_tabled_weights_
from model.windows import FusionConfig, plan_windows, shot_latents

FUSION = FusionConfig("guarded", window_latents=4, shift_latents=2, max_window_latents=6)
SHOT = shot_latents(29, FUSION)
STEPS = plan_steps(ScheduleConfig(num_steps=10))
CHUNKED = Options(chunk_tokens=17)
MASKED = Options(masked_adapters=True)


class Plain:
    """The network told about one window at a time, with no tables."""

    def __init__(self, network, conditions):
        self.network, self.conditions = network, conditions

    def velocity(self, x, window, step, branch):
        told = self.conditions.window(window, step, branch)
        return self.network(x[None], torch.tensor([step.t]), [told])[0]


def shot_voice(seed: int, emotion: bool) -> ShotVoice:
    mask = (draw(SHOT.total, *GRID[1:], seed=seed) > 1).float()
    audio = draw(27, 10, 3, 8, seed=seed)  # shorter than the shot: silence after its end
    index = torch.arange(SHOT.total) % 2 if emotion else None
    return ShotVoice(audio, mask, emotion=draw(2, 16, 4, 4, seed=seed) if emotion else None, emotion_index=index)


@pytest.fixture(scope="module")
def shot() -> ShotConditions:
    def prompt(seed):
        mask = torch.tensor([1, 1, 1, 0, 0, 1])
        return Prompt(draw(6, TINY.text_width, seed=seed), mask, draw(TINY.pooled_width, seed=seed))

    exp = torch.cat([torch.full((SHOT.total // 2, 4), 30.0), torch.full((1, 4), 12.0)])
    voices = (shot_voice(1, True), shot_voice(2, False))
    return ShotConditions(SHOT, prompt(1), prompt(2), draw(16, 1, *GRID[1:]), voices, exp, torch.full((1, 4), 25.0))


def calls():
    for step in (STEPS[0], STEPS[1], STEPS[5]):
        for window in plan_windows(SHOT, step.move, FUSION):
            yield draw(16, len(window.latents), *GRID[1:], seed=step.index), window, step


@pytest.mark.parametrize("branch", ["uncond", "cond"])
def test_tables_are_the_plain_path(tiny, shot, branch):
    tabled = TabledNetwork(build_tables(tiny, shot, STEPS))
    for x, window, step in calls():
        plain = Plain(tiny, shot).velocity(x, window, step, branch)
        assert torch.allclose(tabled.velocity(x, window, step, branch), plain, atol=1e-5)


def test_tables_of_text_and_modulation_are_the_plain_paths_to_the_bit(tiny, shot):
    tables = build_tables(tiny, shot, STEPS)
    _, window, step = next(calls())
    told = shot.window(window, step, "uncond")
    prepared = tables.prepared(window, step, "uncond")
    plain = tiny.prepare(torch.tensor([step.t]), [told], prepared.grid)
    assert torch.equal(prepared.text, plain.text)
    assert all(torch.equal(a, b) for a, b in zip(prepared.modulations.single, plain.modulations.single, strict=True))
    assert torch.equal(prepared.reference.added, plain.reference.added)


def test_the_network_runs_without_the_weights_that_tables_stand_in_for(shot):
    network = random_network(TINY)
    tabled = TabledNetwork(build_tables(network, shot, STEPS))
    before = [tabled.velocity(*call, "uncond") for call in calls()]
    everything = sum(p.numel() * p.element_size() for p in network.parameters())
    freed = drop_tabled_weights_(network)
    assert 0.2 * everything < freed < 0.6 * everything
    for call, expected in zip(calls(), before, strict=True):
        assert torch.equal(tabled.velocity(*call, "uncond"), expected)


def test_sharing_the_first_blocks_of_a_guidance_pair_keeps_the_bits(tiny, shot):
    tables = build_tables(tiny, shot, STEPS)
    plain, shared = Guided(TabledNetwork(tables)), SharedGuided(tables)
    late = [step for step in STEPS if not step.negative]
    assert late
    for x, window, step in calls():
        assert torch.equal(shared.velocity(x, window, step), plain.velocity(x, window, step))


def test_the_first_blocks_are_run_once_where_both_branches_read_one_prompt(tiny, shot):
    runs = []
    handle = tiny.double_blocks[0].register_forward_hook(lambda *_: runs.append(1))
    tables = build_tables(tiny, shot, STEPS)
    counted = []
    for step in (STEPS[0], STEPS[9]):
        window = plan_windows(SHOT, step.move, FUSION)[0]
        SharedGuided(tables).velocity(draw(16, len(window.latents), *GRID[1:]), window, step)
        counted.append(len(runs))
    handle.remove()
    assert counted == [2, 3]


@pytest.mark.parametrize("options", [CHUNKED, MASKED, Options(chunk_tokens=50, masked_adapters=True)])
def test_chunks_and_masked_tokens_are_the_plain_path(tiny, options):
    items = [
        make_conditions(make_voice(1, emotion=True), make_voice(2)),
        make_conditions(make_voice(3, mask=torch.zeros(1, *GRID[1:])), seed=2, num_valid=9),
    ]
    x, t = draw(2, 16, *GRID), torch.tensor([900.0, 33.0])
    assert torch.allclose(tiny(x, t, items, options), tiny(x, t, items, PLAIN), atol=2e-5)


def test_masked_adapters_compute_no_more_tokens_than_a_mask_has(tiny):
    voice = make_voice(1, emotion=True)
    (prepared,) = tiny.prepare(torch.ones(1), [make_conditions(voice)], (3, 4, 6), MASKED).voices
    assert prepared.tokens.shape[-1] == int((prepared.gain != 0).sum(-1).max()) < 24


def test_an_attention_kernel_is_an_argument(tiny, x, t):
    seen = []

    def attention(q, k, v, layout):
        seen.append((q.shape, layout.num_image))
        return sdpa(q, k, v, layout)

    item = make_conditions(make_voice(1))
    ours = tiny(x, t, [item], Options(attention=attention))
    assert torch.equal(ours, tiny(x, t, [item]))
    assert seen == [((1, 4 * 24 + 7, 2, 32), 96)] * 7


def test_sdpa_is_the_formula():
    q, k, v = (draw(2, 9, 3, 8, seed=seed) for seed in range(3))
    layout = joint_layout(5, (2, 4), "cpu")
    for item, last in enumerate((7, 9)):
        weights = torch.einsum("nhd,mhd->hnm", q[item], k[item, :last]).div(8**0.5).softmax(-1)
        expected = torch.einsum("hnm,mhd->nhd", weights, v[item, :last])
        assert torch.allclose(sdpa(q, k, v, layout)[item], expected, atol=1e-6)


# ------------------------------------------------------------------------------------------ approximate, off by default


def test_features_kept_and_taken_back_at_once_are_the_plain_path(tiny, shot):
    tabled = TabledNetwork(build_tables(tiny, shot, STEPS))
    cached = CachedNetwork(tabled, held=False)
    for x, window, step in calls():
        full = cached.velocity(x, window, step, "cond")
        assert torch.equal(full, tabled.velocity(x, window, step, "cond"))
        again = cached.velocity(x, window, dataclasses.replace(step, cached=True), "cond")
        assert torch.allclose(again, full, atol=1e-6)


def test_a_residual_cache_with_threshold_zero_is_the_plain_path(tiny, shot):
    tables = build_tables(tiny, shot, STEPS)
    cache = ResidualCache(tables, threshold=0.0)
    for x, window, step in calls():
        expected = TabledNetwork(tables).velocity(x, window, step, "cond")
        assert torch.allclose(cache.velocity(x, window, step, "cond"), expected, atol=1e-4)
    assert cache.skipped == 0


def test_a_residual_cache_outlives_a_move_of_the_windows(tiny, shot):
    """The point of keeping residuals per latent: the next step's windows are other cuts of the same latents."""
    cache = ResidualCache(build_tables(tiny, shot, STEPS), threshold=0.5)
    latents = draw(16, SHOT.total, *GRID[1:])
    first, second = (plan_windows(SHOT, move, FUSION) for move in (0, 1))
    assert {w.latents for w in first} != {w.latents for w in second}
    for windows in (first, second):
        for window in windows:
            cache.velocity(latents[:, list(window.latents)], window, STEPS[8], "cond")
    assert cache.full == len(first)
    assert cache.skipped == len(second)


def test_a_residual_cache_recomputes_what_has_moved_too_far(tiny, shot):
    cache = ResidualCache(build_tables(tiny, shot, STEPS), threshold=0.05)
    window = plan_windows(SHOT, 0, FUSION)[0]
    x = draw(16, len(window.latents), *GRID[1:])
    for factor in (1.0, 1.001, 3.0):
        cache.velocity(factor * x, window, STEPS[8], "cond")
    assert (cache.full, cache.skipped) == (2, 1)


def test_eight_bit_weights_stay_near(x, t):
    plain, small = random_network(TINY), random_network(TINY)
    for blocks in (small.double_blocks, small.single_blocks):
        to_float8_(blocks)
    item = make_conditions(make_voice(1))
    linears = [
        m for blocks in (small.double_blocks, small.single_blocks) for m in blocks.modules() if isinstance(m, Linear)
    ]
    assert {layer.weight.dtype for layer in linears} == {torch.float8_e4m3fn}
    a, b = plain(x, t, [item]), small(x, t, [item])
    assert 0.99 < torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0) < 0.99999


def test_a_whole_shot_is_the_same_from_tables(tiny, shot):
    take = Take(SHOT, FUSION, STEPS[:1] + STEPS[9:], lambda latent: draw(16, *GRID[1:], seed=latent))
    take = dataclasses.replace(take, steps=tuple(dataclasses.replace(s, index=i) for i, s in enumerate(take.steps)))
    tabled = sample(SharedGuided(build_tables(tiny, shot, take.steps)), take)
    assert torch.allclose(tabled, sample(Guided(Plain(tiny, shot)), take), atol=1e-4)


# ------------------------------------------------------------------------------------------ guidance per voice


def test_guidance_per_voice_with_one_voice_is_guidance():
    uncond, cond = draw(16, *GRID, seed=1), draw(16, *GRID, seed=2)
    masks = (draw(1, *GRID, seed=3) > 0).float()
    expected = uncond + 6.5 * (cond - uncond)
    assert torch.allclose(guide_voices(uncond, cond[None], masks, 6.5), expected, atol=1e-5)


def test_guidance_per_voice_gives_each_face_its_own_voice():
    uncond, voices = draw(16, *GRID, seed=1), draw(2, 16, *GRID, seed=2)
    left = torch.zeros(*GRID)
    left[..., :4] = 1
    right = torch.zeros(*GRID)
    right[..., 8:] = 1
    out = guide_voices(uncond, voices, torch.stack([left, right]), 1.0)
    assert torch.allclose(out[..., :4], voices[0, ..., :4], atol=1e-6)
    assert torch.allclose(out[..., 8:], voices[1, ..., 8:], atol=1e-6)
    assert torch.allclose(out[..., 4:8], voices.mean(0)[..., 4:8], atol=1e-6)


def test_a_shot_guided_per_voice_keeps_each_voice_to_its_face(tiny, shot):
    networks = [Plain(tiny, one_voice(shot, index)) for index in range(2)]
    x, window, step = next(calls())
    ours = VoiceGuided(networks, shot).velocity(x, window, step)
    uncond = networks[0].velocity(x, window, step, "uncond")
    first = networks[0].velocity(x, window, step, "cond")
    only = shot.voices[0].mask[list(window.latents)] * (1 - shot.voices[1].mask[list(window.latents)])
    expected = uncond + step.guidance * (first - uncond)
    assert only.any()
    assert torch.allclose(ours * only, expected * only, atol=1e-4)
