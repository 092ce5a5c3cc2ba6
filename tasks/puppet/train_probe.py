"""Fits the probe of `tasks.measures` on drawings: how open a mouth is, how wide, and which emotion a face shows."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model.vae import decode, encode_clip, to_pixels, to_unit
from tasks.measures import Probe, fit_probe, probe_features
from tasks.puppet.expression import EMOTIONS
from tasks.puppet.motion import Acting, Mood
from tasks.puppet.world import ClipSpec, draw_clip, draw_plate

Rows = tuple[NDArray[np.float32], NDArray[np.float64]]


def _acting(rng: np.random.Generator, frames: int) -> Acting:
    """Return a face held still enough to know what it shows: one openness, one mood."""
    opened = 0.0 if rng.random() < 0.35 else float(rng.uniform(0.05, 1.0))
    mouth = np.tile([opened, float(rng.uniform(-1, 1))], (frames, 1))
    mood = Mood(0, EMOTIONS[int(rng.integers(len(EMOTIONS)))], float(rng.uniform(0.7, 1.2)))
    return Acting(mouth, (mood,), float(rng.uniform()), float(rng.uniform(0.3, 0.7)))


def probe_rows(first_seed: int, clips: int, vae: Any = None) -> Rows:
    """Draw clips and return features (s, n) and targets (s, 2 + emotions).

    With an autoencoder every second clip goes through it, so that its softness does not mislead the probe.
    """
    features, targets = [], []
    for seed in range(first_seed, first_seed + clips):
        rng = np.random.default_rng([seed, 71])
        count = int(rng.choice([1, 2, 3], p=[0.25, 0.5, 0.25]))
        acting = tuple(_acting(rng, 5) for _ in range(count))
        clip = draw_clip(ClipSpec(seed, acting), seed)
        plate, boxes = draw_plate(seed, count)
        if vae is not None and seed % 2:
            with torch.no_grad():
                latents = encode_clip(vae, to_unit(torch.from_numpy(clip).permute(3, 0, 1, 2)))
                clip = to_pixels(decode(vae, latents)).permute(1, 2, 3, 0).numpy()
        for who, box in zip(acting, boxes, strict=True):
            shown = [float(name == who.moods[0].emotion) for name in EMOTIONS]
            for frame in (0, 4):
                features.append(probe_features(clip[frame], plate, box))
                targets.append([*who.mouth[frame], *shown])
    return np.stack(features), np.array(targets)


def train_probe(first_seed: int, clips: int, vae: Any = None) -> Probe:
    """Fit a probe on drawings of the seeds [first_seed, first_seed + clips)."""
    return fit_probe(*probe_rows(first_seed, clips, vae), EMOTIONS)
