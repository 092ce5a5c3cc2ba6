"""Teaches the decoder to draw what the network says: latents that the network made, pixels that were drawn.

A small network is unsure where a thin line goes, and a decoder that has only seen true latents turns that into torn
strokes. Here it sees the network's own: a clip is noised to one of the levels of the schedule that a film is rendered
with, and denoised from there. b items, c channels, t latents, h w cells, f frames.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from model.config import PUPPET
from model.schedule import sigmas
from model.transformer import VideoTransformer
from model.vae import build_vae
from tasks.puppet.dataset import (
    AUDIO_SEED,
    draw_example,
    draw_session,
    draw_silence,
    encode_example,
    scaled,
)
from tasks.puppet.train_network import TRAINING, Item, Recipe, Stage, cut_item
from tasks.puppet.train_vae import append_line, decoding_loss, follow, save_whole

FIRST_SEED = 5_000_000


@dataclass(frozen=True)
class DecoderRecipe:
    """How the decoder is taught."""

    steps: int = 2500
    clips: int = 320
    cuts: int = 4  # windows taken from a clip
    batch: int = 3
    frames: int = 5  # latents of a training crop
    levels: tuple[int, ...] = (1, 2, 2, 3)  # steps of the schedule from which a clip is denoised
    num_steps: int = 6
    shift: float = 3.0
    true_share: float = 0.2  # of the crops: latents of the encoder, so that a real clip still decodes
    rate: float = 6e-4
    seed: int = 3
    save_seconds: float = 60.0


@torch.no_grad()
def denoise_again(network: Any, items: Sequence[Item], rng: Generator, recipe: DecoderRecipe) -> Tensor:
    """Return what the network makes of clips that were noised to a level of the schedule: (b, c, t, h, w)."""
    levels = sigmas(recipe.num_steps, recipe.shift)
    start = int(rng.choice(recipe.levels))
    clean = torch.stack([item.latents for item in items])
    noise = torch.from_numpy(rng.standard_normal(clean.shape, dtype=np.float32))
    x = (1 - levels[start]) * clean + levels[start] * noise
    for now, then in zip(levels[start:-1], levels[start + 1 :], strict=True):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            v = network(x, (1000 * now).expand(len(x)), [item.conditions for item in items], TRAINING)
        x = x + v.float() * (then - now)
    return x


def make_pairs(network: Any, vae: Any, statistics: tuple[Tensor, Tensor], recipe: DecoderRecipe) -> list[Any]:
    """Draw clips and return (network's z, encoder's z, pixels) of windows around their faces, half precision."""
    from model.audio import build_encoder

    encoder = build_encoder(PUPPET.audio, AUDIO_SEED)
    silences = [draw_silence(i) for i in range(4)]
    mean, std = (part.view(-1, 1, 1, 1) for part in statistics)
    stage, plain = Stage(1, recipe.cuts, 10, (9,)), Recipe(no_audio=0.0, no_emotion=0.0)
    pairs, sessions = [], [draw_session(FIRST_SEED)]
    for index in range(recipe.clips):
        if index % 12 == 0:
            sessions = [*sessions, draw_session(FIRST_SEED + index)][-5:]
        rng = np.random.default_rng([recipe.seed, index, 81])
        drawn = draw_example(FIRST_SEED + index, sessions, silences, encoder)
        example = scaled({**encode_example(drawn, vae), "pixels": drawn["clip"]}, *statistics)
        items = [cut_item(example, rng, stage, 9, plain) for _ in range(recipe.cuts)]
        made = denoise_again(network, items, rng, recipe)
        for item, latents in zip(items, made, strict=True):
            pairs.append(((latents * std + mean).half(), (item.latents * std + mean).half(), item.pixels))
    return pairs


def crop_pairs(pairs: list[Any], rng: Generator, recipe: DecoderRecipe) -> tuple[Tensor, Tensor]:
    """Return latents (b, c, t, h, w) and the frames they stand for (b, 3, f, 8 h, 8 w), -1..1."""
    chosen, frames = [], []
    for index in rng.integers(len(pairs), size=recipe.batch):
        made, true, pixels = pairs[index]
        first = int(rng.integers(made.shape[1] - recipe.frames + 1))
        z = (true if rng.random() < recipe.true_share else made)[:, first : first + recipe.frames].float()
        chosen.append(z)
        frames.append(pixels[4 * first : 4 * (first + recipe.frames) - 3].permute(3, 0, 1, 2).float() / 127.5 - 1)
    return torch.stack(chosen), torch.stack(frames)


def train_decoder(file: Path, start: dict[str, Any], pairs: list[Any], recipe: DecoderRecipe) -> None:
    """Train the decoder of an autoencoder's state on pairs into `file`, or go on with it; the encoder stays."""
    vae, average = build_vae(PUPPET.vae), build_vae(PUPPET.vae)
    optimiser = torch.optim.AdamW(vae.decoder.parameters(), lr=recipe.rate, betas=(0.9, 0.98), weight_decay=1e-4)
    first = 0
    if file.exists():
        state = torch.load(file, weights_only=True)
        optimiser.load_state_dict(state["optimiser"])
        first = state["step"]
        vae.load_state_dict(state["vae"])
        average.load_state_dict(state["average"])
    else:
        vae.load_state_dict(start["average"])
        average.load_state_dict(start["average"])
    begun = saved = time.monotonic()
    recent: list[tuple[float, float]] = []
    for step in range(first, recipe.steps):
        for group in optimiser.param_groups:
            group["lr"] = recipe.rate * min(1.0, (step + 1) / 60, 0.03 + 2.0 * (1 - step / recipe.steps))
        rng = np.random.default_rng([recipe.seed, step, 82])
        z, clip = crop_pairs(pairs, rng, recipe)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            again = vae.decoder(z).float()
        loss, squared = decoding_loss(again, clip)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(vae.decoder.parameters(), 1.0)
        optimiser.step()
        follow(average, vae, min(0.997, step / (step + 20)))
        recent.append((loss.item(), squared.item()))
        if step % 50 == 49:
            mean_loss, mean_squared = np.mean(recent[-50:], axis=0)
            line = {"step": step + 1, "loss": round(float(mean_loss), 4)}
            line["psnr"] = round(float(10 * np.log10(4 / mean_squared)), 2)
            append_line(file.with_suffix(".jsonl"), {**line, "seconds": round(time.monotonic() - begun, 1)})
        if time.monotonic() - saved > recipe.save_seconds or step + 1 == recipe.steps:
            state = {"vae": vae.state_dict(), "average": average.state_dict(), "optimiser": optimiser.state_dict()}
            save_whole({**state, "step": step + 1, "recipe": asdict(recipe)}, file)
            saved = time.monotonic()


def load_average(file: Path) -> Any:
    """Return the averaged network of a checkpoint, ready to denoise."""
    network = VideoTransformer(PUPPET)
    network.load_state_dict(torch.load(file, weights_only=True)["average"])
    return network.requires_grad_(False)
