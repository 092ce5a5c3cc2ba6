"""A block of the full config's class compiles without a graph break."""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def test_every_block_is_one_graph():
    root = HERE.parents[2]
    paths = os.pathsep.join(str(path) for path in (root, root / "scripts", HERE))
    env = os.environ | {"JAXTYPING_DISABLE": "1", "PYTHONPATH": paths, "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, str(HERE / "compile_blocks.py"), "aot_eager"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["double", "single", "voices"] * 2
