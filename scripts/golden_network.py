"""Compare the transformer with recorded passes: every dit_*_in/out.npz and rope_*.npz of a folder.

A dit case is a network of 2 double and 2 single blocks at full width; its weights come from detgen.py by name.
"""

import dataclasses
import importlib.util
import re
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from einops import rearrange
from golden_result import Result
from torch import Tensor

from model.conditions import Conditions, Voice
from model.config import AVATAR
from model.rope import rope_table
from model.transformer import Prepared, Stream, VideoTransformer

GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "golden"
SMALL = dataclasses.replace(AVATAR, name="avatar 2+2", double_blocks=2, single_blocks=2)
LARGE = 1 << 20  # values of a matrix that `lean_network` does not keep
PIECE = 1 << 16
LIMIT = 1e-4  # float32, largest absolute error


def golden_network() -> VideoTransformer:
    """Return the 2 + 2 block network with the recorded weights: 1.4 G values, 5.5 GB."""
    network = _empty_network()
    for name, parameter in network.state_dict().items():
        assign(network, name, drawn(name, parameter.shape))
    return network


def lean_network() -> VideoTransformer:
    """Return the same network in 0.3 GB: a large matrix is drawn when it is used and gone when another one is."""
    network, large = _empty_network(), set()
    current: list[torch.nn.Linear] = []

    def draw(name: str, module: torch.nn.Linear) -> None:
        if current != [module]:
            for before in current:
                before.weight = torch.nn.Parameter(before.weight.to("meta"), requires_grad=False)
            current[:] = [module]
            assign(network, f"{name}.weight", drawn(f"{name}.weight", module.weight.shape))

    for name, module in network.named_modules():
        if isinstance(module, torch.nn.Linear) and module.weight.numel() > LARGE:
            large.add(f"{name}.weight")
            module.register_forward_pre_hook(lambda module, _, name=name: draw(name, module))
    for name, parameter in network.state_dict().items():
        if name not in large:
            assign(network, name, drawn(name, parameter.shape))
    return network


def _empty_network() -> VideoTransformer:
    with torch.device("meta"):
        return VideoTransformer(SMALL).requires_grad_(False)


def assign(network: torch.nn.Module, name: str, value: Tensor) -> None:
    """Put a parameter in the place of the one of this name."""
    module, _, leaf = name.rpartition(".")
    setattr(network.get_submodule(module), leaf, torch.nn.Parameter(value, requires_grad=False))


def drawn(name: str, shape: Sequence[int]) -> Tensor:
    """Return detgen.param(name, shape): the same uniform values, without a second copy of a big tensor."""
    if len(shape) >= 2:
        mean, std = 0.0, int(np.prod(shape[1:])) ** -0.5
    else:
        mean, std = (1.0, 0.1) if name.endswith(".weight") else (0.0, 0.05)
    values = np.empty(int(np.prod(shape)), np.float32)
    seed = np.random.PCG64([load_detgen(GOLDEN).SEED, zlib.crc32(name.encode())])
    generator = np.random.Generator(seed)
    for part in np.array_split(values, -(-len(values) // PIECE)):  # what the processor's cache holds
        generator.random(out=part, dtype=np.float32)
        part -= np.float32(0.5)
        part *= np.float32(2 * 3**0.5 * std)
        part += np.float32(mean)
    return torch.from_numpy(values.reshape(tuple(shape)))


def load_detgen(folder: Path) -> ModuleType:
    """Return detgen.py of a folder."""
    spec = importlib.util.spec_from_file_location("detgen", folder / "detgen.py")
    if spec is None or spec.loader is None:
        raise ImportError(f"{folder / 'detgen.py'} is not a Python file")
    detgen = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(detgen)
    return detgen


def load_case(path: Path) -> dict[str, Tensor]:
    """Return the tensors of one .npz file."""
    with np.load(path) as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def conditions_of(case: Mapping[str, Tensor]) -> list[Conditions]:
    """Return what every item of a recorded case is told: one voice."""
    return [
        Conditions(
            text=case["text_states"][item],
            text_mask=case["text_mask"][item],
            pooled=case["text_states_2"][item],
            reference=case["ref_latents"][item],
            voices=(Voice(case["audio_prompts"][item], case["face_mask"][item, 0]),),
            motion_exp=case["motion_exp"][item],
            motion_pose=case["motion_pose"][item],
            fps=float(case["fps"][item]),
        )
        for item in range(len(case["x"]))
    ]


@torch.inference_mode()
def stages(network: VideoTransformer, case: Mapping[str, Tensor], t_cached: Tensor) -> dict[str, Tensor]:
    """Run a case and return the recorded stages by their recorded names."""
    conditions = conditions_of(case)
    x, t = case["x"], case["t"]
    grid = network.grid_of(x, conditions)
    prepared = network.prepare(t, conditions, grid)
    stream = network.embed(x, prepared)
    features = network.features(stream, prepared)
    found = {
        "vec": network.vector(t, conditions),
        "txt_in": network.refine(case["text_states"], case["text_mask"].bool(), t),
        "audio_proj": network.audio_tokens(case["audio_prompts"])[0],
        "block0_img_in": stream.image,
        "cache_out": features,
        "out": network.head(features, prepared),
    }
    cached = network.head(features, network.prepare(t_cached, conditions, grid))
    found |= dict.fromkeys(("out_cached", "out_cached_half_t"), cached)
    return found | input_stages(network, case) | block_stages(network, stream, prepared)


def input_stages(network: VideoTransformer, case: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what single inputs become."""
    plate = case["ref_latents"]
    return {
        "time_in": network.time_in(case["t"]),
        "motion_exp": network.motion_exp(case["motion_exp"].float()).flatten(0, 1),
        "motion_pose": network.motion_pose(case["motion_pose"].float()).flatten(0, 1),
        "fps_proj": network.fps_proj(case["fps"].float()),
        "vector_in": network.vector_in(case["text_states_2"]),
        "img_in": network.img_in(case["x"]),
        "img_in_ref_first": network.img_in(plate[:, :, :1]),
        "before_proj_ref_in": network.before_proj(network.ref_in(plate)),
    }


def block_stages(network: VideoTransformer, stream: Stream, prepared: Prepared) -> dict[str, Tensor]:
    """Return what stands between the double blocks."""
    found: dict[str, Tensor] = {}
    for index in range(len(network.double_blocks)):
        silent = dataclasses.replace(prepared, voices=())
        stream = network.run_double(stream, silent, range(index, index + 1))
        found |= {f"double{index}_img": stream.image, f"double{index}_txt": stream.text}
        if (index + 1) % network.config.adapter_every == 0:
            place = index // network.config.adapter_every
            adapter, (voice,) = network.audio_adapter_blocks[place], prepared.voices
            y = rearrange(stream.image, "b (t n) d -> b t n d", t=prepared.grid[0] + 1)[:, 1:]
            found[f"audio_adapter{place}"] = adapter(adapter.query(y), voice.audio[place])
            stream = dataclasses.replace(stream, image=network.speak(stream.image, prepared, place))
    return found | {"single0_in": torch.cat([stream.image, stream.text], dim=1)}


def compare_dit(folder: Path) -> list[Result]:
    """Run every dit_*_in.npz of a folder against its dit_*_out.npz."""
    paths = sorted(folder.glob("dit_*_in.npz"))
    if not paths:
        return []
    network = lean_network()
    return [result for path in paths for result in _compare_dit(path, network)]


def compare_rope(folder: Path) -> list[Result]:
    """Compare the angle table of every rope_TxHxW.npz (sizes in latents, reference first, angles repeated pairwise)."""
    results = []
    for path in sorted(folder.glob("rope_*.npz")):
        num_latents, height, width = (int(part) for part in re.findall(r"\d+", path.stem))
        table = rope_table(num_latents, height // AVATAR.patch, width // AVATAR.patch, AVATAR)
        for name, recorded in load_case(path).items():
            ours = {"cos": table.cos, "sin": table.sin}[name].repeat_interleave(2, dim=1)
            results.append(Result(f"{path.stem} {name}", _error(ours, recorded), LIMIT))
    return results


def _compare_dit(path: Path, network: VideoTransformer) -> list[Result]:
    recorded = load_case(path.with_name(path.name.replace("_in.npz", "_out.npz")))
    case = load_case(path)
    found = stages(network, case, recorded.get("t_cached", case["t"] / 2))
    valid = case["text_mask"].sum(1).tolist()
    results = []
    for name, expected in recorded.items():
        stage, _, every = name.partition("_every")
        if stage not in found:
            continue
        ours = found[stage][..., :: int(every or 1)]
        if stage.endswith("_txt") or stage in ("cache_out", "single0_in"):  # rows of text padding are never read
            image = 0 if stage.endswith("_txt") else ours.shape[1] - max(valid)
            error = max(_error(ours[b, : image + n], expected[b, : image + n]) for b, n in enumerate(valid))
        else:
            error = _error(ours, expected)
        results.append(Result(f"{path.stem.removesuffix('_in')} {name}", error, LIMIT))
    return results


def _error(ours: Tensor, recorded: Tensor) -> float:
    return float((ours.double() - recorded.double()).abs().max()) if ours.shape == recorded.shape else float("inf")
