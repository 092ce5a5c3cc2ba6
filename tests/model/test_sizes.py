"""Pixels and latent cells."""

import pytest

from model.sizes import latent_size


def test_a_cell_is_eight_pixels_and_sizes_are_whole_tokens():
    assert latent_size(1216, 704) == (152, 88)
    with pytest.raises(ValueError, match="multiples of 16"):
        latent_size(1216, 700)
