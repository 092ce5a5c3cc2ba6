"""The puppet's autoencoder keeps the released one's contract."""

import pytest
import torch

from model.config import PUPPET
from model.patch_vae import PatchVae, to_blocks
from model.vae import build_vae, decode, decode_frames, encode_clip, encode_image


def _smooth_clips(count: int) -> torch.Tensor:
    stills = torch.nn.functional.interpolate(torch.rand(count, 3, 4, 4) * 2 - 1, size=(32, 32), mode="bilinear")
    return stills[:, :, None].expand(-1, -1, 9, -1, -1).contiguous()


@pytest.fixture(scope="module")
def vae() -> PatchVae:
    torch.manual_seed(0)
    built: PatchVae = build_vae(PUPPET.vae)
    built.start_linear(_smooth_clips(8))
    return built.eval().requires_grad_(False)


def test_first_latent_is_one_frame_and_later_ones_four(vae: PatchVae) -> None:
    latents = encode_clip(vae, torch.rand(3, 13, 16, 24) * 2 - 1)
    assert latents.shape == (16, 4, 2, 3)
    assert decode(vae, latents).shape == (3, 13, 16, 24)


def test_encoding_is_causal(vae: PatchVae) -> None:
    clip = torch.rand(3, 13, 16, 16) * 2 - 1
    other = clip.clone()
    other[:, 9:] = 0
    first, second = encode_clip(vae, clip), encode_clip(vae, other)
    assert torch.allclose(first[:, :3], second[:, :3], atol=1e-5) and not torch.allclose(first[:, 3], second[:, 3])


def test_a_still_clip_is_its_one_frame(vae: PatchVae) -> None:
    image = torch.rand(3, 16, 16) * 2 - 1
    whole = encode_clip(vae, image[:, None].expand(-1, 9, -1, -1))
    assert torch.allclose(whole, encode_image(vae, image, 3), atol=1e-4)


def test_streamed_frames_are_the_whole_decode(vae: PatchVae) -> None:
    latents = torch.randn(16, 30, 2, 2)
    streamed = torch.cat(list(decode_frames(vae, latents)))
    assert streamed.shape == (117, 3, 16, 16)
    assert torch.equal(streamed.permute(1, 0, 2, 3), decode(vae, latents))


def test_the_linear_start_already_shows_the_picture(vae: PatchVae) -> None:
    clip = _smooth_clips(1)[0]
    error = (decode(vae, encode_clip(vae, clip)) - clip).square().mean()
    assert error < 0.1 * clip.var()


def test_blocks_hold_every_pixel_once() -> None:
    clip = torch.arange(5 * 8 * 8, dtype=torch.float32).reshape(1, 1, 5, 8, 8).expand(-1, 3, -1, -1, -1)
    blocks = to_blocks(clip)
    assert blocks.shape == (1, 768, 2, 1, 1)
    assert blocks[0, :, 1].sum() == clip[0, :, 1:].sum()
