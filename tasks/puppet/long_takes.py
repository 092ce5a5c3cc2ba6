"""Algorithm 1 measured: the ways to make a long take, their seams, loops, drift and network calls."""

from collections.abc import Iterator
from dataclasses import replace

import torch

from model.denoiser import build_denoiser
from model.noise import shot_noise
from model.sampler import Take, sample
from model.schedule import ScheduleConfig, plan_steps
from model.vae import decode_frames, to_pixels
from model.windows import FusionConfig, plan_windows, shot_latents
from tasks import measures
from tasks.puppet.fusions import motion_frames, overlap_blend
from tasks.puppet.perform import Film, Performance, Role, conditions_of
from tasks.puppet.trial import HELD_OUT, Row, Samples, Stage, keep_sheet, mean_rows, stretch
from tasks.puppet.world import draw_plate

MINUTE = 1501  # frames
SHIFT = FusionConfig("guarded", 9, 2, max_window_latents=13)
WAYS: dict[str, FusionConfig] = {
    "hard cuts": replace(SHIFT, shift_latents=0), "position shift, guarded": SHIFT,
    "position shift, wrapped": FusionConfig("aligned", 9, 2), "overlap blend": SHIFT, "motion frames": SHIFT,
}  # fmt: skip


def long_takes(stage: Stage, frames: int = MINUTE) -> Iterator[Row]:
    """Algorithm 1: seams, loops and network calls of a long take."""
    films = []
    for name, fusion in WAYS.items():
        found = []
        for case in range(min(stage.cases, 2)):
            voice = rested(stretch(stage.voices[case % len(stage.voices)], frames), frames)
            play = Performance(HELD_OUT + 200 + case, (Role(voice, "neutral"),), frames, noise_seed=case, fusion=fusion)
            film, calls = take_of(play, name, stage)
            found.append({
                "seam": measures.seam_ratio(film.frames, range(9, (frames + 3) // 4, 9)),
                "start-end": measures.start_end_jump(film.frames),
                "calls": float(calls), "late/early face": drift(film),
            })  # fmt: skip
            films += [film] if case == 0 else []
        yield mean_rows("long take", name, found)
    keep_sheet(stage, "long-take", films, columns=10)


def rested(voice: Samples, frames: int) -> Samples:
    """Return a track that is silent for 3 s at both ends, longer than a window.

    Speech moves the lips, so two seconds tell of drift only where the face rests in both, and in their windows.
    """
    pause = 75 * (len(voice) // frames)
    voice = voice.copy()
    voice[:pause] = voice[-pause:] = 0
    return voice


def take_of(play: Performance, name: str, stage: Stage) -> tuple[Film, int]:
    """Render a long take in one of the ways; return it and the network calls."""
    plate, boxes = draw_plate(play.seed, len(play.roles), play.size)
    steps = plan_steps(ScheduleConfig(play.steps, play.sigma_shift, 1.0, "constant"))
    conditions = conditions_of(play, stage.parts, plate, boxes)
    denoiser = build_denoiser(stage.parts.network, conditions, steps)
    take = Take(
        conditions.shot, play.fusion, steps, shot_noise(play.noise_seed, (16, play.size[1] // 8, play.size[0] // 8))
    )
    if name == "overlap blend":
        latents, calls = overlap_blend(denoiser, take)
    elif name == "motion frames":
        latents, calls = motion_frames(denoiser, take)
    else:
        latents = sample(denoiser, take)
        shot = shot_latents(play.num_frames, play.fusion)
        calls = sum(len(plan_windows(shot, step.move, play.fusion)) for step in steps)
    frames = torch.cat([to_pixels(part) for part in decode_frames(stage.parts.vae, latents)])[: play.num_frames]
    return Film(frames.permute(0, 2, 3, 1).contiguous().numpy(), plate, boxes), calls


def drift(film: Film) -> float:
    """Return the identity error of the last second against the first second's."""
    first, last = (
        measures.identity_error(part, film.plate, film.boxes[0]) for part in (film.frames[:25], film.frames[-25:])
    )
    return last / max(first, 1e-6)
