"""Words from a recogniser's checkpoint: a tiny random one says nonsense, but in the right turns."""

import dataclasses

import numpy as np
import pytest
import torch

from tasks.errors import ConfigError
from tasks.plan.types import Turn
from tasks.script.words import load_recogniser, words_of_turns


@pytest.fixture
def checkpoint(tmp_path):
    from whisper.model import ModelDimensions, Whisper

    dims = ModelDimensions(80, 1500, 8, 1, 1, 51_865, 448, 8, 1, 1)
    torch.manual_seed(0)
    network = Whisper(dims)
    path = tmp_path / "tiny.pt"
    torch.save({"dims": dataclasses.asdict(dims), "model_state_dict": network.half().state_dict()}, path)
    return path


# whisper leaves its vocabulary file open
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_words_are_looked_for_in_each_speakers_own_turns(checkpoint):
    noise = np.random.default_rng(0).normal(0, 0.1, 32_000).astype(np.float32)
    turns = (Turn(0.0, 0.5, "ana"), Turn(0.5, 1.5, "ben"))
    script = words_of_turns({"ben": noise, "ana": noise}, turns, load_recogniser(checkpoint))
    spans = {(turn.character, turn.start_seconds, turn.end_seconds) for turn in turns}
    assert all((line.character, line.start_seconds, line.end_seconds) in spans for line in script.lines)
    assert len(script.lines) <= 2 and all(line.text for line in script.lines)


def test_a_missing_or_wrong_checkpoint_says_what_to_set(tmp_path):
    with pytest.raises(ConfigError, match="set FARM_WHISPER"):
        load_recogniser(None)
    torch.save({"weights": 1}, tmp_path / "other.pt")
    with pytest.raises(ConfigError, match="is not a whisper checkpoint"):
        load_recogniser(tmp_path / "other.pt")
