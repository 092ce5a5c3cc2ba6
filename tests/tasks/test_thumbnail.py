"""A segment's newest frame: decoded from its middle, and never a reason to fail."""

import logging

import pytest
import torch
from PIL import Image

from tasks.network import load_bundle
from tasks.settings import Settings
from tasks.thumbnail import WIDTH, make_thumbnail


@pytest.fixture(scope="module")
def bundle():
    return load_bundle("puppet", Settings(device="cpu", threads=1))


def predictions(bundle, channels=0, latents=range(3)):
    shape = (channels or bundle.profile.network.latent_channels, 8, 12)
    return {(window, latent): torch.zeros(shape) for latent in latents for window in (0, 1)}


@pytest.mark.parametrize("latents", [range(1), range(5, 8)])
def test_a_thumbnail_is_a_small_picture_of_the_right_shape(bundle, tmp_path, latents):
    (made,) = make_thumbnail(predictions(bundle, latents=latents), bundle, tmp_path, "s1 1/2")
    assert (made.kind, made.suffix, made.name) == ("thumbnail", ".jpg", "s1 1/2")
    with Image.open(made.path) as picture:
        assert picture.format == "JPEG" and picture.size == (WIDTH, WIDTH * 8 // 12)


def test_a_segment_that_cannot_be_decoded_has_no_thumbnail_and_goes_on(bundle, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="tasks.thumbnail"):  # a command run earlier may have quietened "tasks"
        assert make_thumbnail(predictions(bundle, channels=3), bundle, tmp_path, "s1 1/2") == ()
    assert "no thumbnail" in caplog.text
