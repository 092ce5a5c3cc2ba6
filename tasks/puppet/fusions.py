"""Other ways to make a long take, to compare with position shift: overlap blend and motion frames.

Each returns the shot's latents (c, t, h, w) and how many times the network was called. Hard cuts are position shift
with a shift of 0. c channels, t latents, h w latent sides.
"""

import torch
from torch import Tensor

from model.sampler import Denoiser, Take
from model.schedule import Step, euler_step
from model.windows import Window


def _noise(take: Take) -> Tensor:
    return torch.stack([take.noise(latent) for latent in range(take.shot.total)], dim=1)


def _moved(denoiser: Denoiser, x: Tensor, window: Window, step: Step) -> Tensor:
    part = x[:, list(window.latents)]
    return euler_step(part, denoiser.velocity(part, window, step), step)


def spans(total: int, length: int, hop: int) -> list[Window]:
    """Return windows of `length` latents every `hop`; the last one ends at the shot's end."""
    starts = list(range(0, max(total - length, 0) + 1, hop))
    if starts[-1] + length < total:
        starts.append(total - length)
    return [Window(i, tuple(range(start, min(start + length, total)))) for i, start in enumerate(starts)]


@torch.no_grad()
def overlap_blend(denoiser: Denoiser, take: Take, overlap: int = 3) -> tuple[Tensor, int]:
    """Denoise windows that overlap and average what they share after every step."""
    length = take.fusion.window_latents
    windows = spans(take.shot.total, length, length - overlap)
    x, calls = _noise(take), 0
    for step in take.steps:
        total, count = torch.zeros_like(x), torch.zeros(x.shape[1])
        for window in windows:
            total[:, list(window.latents)] += _moved(denoiser, x, window, step)
            count[list(window.latents)] += 1
            calls += 1
        x = total / count[:, None, None]
    return x, calls


@torch.no_grad()
def motion_frames(denoiser: Denoiser, take: Take, kept: int = 2) -> tuple[Tensor, int]:
    """Denoise window after window; each starts with the finished last latents of the one before, noised to the step."""
    length = take.fusion.window_latents
    noise, calls = _noise(take), 0
    done, end = noise.clone(), 0
    for window in spans(take.shot.total, length, length - kept):
        places = list(window.latents)
        known = len([place for place in places if place < end])
        clean, x = done[:, places].clone(), noise.clone()
        for step in take.steps:
            x[:, places[:known]] = (1 - step.sigma) * clean[:, :known] + step.sigma * noise[:, places[:known]]
            x[:, places] = _moved(denoiser, x, window, step)
            calls += 1
        done[:, places[known:]] = x[:, places[known:]]
        end = places[-1] + 1
    return done, calls
