"""Run as a program: the tiny network on groups of 2 and 4 processes (gloo) against one; prints errors as JSON.

`all` as argument: every division of 2 and 4 processes, not only the four that the tests run.

xfuser is imported once and the processes are forked: its import is most of the time.
"""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace

import torch
import torch.multiprocessing as mp
import xfuser_on_cpu
from tiny_network import MOTION, TINY, draw, random_network

from model.blocks import PLAIN, Options
from model.conditions import Conditions, Voice
from model.denoiser import build_denoiser
from model.noise import shot_noise
from model.parallel import Degrees, SharedAttention, build_parallel_denoiser, gather_sequence, join, leave
from model.sampler import Take, sample
from model.schedule import ScheduleConfig, plan_steps
from model.shares import ParallelTransformer, Share
from model.shot import Prompt, ShotConditions, ShotVoice
from model.windows import FusionConfig, shot_latents
from tasks.chaos.postgres import free_port

NETWORK = replace(TINY, heads=4, rope_widths=(4, 6, 6))
FUSION = FusionConfig("guarded", 4, 1, max_window_latents=6)
SHOT = shot_latents(29, FUSION)
WORLDS = {
    2: (Degrees(2), Degrees(guidance=2)),
    4: (Degrees(2, 2), Degrees(1, 2, 2)),
}
EVERY = {
    2: (Degrees(2), Degrees(1, 2), Degrees(guidance=2)),
    4: (Degrees(4), Degrees(1, 4), Degrees(2, 1, 2), *WORLDS[4]),
}
Results = dict[str, torch.Tensor]


def told(size: tuple[int, int, int], num_text: int, corner: bool) -> Conditions:
    """Two voices, one with an emotion; `corner`: one mask that leaves most shares without any work."""
    t, h, w = size
    audio = NETWORK.audio
    mask = torch.zeros(t, h, w)
    mask[:, :2, :2] = 1
    masks = (mask if corner else draw(t, h, w).sigmoid() / 2, draw(1, h, w, seed=2).sigmoid() / 2)
    frames = [draw(4 * t - 3, audio.rows_per_frame, audio.layers + 1, audio.width, seed=s) for s in (1, 2)]
    voices = (Voice(frames[0], masks[0], emotion=draw(2, 16, 4, 4)), Voice(frames[1], masks[1]))
    valid = (torch.arange(9) < num_text).long()
    return Conditions(
        draw(9, NETWORK.text_width), valid, draw(NETWORK.pooled_width), draw(16, 1, h, w),
        voices[:1] if corner else voices, *MOTION,
    )  # fmt: skip


def windows(forward: Callable[..., torch.Tensor], options: Options) -> Results:
    """Whole windows: even and odd token grids (35 tokens leave padding), items of different text, masked adapters."""
    t = torch.tensor([640.0])
    found = {}
    for name, size in (("even", (3, 8, 12)), ("odd", (2, 10, 14))):
        found[name] = forward(draw(1, 16, *size), t, [told(size, 7, False)], options)
    size, masked = (3, 8, 12), replace(options, masked_adapters=True, chunk_tokens=16)
    found["masked"] = forward(draw(1, 16, *size), t, [told(size, 7, True)], masked)
    pair = [told(size, 7, False), told(size, 5, False)]
    found["ragged"] = forward(draw(2, 16, *size), t.repeat(2), pair, options)
    return found


def shot_conditions() -> ShotConditions:
    audio, size = NETWORK.audio, (4, 6)
    prompts = [
        Prompt(draw(6, NETWORK.text_width, seed=s), torch.ones(6).long(), draw(NETWORK.pooled_width, seed=s))
        for s in (1, 2)
    ]
    sound = draw(29, audio.rows_per_frame, audio.layers + 1, audio.width)
    voice = ShotVoice(audio=sound, mask=(draw(SHOT.total, *size) > 0).float())
    motion = torch.full((1, 4), 30.0)
    return ShotConditions(SHOT, *prompts, draw(16, 1, *size), (voice,), motion, motion)


def shots(make_denoiser: Callable[..., object]) -> Results:
    """Whole takes of two windows and three steps, with guidance; one takes stored features on its second step."""
    found = {}
    steps = plan_steps(ScheduleConfig(3, guidance=3.0))
    held = tuple(replace(step, cached=step.index == 1, move=max(step.index - 1, 0)) for step in steps)
    for name, cache, mine in (("take", "off", steps), ("cached take", "released", held)):
        take = Take(SHOT, FUSION, mine, shot_noise(3, (16, 4, 6)))
        found[name] = sample(make_denoiser(cache, mine), take)
    return found


def process(rank: int, degrees: Degrees, port: int, expected: Results, errors: "mp.Queue[dict[str, float]]") -> None:
    """One of several: everything that one process computed, together with the others."""
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank), "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(degrees.processes),
    }  # fmt: skip
    torch.set_num_threads(1)
    join(degrees, torch.device("cpu"), timeout_seconds=300)
    network = random_network(NETWORK)
    share = Share(rank % degrees.sequence, degrees.sequence)
    local = ParallelTransformer(network, share, gather_sequence)
    with torch.no_grad():
        found = windows(local, replace(PLAIN, attention=SharedAttention()))
    found |= shots(lambda cache, steps: build_parallel_denoiser(network, shot_conditions(), steps, degrees, cache))
    errors.put({name: float((found[name] - expected[name]).abs().max()) for name in expected})
    leave()


def main() -> None:
    xfuser_on_cpu.load()
    torch.set_num_threads(1)
    network = random_network(NETWORK)
    with torch.no_grad():
        expected = windows(network, PLAIN)
    expected |= shots(lambda cache, steps: build_denoiser(network, shot_conditions(), steps, cache))
    context = mp.get_context("fork")
    report = {}
    for world, divisions in (EVERY if sys.argv[1:] == ["all"] else WORLDS).items():
        for degrees in divisions:
            port, errors = free_port(), context.SimpleQueue()
            started = mp.start_processes(
                process, (degrees, port, expected, errors), world, join=False, start_method="fork"
            )
            while not started.join():
                pass
            every = [errors.get() for _ in range(world)]
            report[f"{degrees.ulysses}x{degrees.ring}x{degrees.guidance}"] = {
                name: max(one[name] for one in every) for name in expected
            }
    moved = float((expected["take"] - expected["cached take"]).abs().max())
    print(
        json.dumps(
            {"errors": report, "largest": {k: float(v.abs().max()) for k, v in expected.items()}, "moved": moved}
        )
    )


if __name__ == "__main__":
    main()
