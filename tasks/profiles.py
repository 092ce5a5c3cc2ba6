"""The two profiles: which network, how it is sampled by default, what its weights are and what they allow."""

from dataclasses import dataclass
from pathlib import Path

from model.config import AVATAR, PUPPET, NetworkConfig
from model.windows import FusionConfig, FusionMode
from tasks.errors import ConfigError
from tasks.manifest.models import Sampler

NETWORK_VERSION = "1"  # raise it when the network's numerics change: every segment's key changes with it


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
    cache: str

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
    released_numerics: bool  # released schedule, guidance and rounding instead of the plain ones


PROFILES = {
    "puppet": Profile(
        name="puppet",
        network=PUPPET,
        # 9 latents = 33 frames = 1.3 s, what it was trained on; up to 13 so that guarded fusion costs no extra call
        sampler=SamplerSettings(6, 1.0, "guarded", 9, 2, 13, 3, "off"),
        released_numerics=False,
    ),
    "avatar": Profile(
        name="avatar",
        network=AVATAR,
        # the released 50 steps, scale and shift; guarded, because wrapping pulls a film's end and start together
        sampler=SamplerSettings(50, 7.5, "guarded", 33, 10, 33, 3, "off"),
        released_numerics=True,
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
    )


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
