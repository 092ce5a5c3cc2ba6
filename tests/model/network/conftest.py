"""The tiny network and its input."""

import pytest
import torch
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
