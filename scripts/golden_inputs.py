"""Compare what goes into and comes out of the network with recorded numbers: audio*, vae_small* and facemask_* files.

Weights come from detgen.py of the folder, or from the project's own copy, by their names in the release.
"""

import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from golden_network import GOLDEN, load_case, load_detgen
from golden_result import Result
from torch import Tensor
from torch.nn import functional

from model.audio import CHUNK_ROWS, SAMPLES_PER_ROW, build_encoder, encode_track, hidden_states, load_encoder, log_mel
from model.config import AudioConfig, VaeConfig
from model.facemask import Face, latent_masks, pixel_mask, token_mask, whole_picture
from model.vae import build_vae, decode, moments, set_latent_statistics

SMALL_VAE = VaeConfig(channels=(16, 32, 64, 64), layers_per_block=1, norm_groups=8, tile_pixels=64, tile_frames=16)
VAE_LIMIT = 1e-5
MEL_LIMIT = 1e-3  # one fp16 step of the stored mel: two packages' mels differ by 1e-7 before they are rounded
AUDIO_LIMIT = 5e-4  # what such a step may become; 2e-6 was measured
RELEASED_FRAMES = 400  # the release makes no more


def compare_audio(folder: Path) -> list[Result]:
    """Compare mel, hidden states and windows of every audio*.npz."""
    paths = sorted(folder.glob("audio*.npz"))
    encoder = golden_encoder(_detgen(folder)) if paths else None
    return [result for path in paths for result in _compare_audio(path, encoder)]


def golden_encoder(detgen: ModuleType) -> Any:
    """Return a Whisper-tiny encoder with the recorded weights."""
    encoder = build_encoder(AudioConfig())
    state = {
        name: value if name == "positional_embedding" else _encoder_weight(detgen, name, value)
        for name, value in encoder.state_dict().items()
    }
    load_encoder(encoder, state)
    return encoder


# openai-whisper's names back to those in transformers, under which the weights were drawn
_DRAWN_AS = (
    ("blocks.", "layers."), ("attn.query", "self_attn.q_proj"), ("attn.key", "self_attn.k_proj"),
    ("attn.value", "self_attn.v_proj"), ("attn.out", "self_attn.out_proj"), ("attn_ln", "self_attn_layer_norm"),
    ("mlp_ln", "final_layer_norm"), ("mlp.0", "fc1"), ("mlp.2", "fc2"), ("ln_post", "layer_norm"),
)  # fmt: skip


def _encoder_weight(detgen: ModuleType, name: str, value: Tensor) -> Tensor:
    for ours, theirs in _DRAWN_AS:
        name = name.replace(ours, theirs)
    weight: Tensor = detgen.param(f"whisper.encoder.{name}", tuple(value.shape))
    return weight


def _compare_audio(path: Path, encoder: Any) -> list[Result]:
    case = load_case(path)
    wav = case["wav"]
    length = CHUNK_ROWS * SAMPLES_PER_ROW
    chunks = -(-len(wav) // length)
    padded = functional.pad(wav, (0, chunks * length - len(wav)))
    mel = torch.cat([log_mel(chunk) for chunk in torch.split(padded, length)], dim=1)
    results = []
    if "mel_fp16" in case:
        found = mel[:, : case["mel_fp16"].shape[1]]
        results.append(Result(f"{path.stem} mel", _error(found, case["mel_fp16"]), MEL_LIMIT))
    if "hidden" in case:
        found = hidden_states(encoder, mel[:, : 2 * CHUNK_ROWS])[: len(case["hidden"])]
        results.append(Result(f"{path.stem} hidden", _error(found, case["hidden"]), AUDIO_LIMIT))
    for name, recorded in case.items():
        if match := re.fullmatch(r"windows(?:_([\d.]+)(?:fps)?)?", name):
            found = _windows(wav, encoder, float(match[1] or 25), len(recorded), case.get("windows_every"))
            results.append(Result(f"{path.stem} {name}", _error(found, recorded), AUDIO_LIMIT))
    return results


def _windows(wav: Tensor, encoder: Any, fps: float, num_windows: int, every: Tensor | None) -> Tensor:
    """Return the recorded choice of windows: every 8th frame of the clip, or what the file says, or fits."""
    num_frames = min(int(len(wav) / 16_000 * fps + 1e-6), RELEASED_FRAMES)
    fitting = [step for step in (8, *range(1, num_frames + 1)) if -(-num_frames // step) == num_windows]
    step = int(every) if every is not None else fitting[0] if fitting else 1
    return encode_track(wav, encoder, fps, max(num_frames, num_windows))[::step][:num_windows]


def compare_vae(folder: Path) -> list[Result]:
    """Compare plain and tiled encoding and decoding of every vae_small*.npz."""
    paths = sorted(folder.glob("vae_small*.npz"))
    vae = golden_vae(_detgen(folder)) if paths else None
    return [result for path in paths for result in _compare_vae(path, vae, _detgen(folder))]


def golden_vae(detgen: ModuleType) -> Any:
    """Return the shrunken autoencoder with the recorded weights; its latents are not normalised."""
    vae = build_vae(SMALL_VAE).requires_grad_(False)
    for name, parameter in vae.named_parameters():
        parameter.copy_(detgen.param(f"vae.{name}", tuple(parameter.shape)))
    set_latent_statistics(vae, torch.zeros(SMALL_VAE.latent_channels), torch.ones(SMALL_VAE.latent_channels))
    return vae


def _compare_vae(path: Path, vae: Any, detgen: ModuleType) -> list[Result]:
    case = load_case(path)
    results = []
    for name, recorded in case.items():
        kind, _, every = name.partition("_every")
        if not kind.startswith(("moments_", "decode_")):
            continue
        x, z = _vae_inputs(case, kind, recorded, detgen)
        with torch.no_grad():
            if kind == "moments_tiled":
                found = moments(vae, x[0])[None]
            elif kind == "decode_tiled":
                found = decode(vae, z[0])[None]
            elif kind == "moments_plain":
                frames, height, width = _pixels(recorded)
                found = vae.quant_conv(vae.encoder(x[:, :, :frames, :height, :width]))
            else:
                latents, height, width = _latents(recorded, int(every or 1))
                found = vae.decoder(vae.post_quant_conv(z[:, :, :latents, :height, :width]))
        results.append(Result(f"{path.stem} {kind}", _error(found[:, :, :: int(every or 1)], recorded), VAE_LIMIT))
    return results


def _vae_inputs(case: dict[str, Tensor], kind: str, recorded: Tensor, detgen: ModuleType) -> tuple[Tensor, Tensor]:
    """Return the clip and the latents: recorded, or drawn anew (the project's own copy leaves them out)."""
    if "x" in case and "z" in case:
        return case["x"], case["z"]
    frames, height, width = (int(n) for n in case["clip_shape"])
    x = detgen.uniform("vae.x", (1, 3, frames, height, width), std=0.5)
    return x, detgen.uniform("vae.z", (1, 16, (frames - 1) // 4 + 1, height // 8, width // 8))


def _pixels(moments_of: Tensor) -> tuple[int, int, int]:
    latents, height, width = moments_of.shape[2:]
    return 4 * (latents - 1) + 1, 8 * height, 8 * width


def _latents(frames_of: Tensor, every: int) -> tuple[int, int, int]:
    frames, height, width = frames_of.shape[2:]
    return (every * (frames - 1)) // 4 + 1, height // 8, width // 8


def compare_facemask(folder: Path) -> list[Result]:
    """Compare pixel, latent and token masks of every facemask_*.npz; equal expected."""
    return [result for path in sorted(folder.glob("facemask_*.npz")) for result in _compare_facemask(path)]


def _compare_facemask(path: Path) -> list[Result]:
    with np.load(path) as file:
        box = file["box_xywh"].tolist()
    case = load_case(path)
    height, width = case["pixel"].shape
    face = Face(tuple(box)) if box else whole_picture(width, height)
    latent = latent_masks([face], width, height)[0]
    found = {"pixel": pixel_mask(face, width, height), "latent": latent, "token": token_mask(latent)}
    return [
        Result(f"{path.stem} {name}", _error(mask, case[name]), 0.0) for name, mask in found.items() if name in case
    ]


def _detgen(folder: Path) -> ModuleType:
    return load_detgen(folder if (folder / "detgen.py").exists() else GOLDEN)


def _error(ours: Tensor, recorded: Tensor) -> float:
    """Return the largest absolute error, beyond the rounding with which the recorded number was stored."""
    if ours.shape != recorded.shape:
        return float("inf")
    error = (ours.double() - recorded.double()).abs()
    if recorded.dtype == torch.float16:
        error = (error - recorded.double().abs() * 2**-11).clamp(min=0)
    return float(error.max()) if error.numel() else 0.0
