"""The autoencoder: the released numbers, tiles, and streams of any length."""

import copy
from itertools import chain
from pathlib import Path

import pytest
import torch
from golden_inputs import SMALL_VAE, compare_vae, golden_vae
from golden_network import load_detgen
from hypothesis import given
from hypothesis import strategies as st

from model.config import AVATAR, VaeConfig
from model.tiles import Tiling, plan_tiles, plan_time
from model.vae import (
    build_vae,
    decode,
    decode_frames,
    decode_tile,
    denormalise,
    encode_clip,
    encode_image,
    moments,
    normalise,
    set_latent_statistics,
    stream_frames,
    tiling_of,
    to_pixels,
    to_unit,
)

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
TINY = VaeConfig(channels=(4, 4, 4, 8), layers_per_block=1, norm_groups=2, tile_pixels=64, tile_frames=16)
RELEASED = Tiling(32, 24, 16, 12)


@pytest.fixture(scope="module")
def golden():
    return golden_vae(load_detgen(GOLDEN))


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(0)
    return build_vae(TINY).requires_grad_(False)


@pytest.fixture(scope="module")
def latents():
    return torch.randn(16, 14, 11, 9, generator=torch.Generator().manual_seed(2))


def test_moments_and_frames_are_the_recorded_ones():
    results = compare_vae(GOLDEN)
    assert len(results) == 4
    assert all(result.passed for result in results), results


def test_released_names_shapes_and_tiles():
    with torch.device("meta"):
        vae = build_vae(AVATAR.vae)
    parameters = dict(vae.named_parameters())
    assert len(parameters) == 248
    assert sum(p.numel() for p in parameters.values()) == 246_478_803
    assert set(vae.state_dict()) - set(parameters) == {"latent_mean", "latent_std"}
    assert tiling_of(vae) == RELEASED
    assert len(plan_tiles(33, 88, 152, RELEASED)) == 84
    assert len(plan_tiles(37, 88, 152, RELEASED)) == 84  # the release decodes 28 more, of one latent each, for nothing


def test_frame_attention_is_the_masked_attention(golden):
    x = torch.randn(1, 3, 9, 32, 40, generator=torch.Generator().manual_seed(3))
    masked = copy.deepcopy(golden)
    for block in (masked.encoder.mid_block, masked.decoder.mid_block):
        del block.forward  # back to the original, which builds a mask
    assert torch.allclose(golden.encoder(x), masked.encoder(x), atol=1e-5, rtol=0)


def test_attention_that_is_not_causal_is_another_network(golden):
    open_vae = build_vae(VaeConfig(**{**SMALL_VAE.__dict__, "causal_attention": False}))
    open_vae.load_state_dict(golden.state_dict())
    x = torch.randn(1, 3, 9, 32, 40, generator=torch.Generator().manual_seed(3))
    assert (golden.encoder(x) - open_vae.encoder(x)).abs().max() > 1e-3


@given(num_latents=st.integers(1, 200), overlap=st.sampled_from([(32, 24, 16, 12), (8, 6, 4, 3), (16, 12, 8, 6)]))
def test_tiles_of_time_yield_every_frame_once(num_latents, overlap):
    plan = plan_time(num_latents, Tiling(*overlap))
    assert sum(kept for _, kept in plan) == 4 * (num_latents - 1) + 1
    for index, ((start, end), kept) in enumerate(plan):
        assert 0 < kept <= 4 * (end - start - 1) + (index == 0)
        assert index == 0 or start < plan[index - 1][0][1]  # there is something to blend with


@given(height=st.integers(1, 90), width=st.integers(1, 160))
def test_tiles_cover_the_picture(height, width):
    tiles = plan_tiles(1, height, width, RELEASED)
    seen = torch.zeros(height, width, dtype=torch.int)
    for tile in tiles:
        seen[slice(*tile.rows), slice(*tile.columns)] += 1
    assert seen.min() >= 1 and seen.max() <= 4
    assert len(tiles) == 1 or max(height, width) > 32


@pytest.mark.parametrize("num_latents", [1, 4, 5, 7, 13, 14])
def test_streamed_frames_are_the_whole_tiled_decode(tiny, latents, num_latents):
    part = latents[:, :num_latents]
    whole = tiny.decode(denormalise(tiny, part)[None]).sample[0]  # diffusers' own tiling, wasted tiles and all
    assert torch.equal(torch.cat(list(decode_frames(tiny, part))).movedim(1, 0), whole)


def test_a_shot_decoded_by_several_machines_is_the_shot(tiny, latents):
    whole = decode(tiny, latents)
    height, width = latents.shape[2:]
    num_times = len(plan_time(latents.shape[1], tiling_of(tiny)))
    assert num_times == 5
    runs = [
        stream_frames(tiny, lambda a, b: latents[:, a:b], latents.shape[1], height, width, first, end)
        for first, end in ((0, 1), (1, 4), (4, None))
    ]
    assert torch.equal(torch.cat(list(chain(*runs))).movedim(1, 0), whole)


def test_a_tile_reads_nothing_but_its_own_latents(tiny, latents):
    tile = plan_tiles(*latents.shape[1:], tiling_of(tiny))[9]
    start, end = tile.latents
    others = torch.full_like(latents, torch.nan)
    places = (slice(None), slice(start, end), slice(*tile.rows), slice(*tile.columns))
    others[places] = latents[places]
    assert torch.equal(decode_tile(tiny, others[:, start:end], tile), decode_tile(tiny, latents[:, start:end], tile))


def test_memory_of_a_stream_does_not_depend_on_its_length(tiny):
    """Latents are read a tile at a time and frames leave at once: no read and no yield grows with the shot."""
    reads = []

    def read(start, end):
        reads.append((start, end))
        return torch.zeros(16, end - start, 4, 4)

    frames = [len(part) for part in stream_frames(tiny, read, 100, 4, 4)]
    assert sum(frames) == 397 and max(frames) == 13
    assert max(end - start for start, end in reads) == 5
    assert len(reads) == len(frames)


def test_a_still_clip_is_its_one_frame(golden):
    picture = torch.rand(3, 96, 80, generator=torch.Generator().manual_seed(4)) * 2 - 1
    clip = picture[:, None].expand(-1, 33, -1, -1)
    assert (moments(golden, clip) - moments(golden, picture[:, None])).abs().max() < 1e-5
    assert encode_image(golden, picture, 9).shape == (16, 9, 12, 10)


def test_the_reference_is_the_mode_or_seeded_samples(golden):
    picture = torch.rand(3, 64, 48, generator=torch.Generator().manual_seed(4)) * 2 - 1
    mode = encode_image(golden, picture, 3)
    assert torch.equal(mode[:, 0], mode[:, 2])
    assert torch.equal(mode[:, :1], encode_clip(golden, picture[:, None]))
    one, same, other = (encode_image(golden, picture, 3, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other) and not torch.equal(one[:, 0], one[:, 1])
    draws = torch.stack([encode_image(golden, picture, 1, torch.Generator().manual_seed(s)) for s in range(60)])
    assert (draws.mean(0) - mode[:, :1]).abs().mean() < 0.3 * draws.std(0).mean()


def test_latents_are_normalised_as_the_weights_say():
    vae = build_vae(TINY)
    z = torch.randn(2, 16, 3, 4, 4)
    assert torch.allclose(normalise(vae, z), z * 0.476986)
    set_latent_statistics(vae, torch.linspace(-1, 1, 16), torch.linspace(0.5, 2, 16))
    assert torch.allclose(denormalise(vae, normalise(vae, z)), z, atol=1e-6)
    assert torch.equal(build_vae(TINY).latent_mean, torch.zeros(16))
    assert torch.equal(vae.state_dict()["latent_std"], torch.linspace(0.5, 2, 16))


def test_pixels_there_and_back():
    grey = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_pixels(to_unit(grey)), grey)
    assert torch.equal(to_pixels(torch.tensor([-3.0, 3.0])), torch.tensor([0, 255], dtype=torch.uint8))
    assert to_unit(grey, torch.float16).dtype == torch.float16


def test_a_network_can_be_trained_through_it(tiny):
    vae = copy.deepcopy(tiny).requires_grad_(True)
    clip = torch.randn(2, 3, 5, 16, 16)
    vae.decode(vae.encode(clip).latent_dist.sample()).sample.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in vae.parameters())


def test_clips_that_do_not_fit_are_named(tiny):
    with pytest.raises(ValueError, match="clip of 4 frames, 16 x 20"):
        encode_clip(tiny, torch.zeros(3, 4, 16, 20))
    with pytest.raises(ValueError, match="nothing to decode"):
        plan_tiles(0, 4, 4, RELEASED)
