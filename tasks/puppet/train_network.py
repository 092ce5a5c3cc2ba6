"""Trains the puppet's transformer by flow matching on encoded clips. b items, c channels, t latents, h w cells."""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from model.attention import Layout
from model.blocks import Options
from model.conditions import Conditions, Voice
from model.config import PUPPET, NetworkConfig
from model.initialise import initialise_
from model.text import hash_text
from model.transformer import VideoTransformer
from tasks.puppet.dataset import scaled
from tasks.puppet.train_ear import hear, train_ear
from tasks.puppet.train_vae import append_line, follow, save_whole

EAR_SEED = 50_000
TRAINING = Options(attention=lambda q, k, v, layout: matrix_attention(q, k, v, layout))


@dataclass(frozen=True)
class Stage:
    """A stretch of training on windows cut around faces, `cells` wide, and a `whole` share of steps on whole pictures.

    Whole pictures come in smaller batches: they cost about as much a step.
    """

    until_step: int
    batch: int
    cells: int
    latents: tuple[int, ...]
    whole: float = 0.0


@dataclass(frozen=True)
class Recipe:
    """How the network is trained in one go; the shipped one came by stages of its own, see its card."""

    stages: tuple[Stage, ...] = (
        Stage(4500, 12, 10, (9, 7, 5, 5), 0.1),
        Stage(5000, 5, 0, (9, 9, 9, 5, 7, 11, 13)),
    )
    rate: float = 1.2e-3
    warmup: int = 100
    tail: float = 0.62  # share of the steps from which the rate falls
    no_audio: float = 0.06
    no_emotion: float = 0.1
    face_weight: float = 3.0
    brow_weight: float = 3.0
    mouth_weight: float = 8.0
    average: float = 0.998
    seed: int = 0
    save_seconds: float = 60.0
    ear_sessions: int = 36  # voices that the audio projection is started with
    ear_steps: int = 700


@dataclass(frozen=True, eq=False)
class Item:
    """One training window: clean latents (c, t, h, w), loss weight (1, 1, h, w) and what the network is told.

    `pixels` (f, 8 h, 8 w, 3) are the frames that the latents stand for, where an example keeps them.
    """

    latents: Tensor
    weight: Tensor
    conditions: Conditions
    pixels: Tensor | None = None


def face_weights(boxes: Tensor, shape: tuple[int, int], recipe: Recipe) -> Tensor:
    """Return the loss weight of every latent cell (h, w): faces count more, brows and eyes yet more, mouths most."""
    rows, columns = torch.arange(shape[0])[:, None] * 8 + 4, torch.arange(shape[1])[None] * 8 + 4
    weight = torch.ones(shape)
    for x, y, w, h in boxes.tolist():
        across = (columns - x - w / 2).abs() / w
        weight += recipe.face_weight * ((across < 0.6) & (rows > y - 0.1 * h) & (rows < y + 1.05 * h))
        weight += recipe.brow_weight * ((across < 0.5) & (rows > y - 0.05 * h) & (rows < y + 0.58 * h))
        weight += recipe.mouth_weight * ((across < 0.32) & (rows > y + 0.58 * h) & (rows < y + 0.98 * h))
    return weight


def mood_tracks(voice: dict[str, Any], first: int, count: int) -> tuple[Tensor, Tensor]:
    """Return which picture each latent follows and how strongly: (t,), (t,)."""
    index, strength = torch.zeros(count, dtype=torch.long), torch.zeros(count)
    for j in range(count):
        frame = max(4 * (first + j) - 2, 0)
        for number, (start, force) in enumerate(voice["moods"]):
            if number == 0 or frame >= start:
                index[j], strength[j] = number, force
    return index, strength


def cut_item(example: dict[str, Any], rng: Generator, stage: Stage, latents: int, recipe: Recipe) -> Item:
    """Cut a training window out of an example, anywhere in time and, in the first stage, around a face."""
    clip = example["clip"].float()
    first = int(rng.integers(clip.shape[1] - latents + 1))
    height, width = clip.shape[2:]
    top = left = 0
    if stage.cells:
        box = example["boxes"][int(rng.integers(len(example["boxes"])))]
        centre = (box[:2] + box[2:] / 2) / 8 + torch.from_numpy(rng.normal(0, 1.5, 2))
        left = 2 * int(np.clip(float(centre[0]) - stage.cells / 2, 0, width - stage.cells) / 2)
        top = 2 * int(np.clip(float(centre[1]) - stage.cells / 2, 0, height - stage.cells) / 2)
        height = width = stage.cells
    window = (slice(None), slice(top, top + height), slice(left, left + width))
    voices = []
    for k, voice in enumerate(example["voices"]):
        audio = voice["windows"][4 * first : 4 * (first + latents) - 3].float()
        silent, plain = rng.random() < recipe.no_audio, rng.random() < recipe.no_emotion
        index, strength = mood_tracks(voice, first, latents)
        mask = example["masks"][k : k + 1][window]
        if stage.cells and not mask.any():
            continue
        voices.append(
            Voice(
                audio=torch.zeros_like(audio) if silent else audio, mask=mask, strength=float(voice["strength"]),
                emotion=None if plain else voice["pictures"].float(), emotion_index=None if plain else index,
                emotion_strength=None if plain else strength,
            )
        )  # fmt: skip
    text = hash_text(example["prompt"], PUPPET.text_width)
    conditions = Conditions(
        text=text.states, text_mask=text.mask, pooled=text.pooled,
        reference=example["plate"].float()[:, None][:, *window],
        voices=tuple(voices), motion_exp=torch.full((4,), 60.0 * example["expression"]),
        motion_pose=torch.full((4,), 50.0 * example["head"]), fps=float(example["fps"]),
    )  # fmt: skip
    weight = face_weights(example["boxes"], (clip.shape[2], clip.shape[3]), recipe)[window[1:]]
    pixels = None
    if "pixels" in example:
        rows, columns = slice(8 * top, 8 * (top + height)), slice(8 * left, 8 * (left + width))
        pixels = example["pixels"][4 * first : 4 * (first + latents) - 3, rows, columns]
    return Item(clip[:, first : first + latents, window[1], window[2]], weight[None, None], conditions, pixels)


def flow_loss(network: Any, items: list[Item], rng: Generator, noise: Tensor) -> Tensor:
    """Return the weighted squared error of the velocity; time is logit-normal (0.3, 1)."""
    clean, weight = torch.stack([item.latents for item in items]), torch.stack([item.weight for item in items])
    sigma = torch.sigmoid(torch.from_numpy(rng.normal(0.3, 1.0, len(items))).float())
    share = sigma.view(-1, 1, 1, 1, 1)
    mixed = (1 - share) * clean + share * noise
    with torch.autocast("cpu", dtype=torch.bfloat16):
        velocity = network(mixed, 1000 * sigma, [item.conditions for item in items], TRAINING)
    loss: Tensor = (weight * (velocity.float() - (noise - clean)) ** 2).mean() / weight.mean()
    return loss


def descend(network: Any, optimiser: torch.optim.Optimizer, items: list[Item], rng: Generator, rate: float) -> float:
    """Take one training step in place; return its loss."""
    for group in optimiser.param_groups:
        group["lr"] = rate
    noise = torch.from_numpy(rng.standard_normal((len(items), *items[0].latents.shape), dtype=np.float32))
    loss = flow_loss(network, items, rng, noise)
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimiser.step()
    return loss.item()


def matrix_attention(q: Tensor, k: Tensor, v: Tensor, layout: Layout) -> Tensor:
    """Attend by plain products, (b, n, h, d): on short sequences twice as fast to train on CPUs as the fused kernel."""
    q, k, v = (part.transpose(1, 2) for part in (q, k, v))
    scores = torch.matmul(q * q.shape[-1] ** -0.5, k.transpose(-1, -2))
    if layout.key_mask is not None:
        scores = scores.masked_fill(~layout.key_mask[:, None, None], float("-inf"))
    return torch.matmul(scores.softmax(dim=-1).to(v.dtype), v).transpose(1, 2)


class Examples:
    """Encoded and normalised examples of a folder; shards that arrive while training are taken up."""

    def __init__(self, folder: Path, mean: Tensor, std: Tensor) -> None:
        self.folder, self.mean, self.std = folder, mean, std
        self.seen: set[str] = set()
        self.items: list[dict[str, Any]] = []

    def refresh(self) -> list[dict[str, Any]]:
        """Read shards that are new and return all examples."""
        for file in sorted(self.folder.glob("latents-*.pt")):
            if file.name not in self.seen:
                shard = torch.load(file, weights_only=False)
                self.items += [scaled(example, self.mean, self.std) for example in shard]
                self.seen.add(file.name)
        return self.items


def batches(pool: Examples, recipe: Recipe, first_step: int) -> Iterator[tuple[int, list[Item], Generator]]:
    """Yield (step, items, generator) from a step on; a step's draw depends on its number and the pool."""
    examples = pool.refresh()
    for step in range(first_step, recipe.stages[-1].until_step):
        examples = pool.refresh() if step % 100 == 0 else examples
        stage = next(stage for stage in recipe.stages if step < stage.until_step)
        rng = np.random.default_rng([recipe.seed, step, 61])
        if rng.random() < stage.whole:
            stage = replace(stage, batch=max(1, 5 * stage.batch // 12), cells=0)
        latents = int(rng.choice(stage.latents))
        chosen = [examples[i] for i in rng.integers(len(examples), size=stage.batch)]
        if not stage.cells:  # whole pictures of one batch are of one size
            chosen = [example for example in chosen if example["clip"].shape == chosen[0]["clip"].shape]
        yield step, [cut_item(example, rng, stage, latents, recipe) for example in chosen], rng


def rate_at(step: int, recipe: Recipe) -> float:
    """Return the learning rate: a short rise, flat, then a straight line down."""
    done = step / recipe.stages[-1].until_step
    return recipe.rate * min((step + 1) / recipe.warmup, 1.0, 0.02 + (1 - done) / (1 - recipe.tail))


def train_network(folder: Path, pool: Examples, recipe: Recipe, config: NetworkConfig = PUPPET) -> None:
    """Train, or go on with, the transformer in `folder` (network.pt); one line of progress every 50 steps."""
    folder.mkdir(parents=True, exist_ok=True)
    network = initialise_(VideoTransformer(config), torch.Generator().manual_seed(recipe.seed))
    if config.emotion:
        for block in network.emotion_blocks:
            # trained from the start here, and held: a gate that learns closes before its branch has learnt to help
            block.gamma.data.fill_(0.5)
            block.gamma.requires_grad_(False)
    average = VideoTransformer(config)
    average.load_state_dict(network.state_dict())
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(learning, lr=recipe.rate, betas=(0.9, 0.98), weight_decay=0.01)
    file, first = folder / "network.pt", 0
    if file.exists():
        state = torch.load(file, weights_only=True)
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        first = state["step"]
    else:
        train_ear(network.audio_proj, hear(EAR_SEED, recipe.ear_sessions), recipe.ear_steps)
    begun, saved, recent = time.monotonic(), time.monotonic(), []
    for step, items, rng in batches(pool, recipe, first):
        loss = descend(network, optimiser, items, rng, rate_at(step, recipe))
        follow(average, network, min(recipe.average, step / (step + 20)))
        recent.append(loss)
        if step % 50 == 49:
            seconds, mean = round(time.monotonic() - begun, 1), round(float(np.mean(recent[-50:])), 4)
            append_line(
                folder / "network.jsonl",
                {"step": step + 1, "loss": mean, "examples": len(pool.items), "seconds": seconds},
            )
        if time.monotonic() - saved > recipe.save_seconds or step + 1 == recipe.stages[-1].until_step:
            state = {
                "network": network.state_dict(),
                "average": average.state_dict(),
                "optimiser": optimiser.state_dict(),
            }
            save_whole({**state, "step": step + 1, "recipe": asdict(recipe)}, file)
            saved = time.monotonic()
