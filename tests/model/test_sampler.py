"""The loop: one pod or many, interrupted or not, cached or not, to the same bits."""

import math
from dataclasses import replace
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.exchange import even_shares, plan_exchange, plan_result
from model.guidance import Guided
from model.latent_cache import CachedNetwork, Features
from model.noise import shot_noise
from model.sampler import (
    FLOAT16,
    FLOAT32,
    RELEASED,
    Take,
    denoise_step,
    draw,
    finish,
    merge,
    sample,
    sample_segment,
    select,
)
from model.schedule import ScheduleConfig, can_resume_after, moves, plan_steps
from model.windows import FusionConfig, ShotLatents, Window, shot_latents

SHAPE = (2, 2, 2)


class Mixing:
    """A denoiser whose every output depends on every input: the whole window, places in it and in the shot, t."""

    def velocity(self, x, window, step):
        places = torch.arange(x.shape[1]) * 0.1 + torch.tensor(window.latents) * 0.03
        return torch.tanh(x + x.mean((0, 1)) + places[:, None, None]) * (1 + step.t / 1000)


class MixingFeatures:
    """The same as a network of two parts and two branches."""

    def features(self, x, window, step, branch):
        sign = 1.0 if branch == "cond" else -0.5
        mixed = Mixing().velocity(x, window, step) * sign
        tokens = mixed.flatten(2).transpose(0, 1).transpose(1, 2)  # (t, n, c)
        return Features(tokens[0], tokens, tokens.mean((0, 1))[None])

    def head(self, features, x, window, step, branch):
        image = features.image + 0.1 * features.reference.mean() + 0.1 * features.text.mean()
        return image.transpose(1, 2).transpose(0, 1).unflatten(2, x.shape[2:]) * (step.t / 1000)


class Stopped(Exception):
    """The pod was killed, or waits for a neighbour and yields."""


class Post:
    """An exchange through memory: what was not put cannot be read, and nothing is put twice that differs."""

    def __init__(self):
        self.objects = {}

    def publish(self, step_index, segment, predictions):
        for key, values in predictions.items():
            old = self.objects.setdefault((step_index, segment, *key), values)
            assert torch.equal(old, values)

    def read(self, step_index, reads):
        wanted = {
            (piece.window, latent): (step_index, read.segment, piece.window, latent)
            for read in reads
            for piece in read.pieces
            for latent in piece.latents
        }
        if not all(place in self.objects for place in wanted.values()):
            raise Stopped
        return {key: self.objects[place] for key, place in wanted.items()}


def make_take(
    mode, num_frames, num_steps=7, f=6, shift=2, numerics=FLOAT32, direction="backward", longest=0, **schedule
):
    fusion = FusionConfig(mode, f, shift, direction, longest)
    steps = plan_steps(ScheduleConfig(num_steps, **schedule))
    return Take(shot_latents(num_frames, fusion), fusion, steps, shot_noise(5, SHAPE), numerics)


class Pod:
    """One segment's process: it dies after some steps or when it would have to wait, and starts again afresh."""

    def __init__(self, make_denoiser, take, segment, segments, post):
        self.make_denoiser = make_denoiser
        self.take = take
        self.rest = (segment, segments, post)
        self.saved = None

    def live(self, num_steps):
        """Return the segment's predictions if it finished within `num_steps` steps, else None."""
        last = (self.saved.step_index if self.saved else -1) + num_steps

        def after_step(checkpoint):
            if can_resume_after(self.take.steps, checkpoint.step_index):
                self.saved = checkpoint
                if last <= checkpoint.step_index < len(self.take.steps) - 1:
                    raise Stopped

        try:
            return sample_segment(self.make_denoiser(), self.take, *self.rest, self.saved, after_step)
        except Stopped:
            return None


def render_shared(make_denoiser, take, segments, steps_a_life=1):
    """Return the shot as pods make it that take turns, each dying every few steps."""
    post, results = Post(), {}
    num_pods = segments if isinstance(segments, int) else len(segments)
    pods = [Pod(make_denoiser, take, s, segments, post) for s in range(num_pods)]
    while len(results) < num_pods:
        for s, pod in enumerate(pods):
            if s not in results and (done := pod.live(steps_a_life)) is not None:
                results[s] = done
    pieces = plan_result(take.shot, take.fusion, len(take.steps) - 1, segments, moves(take.steps))
    return finish(take, {key: v for s in results for key, v in select(results[s], pieces[s]).items()})


MIXES = [
    (mode, kept, segments)
    for mode, kept in product(["released", "aligned", "guarded"], [7, 12, 13, 24, 35])
    for segments in range(1, shot_latents(4 * kept - 3, FusionConfig(mode, 6)).num_windows + 1)
]


@pytest.mark.parametrize(("mode", "kept", "segments"), MIXES)
def test_any_number_of_pods_makes_the_same_bits_as_one(mode, kept, segments):
    take = make_take(mode, 4 * kept - 3)
    assert torch.equal(render_shared(Mixing, take, segments), sample(Mixing(), take))


@settings(max_examples=40)
@given(
    st.sampled_from(["released", "aligned", "guarded"]),
    st.integers(1, 160),
    st.integers(0, 9),
    st.sampled_from([FLOAT32, FLOAT16, RELEASED]),
    st.sampled_from(["backward", "forward"]),
    st.sampled_from([0, 9]),
    st.data(),
)
def test_any_setting_makes_the_same_bits_on_any_number_of_pods(mode, n, shift, numerics, direction, longest, data):
    take = make_take(mode, n, 5, 6, shift, numerics, direction, longest)
    segments = data.draw(st.integers(1, take.shot.num_windows))
    assert torch.equal(render_shared(Mixing, take, segments), sample(Mixing(), take))


def test_uneven_shares_make_the_same_bits():
    take = make_take("guarded", 4 * 40)  # 41 latents: 7 windows
    assert torch.equal(render_shared(Mixing, take, (3, 3, 1)), sample(Mixing(), take))


@pytest.mark.parametrize("steps_a_life", [1, 2, 100])
def test_pods_that_die_at_any_time_make_the_same_bits(steps_a_life):
    take = make_take("aligned", 100, num_steps=9)
    assert torch.equal(render_shared(Mixing, take, 4, steps_a_life), sample(Mixing(), take))


@pytest.mark.parametrize("mode", ["released", "aligned", "guarded"])
@pytest.mark.parametrize("segments", [1, 2, 3])
def test_a_feature_cache_per_pod_makes_the_same_bits_as_one_for_all(mode, segments):
    take = make_take(mode, 4 * 13, num_steps=25, guidance=3.0, cache=True)
    assert sum(step.cached for step in take.steps) >= 5

    def cached():
        return Guided(CachedNetwork(MixingFeatures()))

    alone = sample(cached(), take)
    assert torch.equal(render_shared(cached, take, segments, steps_a_life=4), alone)
    full = replace(take, steps=tuple(replace(step, cached=False) for step in take.steps))
    assert not torch.equal(sample(cached(), full), alone)


def test_without_the_neighbours_latents_the_bits_differ():
    take = make_take("aligned", 4 * 24)
    own_only = [
        sample_segment(Mixing(), take, s, 2, Forgetful(plan_exchange(take.shot, take.fusion, 0, 2)[s], take))
        for s in range(2)
    ]
    shared = finish(take, own_only[0] | own_only[1])
    assert not torch.equal(shared, sample(Mixing(), take))


class Forgetful:
    """An exchange that answers with noise."""

    def __init__(self, part, take):
        self.take = take

    def publish(self, step_index, segment, predictions):
        return None

    def read(self, step_index, reads):
        return {
            (p.window, latent): self.take.noise(latent) for read in reads for p in read.pieces for latent in p.latents
        }


def test_a_short_shot_is_the_same_in_both_modes_without_a_table_of_lengths():
    short = sample(Mixing(), make_take("guarded", 4 * 6 - 3))
    again = sample(Mixing(), make_take("aligned", 4 * 6 - 3))
    assert torch.equal(short, again)


def test_one_window_is_plain_euler():
    take = make_take("guarded", 9, num_steps=4)
    x = torch.stack([take.noise(latent) for latent in range(3)], dim=1)
    for step in take.steps:
        x = x + Mixing().velocity(x, Window(0, (0, 1, 2)), step) * step.euler
    assert torch.equal(sample(Mixing(), take), x)


def test_what_two_windows_cover_is_averaged_in_the_states_precision():
    values = [torch.tensor([[[1.0]]], dtype=torch.float16), torch.tensor([[[1.0009765625]]], dtype=torch.float16)]
    state = merge({(1, 0): values[1], (0, 0): values[0]})
    assert state[0].dtype == torch.float16
    assert torch.equal(state[0], (values[0] + values[1]) / 2)


def test_released_numerics_keep_half_precision_with_the_bits_of_bfloat16():
    take = make_take("aligned", 80, numerics=RELEASED)
    state = draw(take, (Window(0, (0, 1, 2)),))
    moved = denoise_step(Mixing(), state, (Window(0, (0, 1, 2)),), take.steps[0], RELEASED)
    for values in moved.values():
        assert values.dtype == torch.float16
        assert torch.equal(values, values.to(torch.bfloat16).to(torch.float16))


def test_the_result_is_finite_float32_and_has_the_kept_latents():
    take = make_take("released", 100, numerics=RELEASED)
    out = sample(Mixing(), take)
    assert out.shape == (2, take.shot.kept, 2, 2) and out.dtype == torch.float32
    assert math.isfinite(float(out.sum()))
    assert take.shot == ShotLatents(31, 27, 6)


def test_a_pod_may_own_every_window():
    assert even_shares(1, 1) == (1,)
    take = make_take("guarded", 5)
    assert torch.equal(render_shared(Mixing, take, 1), sample(Mixing(), take))


class Diary(Post):
    """An exchange, and a denoiser, that write down what happened."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def publish(self, step_index, segment, predictions):
        self.lines.append("tell")
        super().publish(step_index, segment, predictions)

    def read(self, step_index, reads):
        self.lines.append("ask")
        return super().read(step_index, reads)

    def velocity(self, x, window, step):
        self.lines.append("window")
        return Mixing().velocity(x, window, step)


def test_a_segment_tells_its_neighbours_a_window_early_and_asks_them_a_window_late():
    take = make_take("aligned", 4 * 36 - 3, num_steps=3)
    diaries = [Diary(), Diary()]
    diaries[1].objects = diaries[0].objects
    pods = [Pod(lambda diary=diary: diary, take, s, 2, diary) for s, diary in enumerate(diaries)]
    while None in [pod.live(1) for pod in pods]:
        pass
    first = ["window", "tell", "window", "window"]
    middle = ["window", "tell", "window", "ask", "window"]
    assert [diary.lines for diary in diaries] == [[*first, *middle, "window", "window", "ask", "window"]] * 2
