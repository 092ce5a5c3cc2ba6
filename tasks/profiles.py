"""The two profiles: which network, how it is sampled by default, what its weights are and what they allow."""

from dataclasses import dataclass
from pathlib import Path

from model.config import AVATAR, PUPPET, NetworkConfig
from model.schedule import Rule, ScheduleConfig
from model.windows import FusionConfig, FusionMode
from tasks.errors import ConfigError
from tasks.manifest.models import Sampler
from tasks.plan.types import CacheName, Plan

NETWORK_VERSION = "2"  # raise it when the network's numerics change: every segment's key changes with it


@dataclass(frozen=True)
class SamplerSettings:
    """How a shot is sampled, every field decided."""

    steps: int
    guidance: float  # 1: a single call per window and step
    fusion: FusionMode
    window_latents: int
    shift_latents: int
    max_window_latents: int
    windows_per_segment: int
    cache: CacheName
    rule: Rule  # how guidance and masks follow the schedule
    sigma_shift: float  # how much of the schedule is spent near noise

    @property
    def schedule(self) -> ScheduleConfig:
        return ScheduleConfig(
            num_steps=self.steps,
            shift=self.sigma_shift,
            guidance=self.guidance,
            rule=self.rule,
            cache=self.cache == "released",
        )

    @property
    def fusion_config(self) -> FusionConfig:
        return FusionConfig(
            mode=self.fusion,
            window_latents=self.window_latents,
            shift_latents=self.shift_latents,
            max_window_latents=self.max_window_latents,
        )


@dataclass(frozen=True)
class Profile:
    """One network as the farm runs it."""

    name: str
    network: NetworkConfig
    sampler: SamplerSettings
    half_state: bool  # fp16 between steps: halves what pods exchange (the release rounds to bf16)


PROFILES = {
    "puppet": Profile(
        name="puppet",
        network=PUPPET,
        # 9 latents = 33 frames = 1.3 s, what it was trained on; up to 13 so that guarded fusion costs no extra call
        sampler=SamplerSettings(6, 1.0, "guarded", 9, 2, 13, 3, "off", "constant", 3.0),
        half_state=False,
    ),
    "avatar": Profile(
        name="avatar",
        network=AVATAR,
        # the released 50 steps, scale and shift; guarded, because wrapping pulls a film's end and start together
        sampler=SamplerSettings(50, 7.5, "guarded", 33, 10, 33, 3, "off", "fraction", 5.0),
        half_state=True,
    ),
}


def resolve_sampler(profile: str, asked: Sampler) -> SamplerSettings:
    """Return the profile's sampler settings with what the manifest asks for put in."""
    base = PROFILES[profile].sampler
    window = asked.window_latents or base.window_latents
    longest = max(window, window * base.max_window_latents // base.window_latents)
    return SamplerSettings(
        steps=asked.steps or base.steps,
        guidance=asked.guidance if asked.guidance is not None else base.guidance,
        fusion=asked.fusion or base.fusion,
        window_latents=window,
        shift_latents=base.shift_latents if asked.shift_latents is None else asked.shift_latents,
        max_window_latents=longest,
        windows_per_segment=asked.windows_per_segment or base.windows_per_segment,
        cache=asked.cache,
        rule=base.rule,
        sigma_shift=base.sigma_shift,
    )


def plan_sampler(plan: Plan) -> SamplerSettings:
    """Return the sampler settings that a plan was made with."""
    asked = Sampler(
        steps=plan.steps,
        guidance=plan.guidance,
        fusion=plan.fusion,
        window_latents=plan.window_latents,
        shift_latents=plan.shift_latents,
        cache=plan.cache,
    )
    return resolve_sampler(plan.profile, asked)


def puppet_folder() -> Path:
    """Return the folder with the shipped weights."""
    return Path(__file__).resolve().parent.parent / "model" / "puppet"


def weights_folder(profile: str, released: Path | None) -> Path:
    """Return where a profile's weights are.

    Raises: ConfigError when the avatar profile has no weights folder.
    """
    if profile == "puppet":
        return puppet_folder()
    if released is None:
        raise ConfigError(
            "profile avatar needs the released 13B checkpoint and FARM_WEIGHTS is not set; "
            "set it to the checkpoint's folder (`farm doctor` lists the files), or use profile puppet"
        )
    return released
