"""Table 3 measured: how the character's picture enters the network. Small networks, trained alike from nothing.

b items, c channels, t latents, h w cells. At noise level 1 a network knows the picture by its reference alone, so what
it then says of the clean latents is what it has learnt to take from it.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from model.config import PUPPET, Injection, NetworkConfig
from model.initialise import initialise_
from model.transformer import VideoTransformer
from tasks.puppet.dataset import draw_example, draw_session, draw_silence, encode_example, scaled
from tasks.puppet.train_network import TRAINING, Examples, Item, Recipe, Stage, batches, descend, rate_at
from tasks.puppet.trial import HELD_OUT, Row
from tasks.puppet.trial import Stage as Trial

MODES: tuple[Injection, ...] = ("token", "token_channel", "token_add")
COUNTED = (50, 100, 200)  # steps after which the error is taken


def learn(config: NetworkConfig, pool: Examples, held: list[Item], steps: tuple[int, ...]) -> dict[str, float]:
    """Train a network from nothing; return the reference error on held-out windows after each of `steps`."""
    recipe = Recipe(stages=(Stage(steps[-1], 6, 10, (3,)),), warmup=20, rate=1.5e-3, tail=0.9)
    network = initialise_(VideoTransformer(config), torch.Generator().manual_seed(0))
    optimiser = torch.optim.AdamW(network.parameters(), lr=recipe.rate, betas=(0.9, 0.98), weight_decay=0.01)
    found = {}
    for step, items, rng in batches(pool, recipe, 0):
        descend(network, optimiser, items, rng, rate_at(step, recipe))
        if step + 1 in steps:
            found[f"error at {step + 1}"] = reference_error(network, held)
    return found


@torch.no_grad()
def reference_error(network: VideoTransformer, items: list[Item]) -> float:
    """Return the error of the latents that a network sees in pure noise, 1 being that of their mean."""
    clean = torch.stack([item.latents for item in items])
    noise: Tensor = torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        velocity = network(noise, torch.full((len(items),), 1000.0), [item.conditions for item in items], TRAINING)
    spread = (clean - clean.mean(dim=(0, 2, 3, 4), keepdim=True)).square().mean()
    return float((noise - velocity.float() - clean).square().mean() / spread)


def injection_modes(stage: Trial, steps: tuple[int, ...] = COUNTED, clips: int = 24) -> Iterator[Row]:
    """Token, token + channel, token + add: how soon each takes the identity from the reference."""
    vae, encoder = stage.parts.vae, stage.parts.encoder
    statistics = torch.zeros_like(vae.latent_mean), torch.ones_like(vae.latent_std)  # the shipped weights normalise
    silences = [draw_silence(0)]
    sessions = [draw_session(HELD_OUT)]
    drawn = [draw_example(HELD_OUT + 300 + i, sessions, silences, encoder) for i in range(clips + 6)]
    encoded = [encode_example(example, vae) for example in drawn]
    with tempfile.TemporaryDirectory() as folder:
        torch.save(encoded[:clips], Path(folder) / "latents-0000.pt")
        pool = Examples(Path(folder), *statistics)
        pool.refresh()
    unseen = Examples(Path("nowhere"), *statistics)
    unseen.items = [scaled(example, *statistics) for example in encoded[clips:]]
    recipe = Recipe(stages=(Stage(1, 12, 10, (3,)),), seed=1)
    held = next(iter(batches(unseen, recipe, 0)))[1]
    for mode in MODES:
        yield Row("injection", mode.replace("_", " + "), learn(replace(PUPPET, injection=mode), pool, held, steps))
