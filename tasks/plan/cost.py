"""What a plan costs: floating-point operations from the network's dimensions, hours and money from a rate table. Pure.

Formulas: linear layers 2 FLOP per weight and token, attention 4·D·N² per block (section 6 of the model's specification,
checked there against a FLOP counter).
"""

from dataclasses import dataclass

from model.config import NetworkConfig
from model.windows import plan_windows, shot_latents
from tasks.plan.types import Plan
from tasks.profiles import PROFILES, plan_sampler


@dataclass(frozen=True)
class Rate:
    """One kind of machine: sustained TFLOP/s in the network's number format, and money per hour."""

    name: str
    tflops: float
    usd_per_hour: float


# Sustained, not peak: 0.6 of what a large bf16 matrix product reaches. Prices: typical on-demand, edit freely.
RATES = {
    "h200": Rate("h200", 474.0, 4.5),
    "h100": Rate("h100", 474.0, 3.5),
    "a100": Rate("a100", 165.0, 2.0),
    "l40s": Rate("l40s", 120.0, 1.2),
    "cpu": Rate("cpu", 0.1, 0.05),
}
RELEASED_FULL_STEPS = 30  # of 50, with the released feature cache


@dataclass(frozen=True)
class Cost:
    """GPU-hours and money of a whole plan on one kind of machine."""

    machine: str
    petaflop: float
    hours: float
    usd: float
    calls: int


def forward_flop(network: NetworkConfig, num_latents: int, width: int, height: int, text_tokens: int) -> float:
    """Return the FLOP of one network call on one window and one guidance branch."""
    tokens = (num_latents + 1) * (width // 16) * (height // 16)
    whole = tokens + text_tokens
    d, m = network.hidden, network.mlp_ratio * network.hidden
    double = 2 * (4 * d * d + 2 * d * m)  # per token of either stream
    single = 2 * (d * (3 * d + m) + (d + m) * d)
    linear = whole * (network.double_blocks * double + network.single_blocks * single)
    attention = 4.0 * d * whole**2 * (network.double_blocks + network.single_blocks)
    return linear + attention


def estimate(plan: Plan, rate: Rate) -> Cost:
    """Return what rendering every shot of a plan costs on one kind of machine."""
    profile = PROFILES[plan.profile]
    sampler = plan_sampler(plan)
    branches = 1 if plan.guidance == 1 else 2
    text_tokens = 831 if plan.profile == "avatar" else 16
    flop, calls = 0.0, 0
    for shot in plan.shots:
        fusion = sampler.fusion_config
        windows = plan_windows(shot_latents(shot.num_frames, fusion), 0, fusion)
        for window in windows:
            one = forward_flop(profile.network, len(window.latents), plan.width, plan.height, text_tokens)
            full = plan.steps * (RELEASED_FULL_STEPS / 50 if plan.cache == "released" else 1.0)
            flop += one * branches * full
            calls += branches * plan.steps
    hours = flop / (rate.tflops * 1e12) / 3600
    return Cost(rate.name, flop / 1e15, hours, hours * rate.usd_per_hour, calls)
