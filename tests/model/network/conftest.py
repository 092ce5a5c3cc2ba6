"""The tiny network and the recorded 2 + 2 block network."""

import pytest
import torch
from golden_network import golden_network
from tiny_network import GRID, TINY, draw, random_network

from model.transformer import VideoTransformer


@pytest.fixture(scope="session")
def tiny() -> VideoTransformer:
    return random_network(TINY)


@pytest.fixture
def x() -> torch.Tensor:
    return draw(1, 16, *GRID)


@pytest.fixture
def t() -> torch.Tensor:
    return torch.tensor([640.0])


@pytest.fixture(scope="session")
def recorded_network() -> VideoTransformer:
    """1.4 G values: made once for all tests that need the full width."""
    return golden_network()
