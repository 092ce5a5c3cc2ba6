"""Check, convert and license weights files: the verbs behind `farm weights`."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

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
    """Compare a file with the network that a profile runs, without loading it.

    Raises: WeightsError naming every missing, unexpected and misshapen tensor.
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
    from model.licence import LicenceRefused, read_card

    try:
        return read_card(path).licence
    except LicenceRefused:
        return ""


def convert_weights(source: Path, target: Path, dtype: str = "keep") -> None:
    """Write a weights file as safetensors in another precision; its licence card goes with it.

    Raises: WeightsError.
    """
    import torch

    from model.licence import write_card
    from model.mapped import WeightsFileError
    from model.weights import convert

    if dtype not in DTYPES:
        raise WeightsError(f"dtype {dtype!r} is not known; known are {', '.join(DTYPES)}")
    if target.suffix != ".safetensors":
        raise WeightsError(f"{target}: weights are written as safetensors; name the target *.safetensors")
    try:
        convert(source, target, None if dtype == "keep" else getattr(torch, dtype))
    except WeightsFileError as exc:
        raise WeightsError(str(exc)) from exc
    if licence := _licence(source):
        write_card(target, licence)


def license_weights(path: Path, licence: str) -> None:
    """Put a file's licence on record, in a card beside it.

    Raises: WeightsError for a file or a licence that is not known.
    """
    from model.licence import write_card

    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file")
    try:
        write_card(path, licence)
    except ValueError as exc:
        raise WeightsError(f"{path}: {exc}") from exc


def check_use(folder: Path, territory: str, use: str = "render") -> tuple[str, ...]:
    """Return the licences of a folder's weights files, after checking that they allow this use in this territory.

    Raises: LicenceError with every refusal, WeightsError when there is nothing to check.
    """
    from model.licence import LicenceRefused, check_licence, read_card

    files = sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES and not path.stem.endswith("_map"))
    if not files:
        raise WeightsError(f"{folder}: no weights files ({', '.join(SUFFIXES)})")
    licences, refusals = [], []
    for path in files:
        try:
            card = read_card(path)
            check_licence(card, territory, use)
            licences.append(card.licence)
        except LicenceRefused as exc:
            refusals.append(str(exc))
    if refusals:
        raise LicenceError("\n".join(refusals))
    return tuple(dict.fromkeys(licences))
