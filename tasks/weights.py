"""Check, convert and license weights files: the verbs behind `farm weights`."""

import json
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from model.licence import (
    LicenceRefused,
    WeightsCard,
    card_path,
    check_digest,
    check_licence,
    file_sha256,
    read_card,
    write_card,
)
from tasks.errors import LicenceError, WeightsError
from tasks.profiles import PROFILES

if TYPE_CHECKING:
    from torch import nn

Part = Literal["network", "vae", "audio"]
DTYPES = ("keep", "float32", "float16", "bfloat16")
SUFFIXES = (".pt", ".safetensors")


@dataclass(frozen=True)
class WeightsReport:
    """What a weights file holds. `neutral` names the tensors that it lacks and that start unused."""

    path: Path
    num_tensors: int
    num_values: int
    dtypes: tuple[tuple[str, int], ...]  # (dtype, tensors of it), commonest first
    neutral: tuple[str, ...]
    licence: str  # empty: none on record


def check_weights(path: Path, profile: str = "avatar", part: Part = "network") -> WeightsReport:
    """Compare a file with the network that a profile runs, without loading it, and with the digest on its card.

    Raises: WeightsError naming every missing, unexpected and misshapen tensor, LicenceError for another file's card.
    """
    from model.audio import rename_encoder_keys
    from model.mapped import WeightsFileError, map_weights
    from model.weights import PAPER_PARTS, VAE_PARTS, WeightsMismatch, compare

    optional = {"network": PAPER_PARTS, "vae": VAE_PARTS, "audio": ()}[part]
    try:
        state = map_weights(path)
        if part == "audio":
            state = rename_encoder_keys(state)
        state = {name.removeprefix("vae."): tensor for name, tensor in state.items()} if part == "vae" else state
        neutral = compare(_empty(profile, part), state, optional)
    except (WeightsFileError, WeightsMismatch) as exc:
        raise WeightsError(f"{path}: {exc}") from exc
    dtypes = Counter(str(tensor.dtype).removeprefix("torch.") for tensor in state.values())
    num_values = sum(tensor.numel() for tensor in state.values())
    return WeightsReport(path, len(state), num_values, tuple(dtypes.most_common()), tuple(neutral), _licence(path))


def _empty(profile: str, part: Part) -> "nn.Module":
    """Return the module of one part without any memory behind its tensors."""
    import torch

    from model.audio import build_encoder
    from model.transformer import VideoTransformer
    from model.vae import build_vae

    config = PROFILES[profile].network
    if part == "audio":
        return build_encoder(config.audio)
    with torch.device("meta"):
        module: Any = VideoTransformer(config) if part == "network" else build_vae(config.vae)
    return cast("nn.Module", module)


def _licence(path: Path) -> str:
    """Return the licence of a file, empty when there is none on record.

    Raises: LicenceError for another file's card.
    """
    if not card_path(path).exists():
        return ""
    try:
        return _own_card(path, file_sha256).licence
    except LicenceRefused as exc:
        raise LicenceError(str(exc)) from exc


def _own_card(path: Path, digest_of: Callable[[Path], str]) -> WeightsCard:
    card = read_card(path)
    check_digest(path, card, digest_of)
    return card


@dataclass(frozen=True)
class KnownDigests:
    """Digests of files as they are, kept in a file: gigabytes are read once, and again when they were exchanged."""

    kept: Path
    sha256: Callable[[Path], str] = file_sha256

    def __call__(self, path: Path) -> str:
        status = path.stat()
        now = [status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
        known = self._read()
        if known.get(str(path.resolve()), {}).get("file") != now:
            known[str(path.resolve())] = {"file": now, "sha256": self.sha256(path)}
            self.kept.parent.mkdir(parents=True, exist_ok=True)
            fresh = self.kept.with_name(f"{self.kept.name}.{os.getpid()}")
            fresh.write_text(json.dumps(known, indent=2) + "\n")
            fresh.replace(self.kept)
        return str(known[str(path.resolve())]["sha256"])

    def _read(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self.kept.read_text()))
        except (FileNotFoundError, ValueError, TypeError):  # not yet, or cut off: it can be made again
            return {}


def convert_weights(source: Path, target: Path, dtype: str = "keep") -> None:
    """Write a weights file as safetensors in another precision; its licence card goes with it.

    Raises: WeightsError, LicenceError for another file's card.
    """
    import torch

    from model.mapped import WeightsFileError
    from model.weights import convert

    if dtype not in DTYPES:
        raise WeightsError(f"dtype {dtype!r} is not known; known are {', '.join(DTYPES)}")
    if target.suffix != ".safetensors":
        raise WeightsError(f"{target}: weights are written as safetensors; name the target *.safetensors")
    licence = _licence(source)
    try:
        convert(source, target, None if dtype == "keep" else getattr(torch, dtype))
    except WeightsFileError as exc:
        raise WeightsError(str(exc)) from exc
    if licence:
        write_card(target, licence)


def license_weights(path: Path, licence: str) -> None:
    """Put a file's licence on record, in a card beside it.

    Raises: WeightsError for a file or a licence that is not known.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file")
    try:
        write_card(path, licence)
    except ValueError as exc:
        raise WeightsError(f"{path}: {exc}") from exc


def check_use(
    folder: Path, territory: str, use: str = "render", digest_of: Callable[[Path], str] = file_sha256
) -> tuple[str, ...]:
    """Return the licences of a folder's weights files, after checking that they allow this use in this territory.

    Raises: LicenceError with every refusal (another file's card is one), WeightsError when there is nothing to check.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES and not path.stem.endswith("_map"))
    if not files:
        raise WeightsError(f"{folder}: no weights files ({', '.join(SUFFIXES)})")
    licences, refusals = [], []
    for path in files:
        try:
            card = _own_card(path, digest_of)
            check_licence(card, territory, use)
            licences.append(card.licence)
        except LicenceRefused as exc:
            refusals.append(str(exc))
    if refusals:
        raise LicenceError("\n".join(refusals))
    return tuple(dict.fromkeys(licences))
