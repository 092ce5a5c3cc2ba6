"""Run by test_compile.py in a process without shape checking: every block is one graph, equal to the plain block."""

import dataclasses
import sys

import torch
from tiny_network import GRID, TINY, draw, make_conditions, make_voice, random_network

from model.blocks import Options

CONFIG = dataclasses.replace(TINY, audio=dataclasses.replace(TINY.audio, extended=True))


def check(name: str, function, *arguments) -> None:
    compiled = torch.compile(function, fullgraph=True, backend=sys.argv[1])
    ours, expected = compiled(*arguments), function(*arguments)
    pairs = zip(ours, expected, strict=True) if isinstance(ours, tuple) else [(ours, expected)]
    error = max(float((a - b).abs().max()) for a, b in pairs)
    if error > 1e-5:
        raise SystemExit(f"{name}: compiled differs by {error}")
    print(name, error)


@torch.inference_mode()
def main() -> None:
    network = random_network(CONFIG)
    item = make_conditions(make_voice(1, emotion=True), make_voice(2))
    for options in (Options(), Options(chunk_tokens=40, masked_adapters=True)):
        prepared = network.prepare(torch.tensor([400.0]), [item], (GRID[0], GRID[1] // 2, GRID[2] // 2), options)
        stream = network.embed(draw(1, 16, *GRID), prepared)
        rest = (prepared.rope, prepared.layout, options)
        check("double", network.double_blocks[0], stream.image, stream.text, prepared.modulations.double[0], *rest)
        joined = torch.cat([stream.image, stream.text], dim=1)
        check("single", network.single_blocks[0], joined, prepared.modulations.single[0], *rest)
        check("voices", lambda image, p: network.speak(image, p, 0), stream.image, prepared)


main()
