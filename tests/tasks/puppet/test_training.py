"""Training at tiny size: it runs, resumes, and learns something."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model.adapter import AudioProjection
from model.audio import build_encoder
from model.config import PUPPET
from model.transformer import VideoTransformer
from model.vae import build_vae
from tasks.puppet.dataset import AUDIO_SEED, draw_example, draw_session, draw_silence, encode_example, latent_statistics
from tasks.puppet.train import Schedule, train
from tasks.puppet.train_decoder import DecoderRecipe, make_pairs, train_decoder
from tasks.puppet.train_ear import hear, train_ear
from tasks.puppet.train_network import Examples, Recipe, Stage, cut_item, mood_tracks, rate_at, train_network
from tasks.puppet.train_vae import VaeRecipe, train_vae
from tasks.puppet.weights import load_parts

TINY = Recipe(stages=(Stage(3, 2, 10, (3,)), Stage(4, 1, 0, (3,))), warmup=2, ear_sessions=1, ear_steps=5)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Examples:
    folder = tmp_path_factory.mktemp("data")
    torch.manual_seed(0)
    vae = build_vae(PUPPET.vae)
    encoder = build_encoder(PUPPET.audio, AUDIO_SEED)
    drawn = [draw_example(seed, [draw_session(1)], [draw_silence(1)], encoder) for seed in (1, 2)]
    encoded = [encode_example(example, vae) for example in drawn]
    torch.save(encoded, folder / "latents-0000.pt")
    return Examples(folder, *latent_statistics(encoded, vae))


def test_training_stops_and_goes_on_where_it_stopped(pool: Examples, tmp_path: Path) -> None:
    short = replace(TINY, stages=(replace(TINY.stages[0], until_step=2),))
    train_network(tmp_path, pool, short)
    assert torch.load(tmp_path / "network.pt", weights_only=True)["step"] == 2
    train_network(tmp_path, pool, TINY)
    state = torch.load(tmp_path / "network.pt", weights_only=True)
    assert state["step"] == 4 and all(t.isfinite().all() for t in state["average"].values())


def test_a_window_cut_later_hears_its_own_frames(pool: Examples) -> None:
    example = pool.refresh()[0]
    rng = np.random.default_rng(0)
    item = cut_item(example, rng, TINY.stages[1], 3, TINY)
    voice, windows = item.conditions.voices[0], example["voices"][0]["windows"].float()
    first = next(i for i in range(8) if torch.equal(example["clip"][:, i : i + 3].float(), item.latents))
    assert len(voice.audio) == 9
    assert torch.equal(voice.audio, windows[4 * first : 4 * first + 9]) or not voice.audio.any()


def test_moods_follow_their_frames() -> None:
    index, strength = mood_tracks({"moods": [(0, 1.0), (10, 0.5)]}, first=0, count=6)
    assert index.tolist() == [0, 0, 0, 1, 1, 1]
    assert strength.tolist() == [1.0, 1.0, 1.0, 0.5, 0.5, 0.5]


def test_the_rate_rises_and_falls() -> None:
    recipe = Recipe()
    last = recipe.stages[-1].until_step
    assert rate_at(0, recipe) < rate_at(recipe.warmup, recipe) == recipe.rate
    assert rate_at(last - 1, recipe) < 0.05 * recipe.rate


def test_the_ear_learns_to_tell_the_mouth() -> None:
    heard = hear(9_000, 2)
    torch.manual_seed(0)
    projection = AudioProjection(PUPPET)
    assert train_ear(projection, heard, 400) < 0.7 * float(heard[1].var(0).mean())


def test_the_autoencoder_learns_and_resumes(tmp_path: Path) -> None:
    recipe = VaeRecipe(steps=50, clips=4, crops=1, frames=5, side=32)
    train_vae(tmp_path, recipe)
    lines = [json.loads(line) for line in (tmp_path / "vae.jsonl").read_text().splitlines()]
    assert lines[0]["psnr"] > 12  # a linear start, not noise
    train_vae(tmp_path, replace(recipe, steps=52, decoder_only=True))
    assert torch.load(tmp_path / "vae.pt", weights_only=True)["step"] == 52


def test_the_decoder_is_taught_on_what_the_network_makes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    vae, network = build_vae(PUPPET.vae), VideoTransformer(PUPPET)
    recipe = DecoderRecipe(steps=2, clips=1, cuts=2, batch=2, num_steps=2, levels=(1,))
    pairs = make_pairs(network, vae, (torch.zeros(16), torch.ones(16)), recipe)
    made, true, pixels = pairs[0]
    assert made.shape == true.shape == (16, 9, 10, 10) and pixels.shape == (33, 80, 80, 3)
    assert not torch.equal(made, true)
    start = {"average": {name: value.clone() for name, value in vae.state_dict().items()}}
    train_decoder(tmp_path / "vae.pt", start, pairs, replace(recipe, steps=1))
    train_decoder(tmp_path / "vae.pt", start, pairs, recipe)
    state = torch.load(tmp_path / "vae.pt", weights_only=True)
    assert state["step"] == 2
    changed = {
        name.split(".")[0] for name, value in state["vae"].items() if not torch.equal(value, start["average"][name])
    }
    assert changed == {"decoder"}


def test_the_pixels_of_a_window_are_the_ones_its_latents_stand_for(pool: Examples) -> None:
    example = pool.refresh()[0]
    frames, height, width = (4 * example["clip"].shape[1] - 3, *(8 * side for side in example["clip"].shape[2:]))
    marks = torch.arange(frames)[:, None, None, None].expand(frames, height, width, 3).to(torch.uint8)
    item = cut_item({**example, "pixels": marks}, np.random.default_rng(3), TINY.stages[0], 3, TINY)
    assert item.pixels is not None and item.pixels.shape == (9, 80, 80, 3)
    first = int(item.pixels[0, 0, 0, 0]) // 4
    assert item.pixels[:, 0, 0, 0].tolist() == list(range(4 * first, 4 * first + 9))
    windows = example["clip"][:, first : first + 3].float().unfold(2, 10, 2).unfold(3, 10, 2)  # every crop on the grid
    assert (windows.permute(2, 3, 0, 1, 4, 5) == item.latents).all(dim=-1).all(-1).all(-1).all(-1).any()


def test_the_whole_training_ends_in_weights_that_load(tmp_path: Path) -> None:
    schedule = Schedule(
        vae=VaeRecipe(steps=2, clips=2, crops=1, frames=5, side=32),
        shards=1,
        network=replace(TINY, stages=(Stage(2, 2, 10, (3,)),)),
        decoder=DecoderRecipe(steps=2, clips=1, cuts=1, batch=1, num_steps=2, levels=(1,)),
        probe_clips=2,
    )
    said: list[str] = []
    card = train(tmp_path / "run", tmp_path / "out", schedule, said.append)
    assert said == ["autoencoder", "examples", "network", "decoder", "probe"]
    assert card["steps"] == {"network": 2, "vae": 2}
    parts = load_parts(tmp_path / "out", PUPPET, torch.device("cpu"))
    assert sum(p.numel() for p in parts[0].parameters()) == card["files"]["network.safetensors"]["values"]
    assert (tmp_path / "out" / "probe.npz").exists() and (tmp_path / "out" / "loss.png").exists()
