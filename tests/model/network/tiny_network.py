"""A tiny network with every part open, and conditions for it."""

import dataclasses

import torch

from model.conditions import Conditions, Voice
from model.config import PUPPET, AudioConfig, NetworkConfig
from model.transformer import VideoTransformer

TINY = dataclasses.replace(
    PUPPET,
    name="tiny",
    hidden=64,
    heads=2,
    text_width=24,
    pooled_width=16,
    adapter_width=32,
    double_blocks=4,
    adapter_every=2,
    single_blocks=3,
    audio=AudioConfig(width=8, layers=2, heads=2, projection=32),
)
GRID = (3, 8, 12)  # latents, latent height and width
MOTION = (torch.full((4,), 30.0), torch.full((4,), 25.0))  # the released motion_exp and motion_pose


def random_network(config: NetworkConfig, seed: int = 0) -> VideoTransformer:
    """Return a network in which nothing is zero, so that nothing can be left out unnoticed."""
    network = VideoTransformer(config).requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.state_dict().values():
        fan_in = parameter[0].numel() if parameter.ndim > 1 else 1
        parameter.normal_(std=fan_in**-0.5 if fan_in > 1 else 0.3, generator=generator)
    return network


def draw(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def make_voice(seed: int = 1, emotion: bool = False, mask: torch.Tensor | None = None, **more) -> Voice:
    t, h, w = GRID
    audio = TINY.audio
    picked = (draw(t, h, w, seed=seed) > 0.5).float() if mask is None else mask
    pictures = draw(2, 16, 4, 4, seed=seed) if emotion else None
    frames = draw(4 * t - 3, audio.rows_per_frame, audio.layers + 1, audio.width, seed=seed)
    return Voice(frames, picked, emotion=pictures, **more)


def make_conditions(*voices: Voice, seed: int = 1, num_valid: int = 7, num_text: int = 9) -> Conditions:
    mask = (torch.arange(num_text) < num_valid).long()
    text = draw(num_text, TINY.text_width, seed=seed)
    reference = draw(16, 1, *GRID[1:], seed=seed)
    return Conditions(text, mask, draw(TINY.pooled_width, seed=seed), reference, voices, *MOTION)
