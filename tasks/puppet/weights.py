"""The shipped weights as modules."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from model.audio import build_encoder
from model.config import NetworkConfig
from model.transformer import VideoTransformer
from model.vae import build_vae
from tasks.errors import WeightsError


def load_parts(folder: Path, config: NetworkConfig, device: torch.device) -> tuple[VideoTransformer, Any, nn.Module]:
    """Return the transformer, the autoencoder and the audio encoder that lie in a folder, in float32.

    Raises: WeightsError naming every missing, unexpected or misshapen tensor.
    """
    parts: dict[str, Any] = {
        "network": VideoTransformer(config),
        "vae": build_vae(config.vae),
        "audio": build_encoder(config.audio),
    }
    for name, module in parts.items():
        try:
            module.load_state_dict({k: v.float() for k, v in load_file(folder / f"{name}.safetensors").items()})
        except (RuntimeError, FileNotFoundError) as exc:
            raise WeightsError(f"{folder / name}.safetensors: {exc}") from exc
        module.to(device).eval().requires_grad_(False)
    return parts["network"], parts["vae"], parts["audio"]
