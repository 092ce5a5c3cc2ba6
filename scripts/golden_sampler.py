"""Compare the schedule and the sampler with recorded ones: every scheduler*.npz and toy_L*.npz of a folder."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from einops import rearrange
from golden_result import Result
from jaxtyping import Float
from torch import Tensor

from model.guidance import Branch, Guided
from model.latent_cache import CachedNetwork, Features
from model.noise import given_noise
from model.sampler import RELEASED, Take, sample
from model.schedule import ScheduleConfig, Step, euler_step, plan_steps, sigmas, timesteps
from model.shot import Prompt, ShotConditions, ShotVoice
from model.windows import FusionConfig, ShotLatents, Window, released_audio_frames, shot_latents

GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "golden"
RELEASED_FUSION = FusionConfig("released")
BIT_EQUAL = 0.0
FEATURE_WIDTH = 8  # of the toy; the result does not depend on it


class ToyNetwork:
    """The toy of toy.py in the place of the transformer, conditioned like it."""

    def __init__(self, toy: ModuleType, conditions: ShotConditions) -> None:
        self.toy = toy
        self.conditions = conditions

    def features(self, x: Float[Tensor, "c t h w"], window: Window, step: Step, branch: Branch) -> Features:
        told = self.conditions.window(window, step, branch)
        voice = told.voices[0]
        text, audio, mask = told.text[None], voice.audio[None], voice.mask[None, None]
        tokens = self.toy.features(x[None], audio, mask, text, told.reference[None], FEATURE_WIDTH)[0]
        n, s = x.shape[2] * x.shape[3] // 4, len(told.text)
        return Features(tokens[:n], rearrange(tokens[n:-s], "(t n) d -> t n d", n=n), tokens[-s:])

    def head(
        self, features: Features, x: Float[Tensor, "c t h w"], window: Window, step: Step, branch: Branch
    ) -> Float[Tensor, "c t h w"]:
        image = rearrange(features.image, "t n d -> (t n) d")
        tokens = torch.cat([features.reference, image, features.text])[None]
        out: Tensor = self.toy.head(tokens, torch.tensor([step.t]), (1, *x.shape), len(features.text))
        return out[0]

    def velocity(
        self, x: Float[Tensor, "c t h w"], window: Window, step: Step, branch: Branch
    ) -> Float[Tensor, "c t h w"]:
        return self.head(self.features(x, window, step, branch), x, window, step, branch)


def load_toy(folder: Path) -> ModuleType:
    """Return toy.py of `folder`, or the project's own copy."""
    path = folder / "toy.py"
    spec = importlib.util.spec_from_file_location("toy", path if path.exists() else GOLDEN / "toy.py")
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    toy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(toy)
    return toy


def toy_shot(num_audio_frames: int) -> ShotLatents:
    """Return the latents of a shot whose padded track has `num_audio_frames`: 129, or 5 more than its pictures."""
    num_frames = num_audio_frames - 5
    is_long = released_audio_frames(num_frames) == num_audio_frames
    return shot_latents(num_frames if is_long else num_audio_frames, RELEASED_FUSION)


def toy_conditions(case: dict[str, Tensor], shot: ShotLatents) -> ShotConditions:
    """Return what a recorded toy case is told; the toy has no use for pooled text, motion and fps."""
    positive, negative = (
        Prompt(text, torch.ones(len(text), dtype=torch.int64), torch.zeros(1))
        for text in (case["text"][0], case["neg"][0])
    )
    voice = ShotVoice(case["audio"][0], case["face"][0, 0])
    motion = torch.zeros(1, 4)
    return ShotConditions(shot, positive, negative, case["ref"][0], (voice,), motion, motion)


def load_case(path: Path) -> dict[str, Tensor]:
    """Return the tensors of one .npz file."""
    with np.load(path) as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def compare_toy(folder: Path) -> list[Result]:
    """Run the released 50 steps around the toy for every toy_L*.npz; bit-equal expected."""
    return [_compare_toy(path) for path in sorted(folder.glob("toy_L*.npz"))]


def compare_scheduler(folder: Path) -> list[Result]:
    """Compare noise levels, timesteps and Euler steps of every scheduler*.npz; bit-equal expected."""
    return [result for path in sorted(folder.glob("scheduler*.npz")) for result in _compare_scheduler(path)]


def _compare_toy(path: Path) -> Result:
    case = load_case(path)
    shot = toy_shot(case["audio"].shape[1])
    steps = plan_steps(ScheduleConfig(rule="released", cache=True, hold_shift=False))
    take = Take(shot, RELEASED_FUSION, steps, given_noise(case["latents"][0]), RELEASED)
    network = ToyNetwork(load_toy(path.parent), toy_conditions(case, shot))
    out = sample(Guided(CachedNetwork(network, held=False)), take)
    return Result(path.stem, _error(out, case["out"][0]), BIT_EQUAL)


def _compare_scheduler(path: Path) -> list[Result]:
    case = load_case(path)
    grids = [(int(m[1]), float(m[2])) for name in case if (m := re.fullmatch(r"sigmas_(\d+)_([\d.]+)", name))]
    num_steps, shift = (50, 5.0) if (50, 5.0) in grids or not grids else grids[0]  # Euler steps are of one schedule
    steps = plan_steps(ScheduleConfig(num_steps, shift, rule="released"))
    results = []
    for name, recorded in case.items():
        if grid := re.fullmatch(r"(sigmas|timesteps)_(\d+)_([\d.]+)", name):
            ours = (sigmas if grid[1] == "sigmas" else timesteps)(int(grid[2]), float(grid[3]))
        elif euler := re.fullmatch(r"step_out_i(\d+)", name):
            ours = euler_step(case["step_x"], case["step_v"], steps[int(euler[1])])
        else:
            continue
        results.append(Result(f"{path.stem} {name}", _error(ours, recorded), BIT_EQUAL))
    return results


def _error(ours: Tensor, recorded: Tensor) -> float:
    return float((ours.double() - recorded.double()).abs().max()) if ours.shape == recorded.shape else float("inf")
