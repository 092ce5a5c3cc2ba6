"""What the approximate caches save and what they cost: whole takes of the shipped puppet, one process, paired.

Prints CPU-seconds against the exact take and the difference of the finished latents, as a share of their spread.
"""

import time
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from model.audio import encode_track
from model.config import PUPPET
from model.denoiser import Cache, build_denoiser
from model.noise import shot_noise
from model.sampler import FLOAT32, Take, sample
from model.schedule import ScheduleConfig, plan_steps
from model.shot import Prompt, ShotConditions, ShotVoice
from model.text import hash_text
from model.transformer import VideoTransformer
from model.vae import encode_image, to_unit
from model.windows import FusionConfig, ShotLatents, shot_latents
from tasks.puppet.voices import speak
from tasks.puppet.weights import load_parts
from tasks.puppet.world import draw_plate

FOLDER = Path(__file__).resolve().parent.parent / "model" / "puppet"
FUSION = FusionConfig("guarded", window_latents=9, shift_latents=2, max_window_latents=13)
NUM_FRAMES, NUM_STEPS = 65, 20
SETTINGS: tuple[tuple[str, Cache, float], ...] = (
    ("released feature cache", "released", 0.0),
    ("residual cache, threshold 0.05", "residual", 0.05),
    ("residual cache, threshold 0.1", "residual", 0.1),
    ("residual cache, threshold 0.2", "residual", 0.2),
)


def drawn_shot(shot: ShotLatents) -> tuple[VideoTransformer, ShotConditions]:
    """Return the shipped network and a drawn shot of two characters who speak at once."""
    network, vae, encoder = load_parts(FOLDER, PUPPET, torch.device("cpu"))
    plate, boxes = draw_plate(9001)
    height, width = plate.shape[0] // 8, plate.shape[1] // 8
    picture = to_unit(rearrange(torch.from_numpy(np.ascontiguousarray(plate)), "h w c -> c h w"))
    voices = []
    for index, box in enumerate(boxes):
        mask = torch.zeros(1, height, width)
        rows = slice(int(box.y * height), int((box.y + box.h) * height) + 1)
        mask[0, rows, int(box.x * width) : int((box.x + box.w) * width) + 1] = 1
        samples = speak(9001 + index, NUM_FRAMES / 25)
        voices.append(ShotVoice(encode_track(samples, encoder, 25, NUM_FRAMES), mask))
    prompt, empty = (Prompt(*hash_text(words, PUPPET.text_width)) for words in ("two friends talk", ""))
    motion = torch.full((1, 4), 30.0)
    reference = encode_image(vae, picture)
    return network, ShotConditions(shot, prompt, empty, reference, tuple(voices), motion, torch.full((1, 4), 25.0))


def take_with(
    network: VideoTransformer, conditions: ShotConditions, cache: Cache, threshold: float
) -> tuple[Tensor, float]:
    """Return a take's latents and its CPU-seconds, tables included."""
    steps = plan_steps(ScheduleConfig(NUM_STEPS, guidance=2.0, cache=cache == "released"))
    channels, _, height, width = conditions.reference.shape
    take = Take(conditions.shot, FUSION, steps, shot_noise(7, (channels, height, width)), FLOAT32)
    start = time.process_time()
    latents = sample(build_denoiser(network, conditions, steps, cache, threshold), take)
    return latents, time.process_time() - start


def main() -> None:
    """Print one line per setting."""
    shot = shot_latents(NUM_FRAMES, FUSION)
    with torch.inference_mode():
        network, conditions = drawn_shot(shot)
        take_with(network, conditions, "off", 0.0)
        exact, seconds = take_with(network, conditions, "off", 0.0)
        print(f"puppet, {NUM_FRAMES} frames, {NUM_STEPS} guided steps, exact: {seconds:.1f} CPU-s")
        for name, cache, threshold in SETTINGS:
            latents, cached = take_with(network, conditions, cache, threshold)
            error = float((latents - exact).square().mean().sqrt() / exact.std())
            print(f"{name}: {cached:.1f} CPU-s, x{seconds / cached:.2f}, latents off by {error:.3f} of their spread")


if __name__ == "__main__":
    main()
