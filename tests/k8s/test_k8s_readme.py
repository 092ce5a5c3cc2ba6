"""k8s/README.md: its commands exist, its files exist, its words are the code's."""

import re
import shlex
from pathlib import Path

import pytest

from tasks.cluster.__main__ import parser
from tasks.cluster.pool_shape import GPU_POOL
from tasks.cluster.preflight import OLDEST_MINOR
from tasks.cluster.sweep import PATIENCE
from tasks.cluster.sweep_round import LOOK_AGAIN_SECONDS

K8S = Path(__file__).parents[2] / "k8s"
TEXT = (K8S / "README.md").read_text()
COMMANDS = re.findall(r"^ +python -m tasks\.cluster ([^|\n#]+)", TEXT, re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_is_understood(command):
    words = shlex.split(command)
    given = parser().parse_args(words)
    assert callable(given.run)


def test_there_are_commands_and_the_files_are_there():
    assert len(COMMANDS) >= 8
    for path in (
        "base/job-templates",
        "overlays/local",
        "overlays/cloud",
        "overlays/kueue",
        "components/kueue",
        "images",
    ):
        assert path in TEXT
        assert (K8S / path).is_dir()
    assert (K8S / "make-secrets.sh").stat().st_mode & 0o100


def test_the_numbers_are_the_codes():
    assert f"Kubernetes 1.{OLDEST_MINOR} or newer" in TEXT
    assert f"Grace is {GPU_POOL.grace_seconds} s" in TEXT
    assert f"after {PATIENCE.hopeless / 60:.0f} minutes the run is Failed" in TEXT
    assert f"Failed after {PATIENCE.pending / 60:.0f} minutes" in TEXT
    assert f"after {PATIENCE.lost / 60:.0f} minutes the run is Crashed" in TEXT
    assert f"two looks, {LOOK_AGAIN_SECONDS:.0f} s apart" in TEXT


def test_every_dump_that_is_restored_is_made_by_a_command_of_the_page():
    restored = re.findall(r"pg_restore .* -d (\w+) < (\S+)", TEXT)
    assert len(restored) == 2
    assert {(name, file) for name, file in restored} == set(re.findall(r"pg_dump .* (\w+) > (\S+)", TEXT))
