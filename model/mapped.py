"""Weights files as mapped tensors: nothing is read before it is used, and what was used is given back.

Formats: PyTorch zip files (`weights_only`), safetensors, and the release's 8-bit file with its scales in a second file.
"""

import ctypes
import json
import mmap
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

LEVELS = ("module", "state_dict", "model_state_dict")  # where the weights lie inside a released .pt file
SCALE = ".scale"  # name of an 8-bit layer's scale, beside its .weight


class WeightsFileError(ValueError):
    """A weights file cannot be read at all."""


def map_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a weights file by name, mapped from disk; scales of an 8-bit file as `layer.scale`.

    Raises: WeightsFileError when there is no such file, or it is of another kind.
    """
    if not path.is_file():
        raise WeightsFileError(f"{path}: no such weights file")
    state = _map_safetensors(path) if path.suffix == ".safetensors" else unwrap(_map_pickle(path), path)
    scales = path.with_name(f"{path.stem}_map.pt")
    if scales.is_file():
        layers = unwrap(_map_pickle(scales), scales)
        state |= {name.removesuffix(".weight") + SCALE: torch.as_tensor(scale) for name, scale in layers.items()}
    return state


def _map_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a mapping
    except SafetensorError as exc:
        raise WeightsFileError(f"{path}: not a whole safetensors file ({exc}); fetch it again") from exc


def _map_pickle(path: Path) -> Any:
    """Load without executing anything that the file asks for."""
    try:
        return torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except Exception as exc:  # whatever a broken zip or a hostile pickle provokes
        reason = str(exc).splitlines()[0]
        raise WeightsFileError(f"{path}: not a weights file that can be mapped safely ({reason})") from exc


def unwrap(content: Any, path: Path) -> dict[str, Any]:
    """Return the dictionary of tensors inside the levels that released files put around it.

    Raises: WeightsFileError when there is none.
    """
    while isinstance(content, Mapping) and (level := next((k for k in LEVELS if k in content), None)):
        content = content[level]
    if not isinstance(content, Mapping) or not content or not all(_is_number(value) for value in content.values()):
        raise WeightsFileError(f"{path}: holds no tensors by name, at the top or under one of {', '.join(LEVELS)}")
    return dict(content)


def _is_number(value: Any) -> bool:
    return isinstance(value, Tensor | int | float)


def release(tensor: Tensor) -> None:
    """Give a mapped tensor's pages back to the system; reading it again reads the disk again.

    Only for tensors of `map_weights` that nobody has written to: written pages would be lost.
    """
    page = mmap.PAGESIZE
    start = -(-tensor.data_ptr() // page) * page  # whole pages only: neighbours may share the first and the last
    length = (tensor.data_ptr() + tensor.numel() * tensor.element_size()) // page * page - start
    if length > 0 and hasattr(os, "sched_getaffinity"):  # Linux; elsewhere pages go when memory is short
        ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), ctypes.c_int(mmap.MADV_DONTNEED))


_SAFETENSORS_NAMES = {
    torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float8_e4m3fn: "F8_E4M3",
    torch.int64: "I64", torch.int32: "I32", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


def write_safetensors(path: Path, tensors: Iterable[tuple[str, Tensor]], facts: Mapping[str, tuple[Any, Any]]) -> None:
    """Write a safetensors file one tensor at a time: the usual writer holds a second copy of everything.

    `facts` gives (shape, dtype) by name, in the order in which `tensors` will come; the file appears when it is whole.
    """
    header: dict[str, Any] = {}
    end = 0
    for name, (shape, dtype) in facts.items():
        start, end = end, end + torch.Size(shape).numel() * dtype.itemsize
        header[name] = {"dtype": _SAFETENSORS_NAMES[dtype], "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    scratch = path.with_name(f".{path.name}.part")
    with scratch.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, tensor in tensors:
            if (tuple(tensor.shape), tensor.dtype) != (tuple(facts[name][0]), facts[name][1]):
                raise ValueError(f"{name}: {tuple(tensor.shape)} {tensor.dtype} is not what the header says")
            file.write(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    os.replace(scratch, path)
