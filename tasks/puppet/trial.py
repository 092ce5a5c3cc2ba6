"""What the ablations share: held-out plates, recorded voices, shipped weights, figures of one film, contact sheets."""

import wave
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from tasks import measures
from tasks.profiles import PROFILES, puppet_folder
from tasks.puppet.perform import Film, Parts, Performance, Role
from tasks.puppet.voices import RATE, mouth_track, normalise_level
from tasks.puppet.weights import load_parts

HELD_OUT = 1 << 41  # plates from here on were never trained on
VOICES = Path(__file__).resolve().parents[2] / "examples" / "pilot" / "audio" / "lines"
FRAMES = 65
Samples = NDArray[np.float64]


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    group: str
    name: str
    values: dict[str, float]

    def __str__(self) -> str:
        figures = "  ".join(f"{name} {value:.3f}" for name, value in self.values.items())
        return f"{self.group:9} {self.name:34} {figures}"


@dataclass(frozen=True)
class Stage:
    """What every ablation works with."""

    parts: Parts
    probe: measures.Probe
    voices: tuple[Samples, ...]
    cases: int
    out: Path | None


def read_wav(path: Path) -> Samples:
    """Return a 16 kHz mono file's samples."""
    with wave.open(str(path)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768


def open_stage(cases: int, out: Path | None = None, frames: int = FRAMES) -> Stage:
    """Load the shipped weights and the recorded voices that they are measured with."""
    folder = puppet_folder()
    parts = Parts(*load_parts(folder, PROFILES["puppet"].network, torch.device("cpu")))
    voices = tuple(stretch(read_wav(file), frames) for file in sorted(VOICES.glob("*.wav")))
    return Stage(parts, measures.load_probe(folder / "probe.npz"), voices, cases, out)


def stretch(samples: Samples, frames: int) -> Samples:
    """Return a track of exactly so many frames at 25 fps, repeated if it is too short."""
    length = frames * RATE // 25
    return np.resize(samples, length)


def silence(frames: int = FRAMES) -> Samples:
    """Return a silent track."""
    return np.zeros(frames * RATE // 25)


def envelope(samples: Samples, frames: int) -> NDArray[np.float64]:
    """Return how loud the speech band is at every frame: what a mouth should follow."""
    return mouth_track(normalise_level(samples).astype(np.float64), 25.0, frames)[:, 0]


def mouths(film: Film, stage: Stage) -> list[NDArray[np.float64]]:
    """Return the openness of every mouth."""
    return [measures.mouth_signal(film.frames, film.plate, box, stage.probe) for box in film.boxes]


def keep_sheet(stage: Stage, name: str, films: list[Film], columns: int = 8) -> None:
    """Write a contact sheet: a row a film, the plate first."""
    if stage.out is None:
        return
    rows = []
    for film in films:
        picks = np.linspace(4, len(film.frames) - 1, columns).astype(int)
        rows.append(np.concatenate([film.plate, *(film.frames[i] for i in picks)], axis=1))
    stage.out.mkdir(parents=True, exist_ok=True)
    sheet = np.concatenate(rows)
    palette = Image.fromarray(sheet).quantize(160, dither=Image.Dither.NONE)  # a sheet is for looking: small files
    palette.save(stage.out / f"{name}.png", optimize=True)


def mean_rows(group: str, name: str, found: list[dict[str, float]]) -> Row:
    return Row(group, name, {key: float(np.mean([one[key] for one in found])) for key in found[0]})


def duet(case: int, stage: Stage, **changes: object) -> Performance:
    """Return a plate of two where the left one speaks."""
    roles = (Role(stage.voices[case % len(stage.voices)], "neutral"), Role(silence(), "neutral"))
    play = Performance(HELD_OUT + case, roles, FRAMES, noise_seed=case)
    return replace(play, **changes)  # type: ignore[arg-type]


def speech_figures(film: Film, heard: Samples, stage: Stage) -> dict[str, float]:
    """Return activity and correlation with one stem of the first two faces."""
    track = envelope(heard, len(film.frames))
    first, second = mouths(film, stage)[:2]
    sync = measures.lip_sync(first, track)
    return {
        "active A": measures.activity(first), "active B": measures.activity(second),
        "corr A": measures.correlation(first, track), "corr B": measures.correlation(second, track),
        "lag": float(sync.lag_frames), "chance": sync.chance_95,
    }  # fmt: skip
