"""A small real episode made from nothing: for chaos, benchmarks and tests. Same arguments, same bytes."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from PIL import Image, ImageDraw

from tasks.plan.types import Plan
from tasks.pod import Pod

RATE = 16_000
FPS = 25.0
WINDOW_LATENTS = 9  # the puppet's


@dataclass(frozen=True)
class Rehearsal:
    """What to rehearse: how many windows each shot has, how many of them a pod takes, how large and how long."""

    shots: tuple[int, ...] = (12,)
    windows_per_segment: int = 1
    size: int = 64
    steps: int = 6
    seed: int = 7
    guidance: float = 1.0


def write_rehearsal(folder: Path, what: Rehearsal) -> Path:
    """Write manifest, pictures and sound of a rehearsal into a folder; return the manifest's path."""
    folder.mkdir(parents=True, exist_ok=True)
    frames = [4 * (windows * WINDOW_LATENTS - 1) + 1 for windows in what.shots]
    seconds = sum(frames) / FPS
    soundfile.write(folder / "voice.wav", _voice(round(seconds * RATE), what.seed), RATE, "PCM_16")
    turns = [f"SPEAKER voice 1 {second:.3f} 0.800 <NA> <NA> ana <NA> <NA>" for second in np.arange(0, seconds - 1, 2)]
    (folder / "turns.rttm").write_text("\n".join(turns) + "\n")
    _picture(256, what.seed).save(folder / "plate.png")
    path = folder / "episode.json"
    path.write_text(json.dumps(_manifest(what, frames)))
    return path


def ingest_rehearsal(folder: Path, what: Rehearsal, pod: Pod) -> tuple[Plan, str]:
    """Plan a rehearsal and put it into a pod's store and ledger; return its plan and order."""
    from tasks.ingest import ingest
    from tasks.prepare import prepare
    from tasks.register import register

    made = prepare(write_rehearsal(folder, what))
    order = ingest(made.loaded, made.found, made.plan, pod.store)
    register(pod.ledger, made.plan, order)
    return made.plan, order


def _manifest(what: Rehearsal, frames: Sequence[int]) -> dict[str, Any]:
    face = {"x": 0.25, "y": 0.2, "w": 0.5, "h": 0.6}
    return {
        "version": 1,
        "episode": {
            "id": "rehearsal",
            "title": "Rehearsal",
            "show": "rehearsals",
            "size": {"width": what.size, "height": what.size},
            "fps": FPS,
            "seed": what.seed,
            "sampler": {
                "steps": what.steps,
                "windows_per_segment": what.windows_per_segment,
                "guidance": what.guidance,
            },
        },
        "cast": {"ana": {"name": "Ana", "portrait": "plate.png", "consent": {"kind": "synthetic"}}},
        "audio": {"stems": {"ana": "voice.wav"}, "mix": "voice.wav", "turns": "turns.rttm"},
        "shots": [
            {
                "id": f"s{number + 1}",
                "plate": "plate.png",
                "duration_seconds": count / FPS,
                "characters": [{"character": "ana", "face": face}],
            }
            for number, count in enumerate(frames)
        ],
    }


def _voice(num_samples: int, seed: int) -> np.ndarray:
    """Return something that rises and falls like syllables, about -20 dB."""
    rng = np.random.default_rng(seed)
    seconds = np.arange(num_samples) / RATE
    tone = np.sin(2 * np.pi * 140 * seconds) + 0.5 * np.sin(2 * np.pi * 420 * seconds)
    voice: np.ndarray = (
        0.1 * (tone + 0.1 * rng.standard_normal(num_samples)) * np.clip(np.sin(2 * np.pi * 2 * seconds), 0, 1)
    )
    return voice


def _picture(side: int, seed: int) -> Image.Image:
    """Return a plate with a face of three ellipses."""
    rng = np.random.default_rng(seed)
    ground = tuple(int(level) for level in rng.integers(60, 160, 3))
    picture = Image.new("RGB", (side, side), ground)
    draw = ImageDraw.Draw(picture)
    draw.ellipse([side * 0.28, side * 0.2, side * 0.72, side * 0.8], fill=(224, 180, 150))
    for x in (0.42, 0.58):
        draw.ellipse([side * (x - 0.04), side * 0.4, side * (x + 0.04), side * 0.47], fill=(40, 40, 60))
    draw.ellipse([side * 0.42, side * 0.62, side * 0.58, side * 0.68], fill=(150, 60, 60))
    return picture
