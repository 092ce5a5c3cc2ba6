"""torchrun inside a pod: one process a GPU, SIGTERM for all of them, one failure for all of them."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.cluster.torchrun import run_on_gpus, torchrun_command

RANK = """
import os, pathlib, signal, sys, threading
folder = pathlib.Path(sys.argv[1])
rank = os.environ["RANK"]
def save(*_):
    (folder / f"saved-{rank}").touch()
    stopped.set()
stopped = threading.Event()
signal.signal(signal.SIGTERM, save)
(folder / f"rank-{rank}-of-{os.environ['WORLD_SIZE']}").touch()
if sys.argv[2] == "wait":
    stopped.wait(120)
"""
PARENT = """
import sys
from tasks.cluster.torchrun import run_on_gpus
from tasks.errors import Preempted
try:
    run_on_gpus("rank_of_a_test", [sys.argv[1], "wait"], 2)
except Preempted as exc:
    print(f"preempted: {exc}")
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "rank_of_a_test.py").write_text(RANK)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{Path(__file__).parents[2]}")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path


def test_every_gpu_gets_its_rank(module):
    run_on_gpus("rank_of_a_test", [str(module), "go"], 2)
    assert sorted(path.name for path in module.glob("rank-*")) == ["rank-0-of-2", "rank-1-of-2"]


def test_sigterm_reaches_every_rank_and_counts_as_preempted(module):
    command = [sys.executable, "-c", PARENT, str(module)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as parent:
        while len(list(module.glob("rank-*-of-2"))) < 2:
            with pytest.raises(subprocess.TimeoutExpired):  # it has not ended
                parent.wait(0.05)
        parent.send_signal(signal.SIGTERM)
        out, _ = parent.communicate(timeout=120)
    assert out.startswith("preempted: rank_of_a_test: asked to stop")
    assert sorted(path.name for path in module.glob("saved-*")) == ["saved-0", "saved-1"]


def test_no_gpu_is_no_rank():
    with pytest.raises(ValueError, match="0 GPUs cannot hold a rank"):
        torchrun_command("m", [], 0)
