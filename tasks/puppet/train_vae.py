"""Trains the puppet's causal 3D VAE (4x8x8, 16 channels) on crops of freshly drawn clips. b crops, f frames."""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from model.config import PUPPET
from model.vae import build_vae
from tasks.puppet.canvas import Image
from tasks.puppet.expression import EMOTIONS
from tasks.puppet.motion import Acting, Mood, smooth_track
from tasks.puppet.world import ClipSpec, draw_clip, draw_plate, draw_portrait

_SHAKE = 0.08  # what the network's own latents are off by, roughly


@dataclass(frozen=True)
class VaeRecipe:
    """What the shipped autoencoder was trained with."""

    steps: int = 2700
    clips: int = 360  # drawn once, cropped anew in every step
    crops: int = 4
    frames: int = 9
    side: int = 64
    rate: float = 1e-3
    kl: float = 2e-5
    seed: int = 0
    save_seconds: float = 60.0
    decoder_only: bool = False  # the latents are settled and in use: only the decoder learns on, from shaken latents


def random_acting(rng: Generator, frames: int) -> Acting:
    """Return a character babbling at random, in any mood."""
    opened = smooth_track(np.clip(rng.normal(0.3, 0.55, frames), 0, 1), 0.6)
    width = smooth_track(rng.uniform(-1.3, 1.3, frames), 0.8)
    mood = Mood(0, EMOTIONS[int(rng.integers(len(EMOTIONS)))], float(rng.uniform(0.3, 1.4)))
    return Acting(np.stack([opened, width], axis=1), (mood,), float(rng.uniform()), float(rng.uniform()))


@dataclass(frozen=True)
class Scene:
    """A drawn clip (f, h, w, 3) and the centres of its faces in pixels (k, 2)."""

    clip: Image
    faces: NDArray[np.float64]


def draw_some(rng: Generator, recipe: VaeRecipe) -> Scene:
    """Draw a short clip of one to four babbling characters, or a still portrait."""
    seed = int(rng.integers(1 << 40))
    if rng.random() < 0.12:
        emotion, strength = EMOTIONS[int(rng.integers(len(EMOTIONS)))], float(rng.uniform(0.5, 1.4))
        still = draw_portrait(seed, 0, emotion, strength, recipe.side)
        return Scene(np.repeat(still[None], recipe.frames, axis=0), np.full((1, 2), recipe.side / 2))
    count = int(rng.choice([1, 2, 3, 4], p=[0.22, 0.45, 0.28, 0.05]))
    light = str(rng.choice(["", "night", "sunset"], p=[0.8, 0.1, 0.1]))
    spec = ClipSpec(seed, tuple(random_acting(rng, recipe.frames) for _ in range(count)), light=light)
    boxes = draw_plate(seed, count)[1]
    centres = np.array([(box.x + box.w / 2, box.y + box.h / 2) for box in boxes]) * spec.size
    return Scene(draw_clip(spec, int(rng.integers(1 << 30))), centres)


def crop(rng: Generator, scene: Scene, side: int) -> Image:
    """Return a square cut of a clip, mostly near a face: (f, side, side, 3)."""
    height, width = scene.clip.shape[1:3]
    centre = scene.faces[int(rng.integers(len(scene.faces)))] + rng.normal(0, 14 if rng.random() < 0.8 else 50, 2)
    left, top = (int(np.clip(c - side / 2, 0, room - side)) for c, room in zip(centre, (width, height), strict=True))
    return scene.clip[:, top : top + side, left : left + side]


def batch_of(rng: Generator, scenes: list[Scene], recipe: VaeRecipe, crops: int) -> Tensor:
    """Return crops of random clips: (b, 3, f, side, side), -1..1."""
    cuts = [crop(rng, scenes[int(rng.integers(len(scenes)))], recipe.side) for _ in range(crops)]
    pixels = torch.from_numpy(np.stack(cuts)).permute(0, 4, 1, 2, 3)
    return pixels.float() / 127.5 - 1


def losses(vae: Any, clip: Tensor, recipe: VaeRecipe) -> tuple[Tensor, Tensor]:
    """Return the loss and the plain squared error of a batch (b, 3, f, h, w)."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with torch.set_grad_enabled(not recipe.decoder_only):
            mean, log_variance = vae.encoder(clip).float().chunk(2, dim=1)
        log_variance = log_variance.clamp(-12, 8)
        spread = torch.full_like(mean, _SHAKE) if recipe.decoder_only else (0.5 * log_variance).exp()
        z = mean + spread * torch.randn_like(mean)
        again = vae.decoder(z).float()
    loss, squared = decoding_loss(again, clip)
    divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).mean()
    return loss + recipe.kl * 16 * divergence, squared


def decoding_loss(again: Tensor, clip: Tensor) -> tuple[Tensor, Tensor]:
    """Return the loss and the plain squared error of decoded frames against true ones, (b, 3, f, h, w) each.

    Edges carry the drawing: brows, lids and lips are thin lines on flat colour.
    """
    error = again - clip
    edge = 1 + 2.5 * (clip[..., 1:, 1:] - clip[..., :-1, :-1]).abs().amax(1, keepdim=True).clamp(max=1)
    weight = functional.pad(edge, (1, 0, 1, 0), value=1.0)
    return (weight * (error.abs() + 2 * error**2)).mean(), (error**2).mean()


def train_vae(folder: Path, recipe: VaeRecipe) -> None:
    """Train, or go on with, the autoencoder in `folder` (vae.pt); one line of progress every 50 steps."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    drawing = np.random.default_rng([recipe.seed, 20])
    scenes = [draw_some(drawing, recipe) for _ in range(recipe.clips)]
    vae, average = build_vae(PUPPET.vae), build_vae(PUPPET.vae)
    optimiser = torch.optim.AdamW(vae.parameters(), lr=recipe.rate, betas=(0.9, 0.98), weight_decay=1e-4)
    file, first = folder / "vae.pt", 0
    if file.exists():
        state = torch.load(file, weights_only=True)
        vae.load_state_dict(state["vae"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        first = state["step"]
    else:
        vae.start_linear(batch_of(drawing, scenes, recipe, 120))
        average.load_state_dict(vae.state_dict())
    saved, begun, recent = time.monotonic(), time.monotonic(), []
    for step in range(first, recipe.steps):
        for group in optimiser.param_groups:
            group["lr"] = recipe.rate * min(1.0, (step + 1) / 60, 0.03 + 2.5 * (1 - step / recipe.steps))
        rng = np.random.default_rng([recipe.seed, step, 21])
        loss, squared = losses(vae, batch_of(rng, scenes, recipe, recipe.crops), recipe)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimiser.step()
        follow(average, vae, min(0.997, step / (step + 20)))
        recent.append((loss.item(), squared.item()))
        if step % 50 == 49:
            mean_loss, mean_squared = np.mean(recent[-50:], axis=0)
            decibel = 10 * np.log10(4 / mean_squared)
            seconds = round(time.monotonic() - begun, 1)
            line = {"step": step + 1, "loss": round(float(mean_loss), 4), "psnr": round(float(decibel), 2)}
            append_line(folder / "vae.jsonl", {**line, "seconds": seconds})
        if time.monotonic() - saved > recipe.save_seconds or step + 1 == recipe.steps:
            state = {"vae": vae.state_dict(), "average": average.state_dict(), "optimiser": optimiser.state_dict()}
            save_whole({**state, "step": step + 1, "recipe": asdict(recipe)}, file)
            saved = time.monotonic()


@torch.no_grad()
def follow(average: nn.Module, fast: nn.Module, keep: float) -> None:
    """Move averaged weights towards the trained ones."""
    for slow, new in zip(average.parameters(), fast.parameters(), strict=True):
        slow.lerp_(new.to(slow.dtype), 1 - keep)


def append_line(file: Path, line: dict[str, float]) -> None:
    """Print one line of progress and keep it as JSON."""
    print(json.dumps(line), flush=True)
    with file.open("a") as curve:
        curve.write(json.dumps(line) + "\n")


def save_whole(state: dict[str, Any], file: Path) -> None:
    """Save a checkpoint; a reader never sees half of it."""
    part = file.with_suffix(".part")
    torch.save(state, part)
    part.replace(file)
