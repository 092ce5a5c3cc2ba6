"""torchrun inside a pod: one process a GPU, one word to stop for all of them, one failure for all of them."""

import os
from pathlib import Path

import pytest

from tasks.cluster.torchrun import run_on_gpus, torchrun_command
from tasks.errors import TransientError

RANK = """
import os, pathlib, sys, threading
folder = pathlib.Path(sys.argv[1])
rank = os.environ["RANK"]
(folder / f"rank-{rank}-of-{os.environ['WORLD_SIZE']}").touch()
if sys.argv[2] == "wait":
    while not (folder / "stop").exists():
        threading.Event().wait(0.02)
    (folder / f"saved-{rank}").touch()
if sys.argv[2] == "die":
    if rank == "1":
        sys.exit(3)
    threading.Event().wait(120)
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "rank_of_a_test.py").write_text(RANK)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{Path(__file__).parents[2]}")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path


def test_every_gpu_gets_its_rank(module):
    run_on_gpus("rank_of_a_test", [str(module), "go"], 2, lambda: None)
    assert sorted(path.name for path in module.glob("rank-*")) == ["rank-0-of-2", "rank-1-of-2"]


def test_ranks_that_are_left_word_end_by_themselves(module):
    def look():
        if len(list(module.glob("rank-*-of-2"))) == 2:
            (module / "stop").touch()

    run_on_gpus("rank_of_a_test", [str(module), "wait"], 2, look)
    assert sorted(path.name for path in module.glob("saved-*")) == ["saved-0", "saved-1"]


def test_one_failed_rank_ends_all(module):
    with pytest.raises(TransientError, match="one of 2 ranks ended with 1"):
        run_on_gpus("rank_of_a_test", [str(module), "die"], 2, lambda: None)


def test_no_gpu_is_no_rank():
    with pytest.raises(ValueError, match="0 GPUs cannot hold a rank"):
        torchrun_command("m", [], 0)
