"""Benchmarks of the transformer; `make bench` runs them. CPU-seconds, ratios of paired runs in one process.

The full-width network has 2 + 2 blocks and random weights; caches are measured on the shipped puppet.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from golden_network import GOLDEN, conditions_of, golden_network, load_detgen
from tensor_memory import peak_bytes
from torch import Tensor

from model.attention import Layout, joint_layout
from model.blocks import PLAIN, DoubleBlock, Options, SingleBlock
from model.conditions import Conditions
from model.config import AVATAR
from model.linear import to_float8_
from model.rope import rope_table
from model.transformer import Prepared, VideoTransformer

CHUNKED = Options(chunk_tokens=1024)
RELEASED_CPU_SECONDS = 38.0  # the released code, same case: 2.74 TFLOP at 72 GFLOP per CPU-second
LINEAR_FLOPS = 24 * AVATAR.hidden**2  # of one token in one block


def cpu_seconds(function: Callable[[], object]) -> float:
    """Return the CPU time of a call: of all threads, whatever else the machine does."""
    start = time.process_time()
    function()
    return time.process_time() - start


def matmul_rate(num_tokens: int) -> float:
    """Return FLOP per CPU-second of a plain float32 matrix product as large as the network's own."""
    x, weight = torch.randn(num_tokens, AVATAR.hidden), torch.randn(4 * AVATAR.hidden, AVATAR.hidden)
    F.linear(x, weight)
    return 2 * 2 * x.numel() * len(weight) / cpu_seconds(lambda: [F.linear(x, weight) for _ in range(2)])


def block_flops(num_tokens: int, num_blocks: int = 4) -> float:
    """Return the FLOP of the blocks alone; embeddings, refiner and adapters are not credited."""
    return num_blocks * (LINEAR_FLOPS * num_tokens + 4 * AVATAR.hidden * num_tokens**2)


def other_flops(num_video: int, num_text: int) -> float:
    """Return the FLOP outside the blocks: text refiner, the plate's projection, one audio adapter."""
    d = AVATAR.hidden
    refiner = 2 * num_text * (AVATAR.text_width * d + AVATAR.refiner_blocks * 12 * d**2)
    return refiner + 2 * num_video * d * (d + 2 * AVATAR.adapter_width)


@torch.inference_mode()
def bench_forward(network: VideoTransformer) -> list[str]:
    """One forward of latent 9x24x40 with 256 text rows (200 valid) against a plain matmul, before and after."""
    case = load_detgen(GOLDEN).dit_case("M")
    conditions = conditions_of(case)
    num_tokens = 10 * 12 * 20 + 256
    before = matmul_rate(num_tokens)
    seconds = cpu_seconds(lambda: network(case["x"], case["t"], conditions, CHUNKED))
    plain = (before + matmul_rate(num_tokens)) / 2
    rate = block_flops(num_tokens) / seconds
    done = (block_flops(num_tokens - 56) + other_flops(num_tokens - 496, 256)) / seconds  # 56 padding rows are left out
    return [
        f"forward 9x24x40, 256 text rows, 2+2 blocks: {seconds:.1f} CPU-s "
        f"(released code, same kind of core: {RELEASED_CPU_SECONDS:.0f}), {rate / 1e9:.1f} GFLOP "
        f"per CPU-s, matmul {plain / 1e9:.1f}",
        f"share of a plain float32 matmul: {rate / plain:.3f} for the blocks' nominal "
        f"{block_flops(num_tokens) / 1e12:.2f} TFLOP (target 0.85), {done / plain:.3f} for all that is computed",
    ]


def small_case() -> tuple[Tensor, Tensor, list[Conditions]]:
    """Return a window of 4x16x24 latents whose mask covers an eighth of the picture."""
    detgen = load_detgen(GOLDEN)
    case = detgen.dit_case("A")
    draw = lambda name, *shape: detgen.uniform(f"bench.{name}", shape)  # noqa: E731
    mask = torch.zeros(1, 16, 24)
    mask[:, 2:10, 4:10] = 1
    item = conditions_of(case)[0]
    voice = dataclasses.replace(item.voices[0], audio=item.voices[0].audio[:13], mask=mask)
    item = dataclasses.replace(item, reference=draw("reference", 16, 1, 16, 24), voices=(voice,))
    return draw("x", 1, 16, 4, 16, 24), case["t"], [item]


@torch.inference_mode()
def bench_exact(network: VideoTransformer) -> list[str]:
    """Each exact saving on and off: CPU-seconds and the largest difference of outputs of standard deviation 1.3."""
    x, t, items = small_case()
    network(x, t, items)
    results: list[Tensor] = []
    plain = cpu_seconds(lambda: results.append(network(x, t, items)))

    def line(name: str, function: Callable[[], Tensor], off: float = plain, expected: Tensor = results[0]) -> str:
        on = cpu_seconds(lambda: results.append(function()))
        error = float((results[-1] - expected).abs().max())
        return f"{name}: {off:.2f} -> {on:.2f} CPU-s, x{off / on:.2f}, max difference {error:.1e}"

    grid = network.grid_of(x, items)
    prepared = network.prepare(t, items, grid)
    lines = [
        line("chunks of 256 tokens", lambda: network(x, t, items, Options(chunk_tokens=256))),
        line("adapters on masked tokens only", lambda: network(x, t, items, Options(masked_adapters=True))),
        line("tables (modulation, text, plate, voices)", lambda: run(network, x, prepared)),
    ]
    silent = [dataclasses.replace(items[0], voices=(silence(items[0]),))]
    other = network.prepare(t, silent, grid)
    other = dataclasses.replace(other, text=prepared.text, modulations=prepared.modulations)
    pair = [run(network, x, prepared), run(network, x, other)]
    both = cpu_seconds(lambda: [run(network, x, prepared), run(network, x, other)])
    shared = line("guidance pair, shared blocks", lambda: run_pair(network, x, prepared, other), both, torch.cat(pair))
    every = network.config.adapter_every
    return [*lines, f"{shared} (2 of 4 blocks of one branch here, {every} of 60 at full depth: 1.7 % of a pair)"]


def silence(item: Conditions) -> object:
    """Return the item's voice without sound."""
    return dataclasses.replace(item.voices[0], audio=torch.zeros_like(item.voices[0].audio))


def run(network: VideoTransformer, x: Tensor, prepared: Prepared, options: Options = PLAIN) -> Tensor:
    """Run the blocks on what is already prepared."""
    return network.head(network.features(network.embed(x, prepared), prepared, options), prepared, options)


def run_pair(network: VideoTransformer, x: Tensor, *pair: Prepared) -> Tensor:
    """Run two branches of one prompt, the blocks before the first voice once."""
    every = network.config.adapter_every
    mute = dataclasses.replace(pair[0], voices=())
    first = network.run_double(network.embed(x, mute), mute, range(every))
    outs = []
    for prepared in pair:
        stream = dataclasses.replace(first, image=network.speak(first.image, prepared, 0))
        stream = network.run_double(stream, prepared, range(every, len(network.double_blocks)))
        joined = torch.cat([stream.image, stream.text], dim=1)
        outs.append(network.head(network.run_single(joined, prepared), prepared))
    return torch.cat(outs)


@torch.inference_mode()
def bench_float8(network: VideoTransformer) -> list[str]:
    """8-bit weights on and off, against float32; turns the network's blocks to 8 bits for good."""
    x, t, items = small_case()
    plain = network(x, t, items)
    with torch.autocast("cpu", torch.bfloat16):
        half = network(x, t, items)
        seconds = cpu_seconds(lambda: network(x, t, items))
        for blocks in (network.double_blocks, network.single_blocks):
            to_float8_(blocks)
        eight = network(x, t, items)
        seconds8 = cpu_seconds(lambda: network(x, t, items))
    return [
        f"bfloat16 autocast: {seconds:.2f} CPU-s; against float32 {difference(half, plain)}",
        f"8-bit block weights: {seconds8:.2f} CPU-s, half the bytes; against float32 {difference(eight, plain)}",
    ]


def difference(ours: Tensor, expected: Tensor) -> str:
    """Say how far two outputs are apart."""
    ours, expected = ours.float(), expected.float()
    cosine = F.cosine_similarity(ours.flatten(), expected.flatten(), dim=0)
    apart = (ours - expected).abs()
    return f"mean {float(apart.mean()):.4f}, max {float(apart.max()):.3f}, cosine {float(cosine):.5f}"


def no_attention(q: Tensor, k: Tensor, v: Tensor, layout: Layout) -> Tensor:
    """Stand in for a fused kernel when memory is counted: it holds its output and nothing else."""
    return torch.empty_like(q, memory_format=torch.contiguous_format)


def block_peaks(grid: tuple[int, int, int], num_text: int, chunk: int | None, device: str) -> tuple[int, int]:
    """Return the peak bytes of a double and a single block of full width in bfloat16, input not counted."""
    with torch.device(device), torch.inference_mode():
        rope = rope_table(*grid, AVATAR, device).with_text(num_text)
        num_image = len(rope.cos) - num_text
        layout = joint_layout(num_image, (num_text,), device)
        options = Options(attention=no_attention, chunk_tokens=chunk)
        hidden = AVATAR.hidden
        parts = [torch.zeros(1, factor * hidden, dtype=torch.bfloat16) for factor in (6, 6, 3)]
        tokens = [torch.zeros(1, n, hidden, dtype=torch.bfloat16) for n in (num_image, num_text)]
        double = DoubleBlock(AVATAR).to(torch.bfloat16)
        first = peak_bytes(lambda: double(tokens[0], tokens[1], (parts[0], parts[1]), rope, layout, options))
        del double
        single, joined = SingleBlock(AVATAR).to(torch.bfloat16), torch.cat(tokens, dim=1)
        return first, peak_bytes(lambda: single(joined, parts[2], rope, layout, options))


def bench_memory() -> list[str]:
    """Peak memory of a full-width block: counted at 704x1216, computed at a size that fits, and on paper."""
    full, fits = (33, 44, 76), (3, 8, 16)
    lines = []
    for name, chunk in (("plain", None), ("chunks of 8192", 8192)):
        double, single = (peak / 1e9 for peak in block_peaks(full, 831, chunk, "meta"))
        lines.append(
            f"704x1216, 114 527 tokens, bf16, {name}: double block {double:.1f} GB, single block {single:.1f} GB"
        )
    unit = 114527 * AVATAR.hidden * 2 / 1e9
    lines.append(f"on paper: double (q, k, v of the streams and joined) 6 x {unit:.2f} = {6 * unit:.1f} GB, single ")
    lines[-1] += f"(q, k, v, attended) 4 x {unit:.2f} = {4 * unit:.1f} GB, one chunk more each"
    for name, chunk in (("plain", None), ("chunks of 64", 64)):
        cpu, meta = (block_peaks(fits, 64, chunk, device) for device in ("cpu", "meta"))
        agree = "as counted" if cpu == meta else f"counted {meta}"
        lines.append(
            f"3 latents of 8x16 tokens run on the CPU, {name}: {cpu[0] / 1e6:.1f}, {cpu[1] / 1e6:.1f} MB, {agree}"
        )
    return lines


def main(sections: Sequence[str] = ("memory", "forward", "exact", "float8")) -> None:
    """Print every figure."""
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread(s), float32 unless said")
    if "memory" in sections:
        print("\n".join(bench_memory()))
    if {"forward", "exact", "float8"} & set(sections):
        network = golden_network()
        for name, bench in (("forward", bench_forward), ("exact", bench_exact), ("float8", bench_float8)):
            if name in sections:
                print("\n".join(bench(network)), flush=True)


if __name__ == "__main__":
    import sys

    main(sys.argv[1:] or ("memory", "forward", "exact", "float8"))
