"""The network of a profile, loaded: transformer, autoencoder, audio and text encoders, on one device."""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from model.transformer import VideoTransformer
from model.windows import FusionConfig
from tasks.errors import ConfigError, WeightsError
from tasks.plan.types import Plan
from tasks.profiles import NETWORK_VERSION, PROFILES, Profile, SamplerSettings, plan_sampler, weights_folder
from tasks.settings import Settings

TextEncoder = Callable[[str, Image.Image], tuple[Tensor, Tensor, Tensor]]  # prompt, plate -> states, mask, pooled


@dataclass(frozen=True, eq=False)
class Bundle:
    """Everything of a profile that computes. `digest` names its weights and code; conditions are kept under it."""

    profile: Profile
    digest: str
    device: torch.device
    transformer: VideoTransformer
    vae: Any
    encoder: nn.Module
    encode_text: TextEncoder
    emotion_latents: int  # side of an emotion picture in latents
    prompt_prefix: str = ""
    negative_prompt: str = ""

    def fusion(self, plan: Plan) -> FusionConfig:
        """Return how a plan's long takes are cut into windows."""
        return self.sampler(plan).fusion_config

    def sampler(self, plan: Plan) -> SamplerSettings:
        """Return a plan's sampler settings."""
        return plan_sampler(plan)


def pick_device(wanted: str) -> torch.device:
    """Return the device that a setting names; `auto` is the first GPU if there is one.

    Raises: ConfigError when the device is not there.
    """
    if wanted == "auto" and not torch.cuda.is_available():
        return torch.device("cpu")
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"FARM_DEVICE is {wanted} and this machine has no usable GPU; use auto or cpu")
    if wanted in ("auto", "cuda"):  # with its number: other threads, and files, would take the first GPU for it
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device(wanted)


def limit_threads(threads: int) -> None:
    """Give the network this many CPU threads; 0 means every core that this process may use."""
    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))


def weights_digest(profile: str, released: Path | None) -> str:
    """Return one digest of a profile's weights, from the cards beside the files where there are some.

    Raises: ConfigError when the weights are not there.
    """
    folder = weights_folder(profile, released)
    files = sorted([*folder.glob("*.safetensors"), *folder.glob("*.pt")])
    if not files:
        raise ConfigError(f"profile {profile}: no weights in {folder}; `farm doctor` lists what belongs there")
    return hashlib.sha256("\n".join(_file_digest(file) for file in files).encode()).hexdigest()


def _file_digest(file: Path) -> str:
    card = file.with_suffix(".json")
    if card.exists():
        return str(json.loads(card.read_text())["sha256"])
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def require_weights(bundle: Bundle, plan: Plan) -> None:
    """Refuse to render a plan with other weights than it was made for: its keys promise these and no others.

    Raises: WeightsError.
    """
    promised = f"{plan.network_version}-{plan.weights_sha256}"
    if bundle.digest != promised:
        raise WeightsError(
            f"episode {plan.episode} was planned for weights {promised[:14]}, this worker has {bundle.digest[:14]}; "
            "submit the episode again, or give the worker the weights that it was planned for"
        )


def load_bundle(profile: str, settings: Settings) -> Bundle:
    """Load a profile's network.

    Raises: ConfigError when weights are missing, WeightsError when they are of another network.
    """
    device = pick_device(settings.device)
    if profile == "puppet":
        return _load_puppet(device)
    from tasks.released import load_released

    return load_released(device, settings)


def _load_puppet(device: torch.device) -> Bundle:
    from model.text import hash_text
    from tasks.puppet.weights import load_parts

    profile = PROFILES["puppet"]
    network, vae, encoder = load_parts(weights_folder("puppet", None), profile.network, device)
    width = profile.network.text_width
    return Bundle(
        profile=profile,
        digest=f"{NETWORK_VERSION}-{weights_digest('puppet', None)}",
        device=device,
        transformer=network,
        vae=vae,
        encoder=encoder,
        encode_text=lambda prompt, plate: hash_text(prompt, width),
        emotion_latents=8,
    )
