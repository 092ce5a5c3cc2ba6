"""Weights into modules: strictly, tensor by tensor, straight to the target device and dtype.

Names and shapes are the release's; tensors of the modules that only the paper has may be missing and start neutral.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from model.audio import build_encoder, rename_encoder_keys
from model.config import AudioConfig, NetworkConfig, VaeConfig
from model.mapped import SCALE, map_weights, release, write_safetensors
from model.transformer import VideoTransformer
from model.vae import build_vae

# Made without the half-precision dtype in the release, hence float32 in a bf16 network; the paper's modules like them.
FLOAT32_PARTS = ("audio_proj", "audio_adapter_blocks.", "before_proj.", "final_layer.linear.", "emo")
# Tensors that the released files lack and the paper's modules need.
PAPER_PARTS = ("emo_", "emotion_blocks.", "_ext.", "channel_in.", "gamma")
VAE_PARTS = ("latent_mean", "latent_std")
FLOAT8 = torch.float8_e4m3fn


class WeightsMismatch(ValueError):
    """A weights file does not fit a network; the message names every tensor that is wrong."""

    def __init__(self, missing: list[str], unexpected: list[str], misshapen: list[str]) -> None:
        self.missing, self.unexpected, self.misshapen = missing, unexpected, misshapen
        kinds = {"missing": missing, "unexpected": unexpected, "misshapen": misshapen}
        lines = [f"{len(names)} {kind}:\n  " + "\n  ".join(names) for kind, names in kinds.items() if names]
        super().__init__("weights do not fit the network: " + "\n".join(lines))


@dataclass(frozen=True)
class Placement:
    """Where weights go and in what precision. `float8` keeps 8-bit weights as they are, with their scale."""

    device: torch.device | str = "cpu"
    dtype: torch.dtype = torch.float32
    float32_parts: tuple[str, ...] = FLOAT32_PARTS
    float8: bool = False

    def dtype_of(self, name: str, stored: torch.dtype) -> torch.dtype:
        """Return the dtype of one tensor."""
        if not stored.is_floating_point:
            return stored
        if self.float8 and (stored == FLOAT8 or name.endswith(SCALE)):
            return FLOAT8 if stored == FLOAT8 else torch.bfloat16
        return torch.float32 if name.startswith(self.float32_parts) else self.dtype


def load_network(path: Path, config: NetworkConfig, placement: Placement) -> VideoTransformer:
    """Return the transformer with a file's weights: released .pt (plain or 8-bit) or safetensors.

    Raises: WeightsFileError, WeightsMismatch.
    """
    with torch.device("meta"):
        network = VideoTransformer(config)
    load_into(network, map_weights(path), placement, PAPER_PARTS)
    return network.eval().requires_grad_(False)


def load_vae(path: Path, config: VaeConfig, placement: Placement) -> Any:
    """Return the autoencoder with a file's weights; a `vae.` before the names does not matter.

    Raises: WeightsFileError, WeightsMismatch.
    """
    vae = build_vae(config)
    state = {name.removeprefix("vae."): tensor for name, tensor in map_weights(path).items()}
    load_into(vae, state, placement, VAE_PARTS)
    return vae.eval().requires_grad_(False)


def load_audio_encoder(path: Path, config: AudioConfig, placement: Placement) -> nn.Module:
    """Return the Whisper encoder with a file's weights, in openai-whisper's or transformers' naming.

    Raises: WeightsFileError, WeightsMismatch.
    """
    encoder = build_encoder(config)
    load_into(encoder, rename_encoder_keys(map_weights(path)), placement, ())
    return encoder


def compare(module: nn.Module, state: Mapping[str, Tensor], optional: tuple[str, ...]) -> list[str]:
    """Return the names that the file lacks and may lack; everything else must fit.

    Raises: WeightsMismatch naming every missing, unexpected and misshapen tensor.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    scaled = {name for name in state if name.endswith(SCALE) and name.removesuffix(SCALE) + ".weight" in expected}
    unscaled = [n for n, t in state.items() if t.dtype == FLOAT8 and n.removesuffix(".weight") + SCALE not in state]
    absent = [name for name in expected if name not in state]
    neutral = [name for name in absent if any(part in name for part in optional)]
    missing = sorted(set(absent) - set(neutral)) + [f"{n.removesuffix('.weight')}{SCALE} (8-bit)" for n in unscaled]
    unexpected = sorted(set(state) - set(expected) - scaled)
    misshapen = [
        f"{name}: {tuple(state[name].shape)}, the network has {shape}"
        for name, shape in expected.items()
        if name in state and tuple(state[name].shape) != shape
    ]
    if missing or unexpected or misshapen:
        raise WeightsMismatch(missing, unexpected, misshapen)
    return neutral


@torch.no_grad()
def load_into(
    module: nn.Module, state: Mapping[str, Tensor], placement: Placement, optional: tuple[str, ...]
) -> list[str]:
    """Replace a module's tensors by a file's, one at a time; returns the names that started neutral.

    The host holds the module's own share and one tensor of the file at a time: pages of the file are given back.
    """
    neutral = compare(module, state, optional)
    for name in list(module.state_dict()):
        if name not in neutral:
            _assign(module, name, _placed(name, state, placement))
            if placement.float8 and state[name].dtype == FLOAT8:
                _assign(module, scale_name(name), _placed(scale_name(name), state, placement))
    for name in neutral:
        value = neutral_value(name, module)
        _assign(module, name, value.to(placement.device, placement.dtype_of(name, value.dtype)))
    return neutral


def scale_name(weight_name: str) -> str:
    """Return the name of an 8-bit weight's scale."""
    return weight_name.removesuffix(".weight") + SCALE


def _placed(name: str, state: Mapping[str, Tensor], placement: Placement) -> Tensor:
    source = state[name]
    dtype = placement.dtype_of(name, source.dtype)
    if source.dtype == FLOAT8 and dtype != FLOAT8:
        scale = state[scale_name(name)].to(torch.bfloat16)
        placed = (source.to(torch.bfloat16) * scale).to(placement.device, dtype)  # the release's order of roundings
    else:
        placed = source.to(placement.device).to(dtype, copy=True)
    release(source)
    return placed


def _assign(module: nn.Module, name: str, value: Tensor) -> None:
    path, _, leaf = name.rpartition(".")
    owner = module.get_submodule(path)
    if leaf in owner._parameters:
        owner._parameters[leaf] = nn.Parameter(value, requires_grad=False)
    else:
        owner._buffers[leaf] = value


def neutral_value(name: str, module: nn.Module) -> Tensor:
    """Return what an absent tensor of the paper's modules starts as: unused, the output is the release's to the bit.

    Emotion adapters start as the audio adapters and their pictures as the reference's, behind a gamma of zero; the
    40-token audio adds zero.
    """
    state: dict[str, Tensor] = module.state_dict()
    likeness = name.replace("emotion_blocks.", "audio_adapter_blocks.").replace("emo_in.", "ref_in.")
    shape = state[name].shape
    if likeness != name and likeness in state and state[likeness].shape == shape:
        return state[likeness].detach().clone()
    if name == "emo_fc.weight":
        return torch.eye(*shape)
    if name in VAE_PARTS:
        return state[name].detach().clone()
    return torch.ones(shape) if "norm" in name and name.endswith(".weight") else torch.zeros(shape)


def convert(
    source: Path, target: Path, dtype: torch.dtype | None = None, names: Callable[[str], str] = lambda name: name
) -> dict[str, tuple[Any, Any]]:
    """Write a weights file as safetensors, one tensor in memory at a time; returns (shape, dtype) by name.

    `dtype` None keeps every tensor's own; else floating ones change, 8-bit weights are multiplied by their scale, and
    the float32 parts stay float32.
    """
    state = map_weights(source)
    placement = None if dtype is None else Placement(dtype=dtype)
    kept = [name for name in state if placement is None or not _is_scale(name, state)]
    types = {name: placement.dtype_of(name, state[name].dtype) if placement else state[name].dtype for name in kept}
    facts = {names(name): (tuple(state[name].shape), types[name]) for name in kept}

    def tensors() -> Iterator[tuple[str, Tensor]]:
        for name in kept:
            yield names(name), _placed(name, state, placement) if placement else state[name]
            release(state[name])

    write_safetensors(target, tensors(), facts)
    return facts


def _is_scale(name: str, state: Mapping[str, Tensor]) -> bool:
    weight = state.get(name.removesuffix(SCALE) + ".weight")
    return name.endswith(SCALE) and weight is not None and weight.dtype == FLOAT8
