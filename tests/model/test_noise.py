"""Noise per (seed, latent): the same bits everywhere, normal, independent."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtri

from model.noise import latent_noise, normal_quantile, shot_noise

SHAPE = (16, 16, 24)


def test_the_bits_are_pinned():
    assert latent_noise(1024, 0, (1, 1, 4)).view(torch.int32).flatten().tolist() == [
        1063466926,
        1073549097,
        -1090591420,
        -1089422255,
    ]


def test_a_latent_is_the_same_whoever_draws_it_and_when():
    noise = shot_noise(7, SHAPE)
    forward = [noise(latent) for latent in range(5)]
    assert all(torch.equal(noise(latent), forward[latent]) for latent in (4, 2, 0))


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_any_seed_and_latent_gives_finite_values(seed, latent):
    values = latent_noise(seed, latent, (2, 3, 4))
    assert values.dtype == torch.float32
    assert bool(values.isfinite().all())


def test_values_are_standard_normal():
    values = torch.stack([latent_noise(3, latent, SHAPE) for latent in range(40)]).double().flatten()
    moments = [float((values**k).mean()) for k in (1, 2, 3, 4)]
    assert moments == pytest.approx([0, 1, 0, 3], abs=0.03)  # four standard errors of the fourth, n = 245,760
    ranks = torch.special.ndtr(values.sort().values) - (torch.arange(len(values)) + 0.5) / len(values)
    assert float(ranks.abs().max()) < 1.63 / len(values) ** 0.5  # Kolmogorov, one in a hundred


def test_neighbouring_seeds_and_latents_have_nothing_in_common():
    draws = [latent_noise(seed, latent, SHAPE).flatten() for seed in (0, 1, 2) for latent in (0, 1, 2)]
    correlation = torch.corrcoef(torch.stack(draws)) - torch.eye(9)
    assert float(correlation.abs().max()) < 4 / draws[0].numel() ** 0.5


def test_the_quantile_is_exact_from_the_middle_to_the_tails():
    p = np.concatenate(
        [np.linspace(1e-6, 1 - 1e-6, 100_001), 2.0 ** -np.arange(1.0, 53), 1 - 2.0 ** -np.arange(1.0, 53)]
    )
    assert np.allclose(normal_quantile(p), ndtri(p), rtol=1e-14, atol=1e-14)


def test_impossible_keys_are_refused():
    with pytest.raises(ValueError, match="must be in 0"):
        latent_noise(-1, 0, SHAPE)
