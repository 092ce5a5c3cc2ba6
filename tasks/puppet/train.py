"""The whole training in order: autoencoder, examples, network, decoder, probe, shipped files. Resumable."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from model.config import PUPPET
from model.vae import build_vae
from tasks.measures import save_probe
from tasks.puppet.dataset import draw_shards, encode_shards, latent_statistics
from tasks.puppet.export import export_weights
from tasks.puppet.train_decoder import DecoderRecipe, load_average, make_pairs, train_decoder
from tasks.puppet.train_network import Examples, Recipe, train_network
from tasks.puppet.train_probe import train_probe
from tasks.puppet.train_vae import VaeRecipe, train_vae

PROBE_SEED = 9_000_000  # drawings that no network was trained on
FACTS = {
    "data": "procedural drawings and synthetic formant speech of tasks/puppet; no recorded voice, no generated picture",
    "seed": 0,
    "size": "192x128 pixels, 25 fps (some 12.5, 24, 30), windows of 5 to 13 latents, mostly 9 (33 frames)",
}


@dataclass(frozen=True)
class Schedule:
    """How long each part is trained in one go; the shipped weights came by stages of their own, see their card."""

    vae: VaeRecipe = field(default_factory=VaeRecipe)
    shards: int = 72  # of 16 clips
    network: Recipe = field(default_factory=Recipe)
    decoder: DecoderRecipe = field(default_factory=DecoderRecipe)
    probe_clips: int = 400


def shorter(schedule: Schedule, share: float) -> Schedule:
    """Return a schedule with a share of the steps and examples: to try the command out."""

    def of(count: int) -> int:
        return max(2, round(share * count))

    stages = tuple(replace(stage, until_step=of(stage.until_step)) for stage in schedule.network.stages)
    vae = replace(schedule.vae, steps=of(schedule.vae.steps), clips=of(schedule.vae.clips))
    network = replace(schedule.network, stages=stages, warmup=min(schedule.network.warmup, of(100)))
    decoder = replace(schedule.decoder, steps=of(schedule.decoder.steps), clips=of(schedule.decoder.clips))
    return Schedule(vae, of(schedule.shards), network, decoder, of(schedule.probe_clips))


def train(folder: Path, target: Path, schedule: Schedule, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Train everything into `folder` and write the weights to `target`; return their card.

    Whatever is in `folder` already is taken up where it stopped.
    """
    say("autoencoder")
    train_vae(folder / "vae", schedule.vae)
    vae = build_vae(PUPPET.vae)
    vae.load_state_dict(torch.load(folder / "vae" / "vae.pt", weights_only=True)["average"])
    vae.requires_grad_(False)
    say("examples")
    data, run = folder / "data", folder / "run"
    draw_shards(data, 0, schedule.shards)
    encode_shards(data, vae)
    run.mkdir(parents=True, exist_ok=True)
    if not (run / "stats.pt").exists():
        first = [
            example
            for file in sorted(data.glob("latents-*.pt"))[:24]
            for example in torch.load(file, weights_only=False)
        ]
        torch.save(latent_statistics(first, vae), run / "stats.pt")
    say("network")
    train_network(run, Examples(data, *torch.load(run / "stats.pt", weights_only=True)), schedule.network)
    say("decoder")
    teach_decoder(folder, vae, schedule.decoder)
    (run / "vae.pt").write_bytes((folder / "decoder" / "vae.pt").read_bytes())
    say("probe")
    vae.load_state_dict(torch.load(run / "vae.pt", weights_only=True)["average"])
    target.mkdir(parents=True, exist_ok=True)
    save_probe(train_probe(PROBE_SEED, schedule.probe_clips, vae), target / "probe.npz")
    draw_curve([folder / "vae" / "vae.jsonl", run / "network.jsonl"], target / "loss.png")
    return export_weights(run, target, FACTS)


def teach_decoder(folder: Path, vae: Any, recipe: DecoderRecipe) -> None:
    """Teach the decoder on what the trained network makes, from the autoencoder's last state."""
    run = folder / "run"
    state = torch.load(folder / "vae" / "vae.pt", weights_only=True)
    file = folder / "decoder" / "vae.pt"
    if file.exists() and torch.load(file, weights_only=True)["step"] >= recipe.steps:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    statistics = torch.load(run / "stats.pt", weights_only=True)
    train_decoder(file, state, make_pairs(load_average(run / "network.pt"), vae, statistics, recipe), recipe)


def draw_curve(logs: list[Path], file: Path, width: int = 640, height: int = 200) -> None:
    """Draw loss curves, one above the other, logarithmic, as a picture."""
    panels = []
    for log in logs:
        rows = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        panel = np.full((height, width, 3), 255, np.uint8)
        if len(rows) > 1:
            steps, loss = (np.array([row[key] for row in rows], float) for key in ("step", "loss"))
            low, high = np.log(loss.min()), np.log(loss.max()) + 1e-9
            xs = 40 + (width - 60) * steps / steps.max()
            ys = height - 30 - (height - 60) * (np.log(loss) - low) / (high - low)
            points = np.stack([xs, ys], axis=1).astype(np.int32)
            cv2.polylines(panel, [points[:, None]], False, (160, 80, 40), 2, cv2.LINE_AA)
            title = f"{log.stem}: loss {loss[0]:.3f} to {loss[-1]:.3f} in {int(steps[-1])} steps"
            cv2.putText(panel, title, (40, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (40, 40, 40), 1, cv2.LINE_AA)
        panels.append(panel)
    cv2.imwrite(str(file), np.concatenate(panels))
