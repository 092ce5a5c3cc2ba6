"""Writes the shipped weights: half precision safetensors and a card that says what they are."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from model.audio import build_encoder
from model.config import PUPPET
from model.transformer import VideoTransformer
from model.vae import build_vae, set_latent_statistics
from tasks.puppet.dataset import AUDIO_SEED

MOST_BYTES = 20_000_000


def halves(module: nn.Module) -> dict[str, Tensor]:
    """Return a module's tensors in half precision."""
    return {name: t.detach().half().contiguous() for name, t in module.state_dict().items()}


def export_weights(run: Path, folder: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """Write network, autoencoder and audio encoder of a training run, and card.json; return the card.

    Raises: ValueError when the files are larger than the repository should carry.
    """
    network = VideoTransformer(PUPPET)
    trained = torch.load(run / "network.pt", weights_only=True)
    network.load_state_dict(trained["average"])
    vae = build_vae(PUPPET.vae)
    coder = torch.load(run / "vae.pt", weights_only=True)
    vae.load_state_dict(coder["average"])
    set_latent_statistics(vae, *torch.load(run / "stats.pt", weights_only=True))
    folder.mkdir(parents=True, exist_ok=True)
    parts = {"network": network, "vae": vae, "audio": build_encoder(PUPPET.audio, AUDIO_SEED)}
    files = {}
    for name, module in parts.items():
        file = folder / f"{name}.safetensors"
        save_file(halves(module), file, metadata={"format": "pt", "license": "Apache-2.0"})
        data = file.read_bytes()
        values = sum(t.numel() for t in module.state_dict().values())
        files[file.name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), "values": values}
    total = sum(entry["bytes"] for entry in files.values())
    if total > MOST_BYTES:
        raise ValueError(f"the weights take {total} bytes; at most {MOST_BYTES} go into the repository")
    steps = {"network": trained["step"], "vae": coder["step"]}
    card = {"name": "puppet", "license": "Apache-2.0", "files": files, "steps": steps, **facts}
    (folder / "card.json").write_text(json.dumps(card, indent=2) + "\n")
    return card
