"""Several processes make what one makes: xfuser's real code over gloo, in a program of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from model.parallel import Degrees, build_parallel_denoiser

HERE = Path(__file__).parent
DIVISIONS = ("2x1x1", "1x1x2", "2x2x1", "1x2x2")  # ulysses x ring x guidance
CASES = ("even", "odd", "masked", "ragged", "take", "cached take")


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> dict:
    path = os.pathsep.join(map(str, (HERE.parents[2], HERE, HERE.parent / "network")))
    log = tmp_path_factory.mktemp("parallel") / "log.txt"
    with log.open("w") as errors:
        done = subprocess.run(
            [sys.executable, HERE / "processes.py"],
            env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "JAXTYPING_DISABLE": "1"},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            check=False,
        )
    assert done.returncode == 0, log.read_text()[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("division", DIVISIONS)
def test_processes_together_make_what_one_makes(report, division):
    errors = report["errors"][division]
    assert set(errors) == set(CASES)
    assert max(errors.values()) <= 1e-5, errors
    assert min(report["largest"].values()) > 1


@pytest.mark.slow
def test_one_branch_a_process_is_exact(report):
    """Guidance parallelism changes no shape: whole windows and takes are equal to the bit."""
    assert max(report["errors"]["1x1x2"].values()) == 0
    assert report["moved"] > 1e-3  # the cached take is another take: its features were used


def test_what_cannot_be_shared_is_refused_before_anything_runs(tiny_parts):
    network, conditions = tiny_parts
    with pytest.raises(ValueError, match="residual"):
        build_parallel_denoiser(network, conditions, (), Degrees(2), cache="residual")
    with pytest.raises(ValueError, match="2 heads do not divide by ulysses 4"):
        build_parallel_denoiser(network, conditions, (), Degrees(4))


@pytest.fixture
def tiny_parts():
    """A network and a shot, small; refused before either is looked at."""
    import torch

    from model.config import PUPPET
    from model.shot import Prompt, ShotConditions
    from model.transformer import VideoTransformer
    from model.windows import FusionConfig, shot_latents

    with torch.device("meta"):
        network = VideoTransformer(PUPPET)
    network.config = PUPPET.__class__(**{**PUPPET.__dict__, "heads": 2})
    shot = shot_latents(5, FusionConfig("guarded"))
    prompt = Prompt(torch.zeros(1, 8), torch.ones(1).long(), torch.zeros(8))
    motion = torch.zeros(1, 4)
    return network, ShotConditions(shot, prompt, prompt, torch.zeros(16, 1, 2, 2), (), motion, motion)
