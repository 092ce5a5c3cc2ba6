"""The steps of a render: noise levels, guidance, mask scale, feature cache, moves of the windows. Euler's step.

i step, T number of steps, sigma noise level (1 noise, 0 picture), t = 1000 sigma, v velocity (noise - picture).

The release was tuned at 50 steps and lists absolute step numbers. Here its lists are fractions of the schedule (equal
at 50), so that 4, 20 or 100 steps behave; `rule="released"` keeps the absolute lists for any count.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

Rule = Literal["released", "fraction", "constant"]

RELEASED_GUIDANCE = 7.5  # the scale that the release's late phase was tuned beside


@dataclass(frozen=True)
class ScheduleConfig:
    """How a shot is stepped from noise to picture.

    `rule`: `fraction` (the release's phases as fractions of the schedule, `guidance` acting in both), `released` (its
    absolute step numbers; `guidance` acts in the first ten steps alone) or `constant` (`guidance` and full masks at
    every step: networks distilled to few steps). `cache`: take stored features on some steps. `hold_shift`: windows
    move only on full steps, so that a cached step needs no other window's features.
    """

    num_steps: int = 50
    shift: float = 5.0
    guidance: float = RELEASED_GUIDANCE
    rule: Rule = "fraction"
    cache: bool = False
    hold_shift: bool = True

    def __post_init__(self) -> None:
        if self.num_steps < 1:
            raise ValueError(f"num_steps is {self.num_steps}; a schedule needs at least 1 step")
        if self.guidance < 1:
            raise ValueError(f"guidance is {self.guidance}; 1 means none, below 1 is not defined")


@dataclass(frozen=True)
class Step:
    """One denoising step. `euler` is the change of sigma (negative); `move` how often the windows have moved.

    `negative`: the unconditional branch reads the negative prompt (else the positive one; it is always silent).
    `cached`: take stored features where there are some. `guidance` 1: no unconditional branch.
    """

    index: int
    num_steps: int
    t: float
    sigma: float
    euler: float
    guidance: float
    negative: bool
    mask_scale: float
    cached: bool
    move: int


def sigmas(num_steps: int, shift: float = 5.0) -> Float[Tensor, "steps_and_one"]:
    """Return the noise levels 1 .. 0 in float32, shifted towards noise: shift s / (1 + (shift - 1) s)."""
    linear = torch.linspace(1, 0, num_steps + 1)
    return (shift * linear) / (1 + (shift - 1) * linear)


def timesteps(num_steps: int, shift: float = 5.0) -> Float[Tensor, "steps"]:
    """Return what the network is told at each step: 1000 sigma."""
    return 1000 * sigmas(num_steps, shift)[:-1]


def plan_steps(config: ScheduleConfig) -> tuple[Step, ...]:
    """Return the steps of a render, first to last."""
    levels, times = sigmas(config.num_steps, config.shift), timesteps(config.num_steps, config.shift)
    cached = [config.cache and is_cached(i, config.num_steps, config.rule) for i in range(config.num_steps)]
    return tuple(
        Step(
            index=i,
            num_steps=config.num_steps,
            t=float(times[i]),
            sigma=float(levels[i]),
            euler=float(levels[i + 1] - levels[i]),
            guidance=guidance_at(i, config),
            negative=is_early(i, config.num_steps, config.rule),
            mask_scale=0.6 if is_early(i, config.num_steps, config.rule) else 1.0,
            cached=cached[i],
            move=cached[1 : i + 1].count(False) if config.hold_shift else i,
        )
        for i in range(config.num_steps)
    )


def moves(steps: tuple[Step, ...]) -> tuple[int, ...]:
    """Return how far the windows have moved at each step, as `model.exchange.plan_exchange` wants it."""
    return tuple(step.move for step in steps)


def can_resume_after(steps: tuple[Step, ...], index: int) -> bool:
    """Tell whether a render can go on from its state after a step: stored features do not outlive a pod."""
    return index + 1 == len(steps) or not steps[index + 1].cached


def euler_step(x: Float[Tensor, "*shape"], v: Float[Tensor, "*shape"], step: Step) -> Float[Tensor, "*shape"]:
    """Return x after one Euler step along the velocity, in float32 whatever x is stored in."""
    return x.float() + v.float() * step.euler


def is_early(i: int, num_steps: int, rule: Rule) -> bool:
    """Tell whether step i belongs to the release's first phase: steps 0-9 of 50."""
    if rule == "constant":
        return False
    return i < 10 if rule == "released" else 5 * i < num_steps


def is_cached(i: int, num_steps: int, rule: Rule) -> bool:
    """Tell whether the release takes stored features at step i: all but 0-14, 15, 20, .. 40 and 41-49 of 50."""
    if rule == "released":
        return not (i < 15 or (i <= 40 and i % 5 == 0) or 41 <= i < 50)
    starts_a_tenth = (10 * i) // num_steps != (10 * (i - 1)) // num_steps
    return 10 * i >= 3 * num_steps and 10 * i <= 8 * num_steps and not starts_a_tenth


def guidance_at(i: int, config: ScheduleConfig) -> float:
    """Return the guidance of step i.

    Released: (1 - i/T) (scale - 2) + 2 early, then (1 - i/T) 3 + 3.5 whatever the scale. By fraction the late phase is
    scaled about 1 with (scale - 1) / 6.5, so that 7.5 gives the release's numbers and 1 gives none.
    """
    if config.rule == "constant":
        return config.guidance
    left = 1 - i / config.num_steps
    if is_early(i, config.num_steps, config.rule):
        floor = 2.0 if config.rule == "released" else min(2.0, config.guidance)
        return left * (config.guidance - floor) + floor
    late = left * 3 + 3.5
    if config.rule == "released":
        return late
    return late + (late - 1) * ((config.guidance - 1) / (RELEASED_GUIDANCE - 1) - 1)
