"""Trains the puppet's causal 3D VAE (4x8x8, 16 channels) on crops of freshly drawn clips. b crops, f frames."""

import json
import logging
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor
from torch.nn import functional

from model.config import PUPPET
from model.vae import build_vae
from tasks.puppet.expression import EMOTIONS
from tasks.puppet.motion import Acting, Mood, smooth_track
from tasks.puppet.world import ClipSpec, draw_clip, draw_plate, draw_portrait

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class VaeRecipe:
    """What the shipped autoencoder was trained with."""

    steps: int = 2600
    crops: int = 4
    frames: int = 9
    side: int = 64
    rate: float = 2e-3
    kl: float = 2e-5
    seed: int = 0
    save_seconds: float = 60.0


def random_acting(rng: Generator, frames: int) -> Acting:
    """Return a character babbling at random, in any mood."""
    opened = smooth_track(np.clip(rng.normal(0.3, 0.55, frames), 0, 1), 0.6)
    width = smooth_track(rng.uniform(-1.3, 1.3, frames), 0.8)
    mood = Mood(0, EMOTIONS[int(rng.integers(len(EMOTIONS)))], float(rng.uniform(0.3, 1.4)))
    return Acting(np.stack([opened, width], axis=1), (mood,), float(rng.uniform()), float(rng.uniform()))


def draw_crops(rng: Generator, recipe: VaeRecipe) -> Tensor:
    """Return crops, most of them around faces: (b, 3, f, side, side), -1..1."""
    count, seed = int(rng.choice([1, 2, 3, 4], p=[0.2, 0.45, 0.3, 0.05])), int(rng.integers(1 << 40))
    light = str(rng.choice(["", "night", "sunset"], p=[0.8, 0.1, 0.1]))
    spec = ClipSpec(seed, tuple(random_acting(rng, recipe.frames) for _ in range(count)), light=light)
    clip = draw_clip(spec, int(rng.integers(1 << 30)))
    _, boxes = draw_plate(seed, count)
    height, width = clip.shape[1:3]
    crops = []
    for i in range(recipe.crops):
        box = boxes[int(rng.integers(count))]
        if i == 0 and rng.random() < 0.35:  # an emotion picture, still
            emotion = EMOTIONS[int(rng.integers(len(EMOTIONS)))]
            still = draw_portrait(seed, 0, emotion, float(rng.uniform(0.5, 1.4)), recipe.side)
            crops.append(np.repeat(still[None], recipe.frames, axis=0))
            continue
        x = (box.x + box.w / 2) * width + rng.normal(0, 12 if i else 50) - recipe.side / 2
        y = (box.y + box.h / 2) * height + rng.normal(0, 10 if i else 40) - recipe.side / 2
        left, top = int(np.clip(x, 0, width - recipe.side)), int(np.clip(y, 0, height - recipe.side))
        crops.append(clip[:, top : top + recipe.side, left : left + recipe.side])
    pixels = torch.from_numpy(np.stack(crops)).permute(0, 4, 1, 2, 3)
    return pixels.contiguous(memory_format=torch.channels_last_3d).float() / 127.5 - 1


def losses(vae: Any, clip: Tensor, kl: float) -> tuple[Tensor, Tensor]:
    """Return the loss and the plain squared error of a batch (b, 3, f, h, w)."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mean, log_variance = vae.quant_conv(vae.encoder(clip)).float().chunk(2, dim=1)
        log_variance = log_variance.clamp(-12, 8)
        z = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        again = vae.decoder(vae.post_quant_conv(z)).float()
    error = again - clip
    # edges carry the drawing: brows, lids and lips are thin lines on flat colour
    edge = 1 + 2.5 * (clip[..., 1:, 1:] - clip[..., :-1, :-1]).abs().amax(1, keepdim=True).clamp(max=1)
    weight = functional.pad(edge, (1, 0, 1, 0), value=1.0)
    divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).mean()
    return (weight * (error.abs() + 2 * error**2)).mean() + kl * 16 * divergence, (error**2).mean()


def train_vae(folder: Path, recipe: VaeRecipe) -> None:
    """Train, or go on with, the autoencoder in `folder` (vae.pt); one line of progress every 50 steps."""
    torch.manual_seed(recipe.seed)
    vae = build_vae(PUPPET.vae).to(memory_format=torch.channels_last_3d)
    average = build_vae(PUPPET.vae)
    average.load_state_dict(vae.state_dict())
    optimiser = torch.optim.AdamW(vae.parameters(), lr=recipe.rate, betas=(0.9, 0.98), weight_decay=1e-4)
    file, first = folder / "vae.pt", 0
    if file.exists():
        state = torch.load(file, weights_only=True)
        vae.load_state_dict(state["vae"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        first = state["step"]
    folder.mkdir(parents=True, exist_ok=True)
    saved, begun, recent = time.monotonic(), time.monotonic(), []
    for step in range(first, recipe.steps):
        for group in optimiser.param_groups:
            group["lr"] = recipe.rate * min(1.0, (step + 1) / 60, 0.03 + 2.5 * (1 - step / recipe.steps))
        loss, squared = losses(vae, draw_crops(np.random.default_rng([recipe.seed, step, 21]), recipe), recipe.kl)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimiser.step()
        keep = min(0.995, step / (step + 20))
        with torch.no_grad():
            for slow, fast in zip(average.parameters(), vae.parameters(), strict=True):
                slow.lerp_(fast, 1 - keep)
        recent.append((float(loss.detach()), float(squared.detach())))
        if step % 50 == 49:
            mean_loss, mean_squared = np.mean(recent[-50:], axis=0)
            decibel = 10 * np.log10(4 / mean_squared)
            line = {"step": step + 1, "loss": round(float(mean_loss), 4), "psnr": round(float(decibel), 2)}
            line["seconds"] = round(time.monotonic() - begun, 1)
            print(json.dumps(line), flush=True)
            with (folder / "vae.jsonl").open("a") as curve:
                curve.write(json.dumps(line) + "\n")
        if time.monotonic() - saved > recipe.save_seconds or step + 1 == recipe.steps:
            state = {"vae": vae.state_dict(), "average": average.state_dict(), "optimiser": optimiser.state_dict()}
            torch.save({**state, "step": step + 1, "recipe": asdict(recipe)}, file.with_suffix(".part"))
            file.with_suffix(".part").replace(file)
            saved = time.monotonic()
