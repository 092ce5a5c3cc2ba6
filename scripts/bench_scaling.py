"""How busy many pods are that share one take: a simulation of the real plan of who waits for whom.

python scripts/bench_scaling.py [--pods 1,10,100,1000] [--steps 50] [--step-seconds 20] [--exchange-seconds 0.2]

Nothing of the dependencies is assumed: windows, reads and publications of every step are `plan_exchange`'s, and a pod
goes through its windows in the order of `model.sampler.denoise_part`. There is no barrier: a pod waits for those
segments whose latents its next window covers, and for nothing else. Utilisation is computing time over the pods' time
until the last one has finished, so what the quick ones wait at the end counts as lost.

Two kinds of unevenness, both normal deviates. `jitter`: every window of every step anew. A window is seconds of the
same dense kernels at settled clocks, so 1 and 2 % are assumed for a GPU that nobody else uses; 5 % is a bad one.
`uneven`: one factor for each pod that stays, because GPUs of one model clock differently (by 8 % on average in five
large centres: Sinha et al., arXiv:2208.11035). A take is as slow as its slowest pod, whatever the exchange does.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model.exchange import SegmentStep, plan_exchange
from model.windows import FusionConfig, FusionMode, num_frames_for_latents, shot_latents

WINDOW = 33  # latents, the released network's


@dataclass(frozen=True)
class Turn:
    """One pod's part of one step: its windows' sizes in the order of work, whom it asks, and when.

    `asks_before` and `tells_after` are positions in `latents`; beyond its end: never.
    """

    latents: tuple[int, ...]
    asks: tuple[int, ...]
    asks_before: int
    tells_after: int


@dataclass(frozen=True)
class Pace:
    """How long things take: a step of a pod, a message until it is there, and what makes pods uneven."""

    step_seconds: float = 20.0
    exchange_seconds: float = 0.2
    jitter: float = 0.01
    uneven: float = 0.0
    seed: int = 0


def plan_take(pods: int, windows: int, steps: int, mode: FusionMode = "guarded") -> tuple[tuple[Turn, ...], ...]:
    """Return every step's turns of a take whose pods have so many windows each."""
    fusion = FusionConfig(mode, WINDOW)
    shot = shot_latents(num_frames_for_latents(WINDOW * windows * pods), fusion)
    moves = tuple(range(steps))
    return tuple(
        tuple(turn_of(part) for part in plan_exchange(shot, fusion, step, (windows,) * pods, moves)) for step in moves
    )


def turn_of(part: SegmentStep) -> Turn:
    """Return what a pod does at a step, in the order of `model.sampler.denoise_part`."""
    foreign = {latent for read in part.reads for piece in read.pieces for latent in piece.latents}
    told = {piece.window for piece in part.publishes}
    touched = {window.index: not foreign.isdisjoint(window.latents) for window in part.windows}
    order = sorted(part.windows, key=lambda window: (touched[window.index], window.index not in told))
    asking = [place for place, window in enumerate(order) if touched[window.index]]
    telling = [place for place, window in enumerate(order) if window.index in told]
    return Turn(
        latents=tuple(len(window.latents) for window in order),
        asks=tuple(read.segment for read in part.reads),
        asks_before=min(asking, default=len(order)),
        tells_after=max(telling, default=len(order)),
    )


def utilisation(take: Sequence[Sequence[Turn]], windows: int, pace: Pace) -> float:
    """Return the share of the pods' time in which they compute."""
    pods, rng = len(take[0]), np.random.default_rng(pace.seed)
    speed = np.clip(rng.normal(1.0, pace.uneven, pods), 0.5, 2.0)
    second = pace.step_seconds / (windows * WINDOW)  # a latent's
    done, told, busy = [0.0] * pods, [0.0] * pods, 0.0
    for turns in take:
        before, told = told, [0.0] * pods
        for pod, turn in enumerate(turns):
            now = done[pod]
            noise = np.clip(rng.normal(1.0, pace.jitter, len(turn.latents)), 0.5, 2.0)
            for place, latents in enumerate(turn.latents):
                if place == turn.asks_before:
                    now = max(now, *(before[source] + pace.exchange_seconds for source in turn.asks))
                seconds = latents * second * speed[pod] * noise[place]
                now, busy = now + seconds, busy + seconds
                if place == turn.tells_after:
                    told[pod] = now
            done[pod] = now
    return float(busy / (pods * max(done)))


def main(arguments: list[str]) -> int:
    """Print the curve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pods", default="1,10,100,1000")
    parser.add_argument("--windows", default="1,3", help="windows of a pod; a segment has 3 unless told otherwise")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--step-seconds", type=float, default=20.0)
    parser.add_argument("--exchange-seconds", type=float, default=0.2)
    parser.add_argument("--fusion", choices=("guarded", "aligned"), default="guarded")
    given = parser.parse_args(arguments)
    kinds = [(0.01, 0.0), (0.02, 0.0), (0.05, 0.0), (0.01, 0.02)]
    print("| windows a pod | pods | jitter 1 % | jitter 2 % | jitter 5 % | jitter 1 %, pods uneven by 2 % |")
    print("|---|---|---|---|---|---|")
    for windows in map(int, given.windows.split(",")):
        for pods in map(int, given.pods.split(",")):
            take = plan_take(pods, windows, given.steps, given.fusion)
            paces = [Pace(given.step_seconds, given.exchange_seconds, *kind) for kind in kinds]
            row = " | ".join(f"{utilisation(take, windows, pace):.3f}" for pace in paces)
            print(f"| {windows} | {pods} | {row} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
