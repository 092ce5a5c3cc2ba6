"""The released 13B checkpoint and its encoders as a bundle. The folder FARM_WEIGHTS holds

    mp_rank_00_model_states.pt   or network.safetensors (`farm weights convert`), or the 8-bit file with its map
    vae/pytorch_model.pt         or vae.safetensors

FARM_LLAVA, FARM_CLIP and FARM_WHISPER name the encoders.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from model.config import AVATAR
from model.text import NEGATIVE_PROMPT, PROMPT_PREFIX, TextLayout, encode_prompt, trim_llava
from model.weights import Placement, load_audio_encoder, load_network, load_vae
from tasks.errors import ConfigError
from tasks.network import Bundle, TextEncoder, weights_digest
from tasks.profiles import NETWORK_VERSION, PROFILES
from tasks.settings import Settings

NETWORK_FILES = ("network.safetensors", "mp_rank_00_model_states.pt", "mp_rank_00_model_states_fp8.pt")
VAE_FILES = ("vae.safetensors", "vae/pytorch_model.pt")
EMOTION_LATENTS = 64  # a face crop of 512 x 512 pixels


def load_released(device: torch.device, settings: Settings) -> Bundle:
    """Load the checkpoint, in bf16 on a GPU and in float32 on a CPU.

    Raises: ConfigError naming everything that is not there; WeightsFileError, WeightsMismatch.
    """
    folder = _required(settings)
    half = torch.bfloat16 if device.type == "cuda" else torch.float32
    decoder = torch.float16 if device.type == "cuda" else torch.float32  # the release decodes in fp16
    network = load_network(_first(folder, NETWORK_FILES), AVATAR, Placement(device, half, float8=True))
    return Bundle(
        profile=PROFILES["avatar"],
        digest=f"{NETWORK_VERSION}-{weights_digest('avatar', folder)}",
        device=device,
        transformer=network,
        vae=load_vae(_first(folder, VAE_FILES), AVATAR.vae, Placement(device, decoder, float32_parts=())),
        encoder=load_audio_encoder(_path(settings.whisper), AVATAR.audio, Placement(device)),
        encode_text=_text_encoder(_path(settings.llava), _path(settings.clip), device),
        emotion_latents=EMOTION_LATENTS,
        prompt_prefix=PROMPT_PREFIX,
        negative_prompt=NEGATIVE_PROMPT,
    )


def _required(settings: Settings) -> Path:
    wanted = {"FARM_WEIGHTS": settings.weights, "FARM_LLAVA": settings.llava, "FARM_CLIP": settings.clip}
    wanted["FARM_WHISPER"] = settings.whisper
    lacking = [name for name, path in wanted.items() if path is None or not path.exists()]
    if lacking or settings.weights is None:
        names = ", ".join(lacking)
        raise ConfigError(f"profile avatar: {names} not set or not there; `farm doctor` says what belongs where")
    return settings.weights


def _path(path: Path | None) -> Path:
    assert path is not None  # _required has looked
    return path


def _first(folder: Path, names: tuple[str, ...]) -> Path:
    found = next((folder / name for name in names if (folder / name).exists()), None)
    if found is None:
        raise ConfigError(f"{folder} holds none of {', '.join(names)}; `farm doctor` says what belongs there")
    return found


def _text_encoder(llava_folder: Path, clip_folder: Path, device: torch.device) -> TextEncoder:
    """Return the text encoder; both models are loaded when the first prompt comes, and stay on the CPU in between."""
    from transformers import AutoTokenizer, CLIPTextModel, LlavaForConditionalGeneration

    layout = TextLayout()
    llava: Any = trim_llava(LlavaForConditionalGeneration.from_pretrained(llava_folder, dtype=torch.float16), layout)
    clip: Any = CLIPTextModel.from_pretrained(clip_folder, dtype=torch.float16).eval().requires_grad_(False)
    tokenizers = [AutoTokenizer.from_pretrained(folder) for folder in (llava_folder, clip_folder)]

    def encode(prompt: str, plate: Image.Image) -> tuple[Tensor, Tensor, Tensor]:
        llava.to(device), clip.to(device)
        pixels = torch.from_numpy(np.array(plate))
        states = encode_prompt(llava, tokenizers[0], clip, tokenizers[1], prompt, pixels, layout)
        llava.to("cpu"), clip.to("cpu")
        return states.states, states.mask, states.pooled

    return encode
