"""The shipped weights as modules, through the loader of the released checkpoint."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from model.config import NetworkConfig
from model.mapped import WeightsFileError
from model.transformer import VideoTransformer
from model.weights import Placement, WeightsMismatch, load_audio_encoder, load_network, load_vae
from tasks.errors import WeightsError


def load_parts(folder: Path, config: NetworkConfig, device: torch.device) -> tuple[VideoTransformer, Any, nn.Module]:
    """Return the transformer, the autoencoder and the audio encoder that lie in a folder, in float32.

    Raises: WeightsError naming every missing, unexpected or misshapen tensor.
    """
    place = Placement(device)
    try:
        network = load_network(folder / "network.safetensors", config, place)
        vae = load_vae(folder / "vae.safetensors", config.vae, place)
        encoder = load_audio_encoder(folder / "audio.safetensors", config.audio, place)
    except (WeightsFileError, WeightsMismatch) as exc:
        raise WeightsError(f"{folder}: {exc}; check the repository out again, or train: farm puppet train") from exc
    return network, vae, encoder
