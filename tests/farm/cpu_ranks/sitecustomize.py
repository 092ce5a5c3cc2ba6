"""On the PYTHONPATH of a test: rank processes, and no others, get xfuser as it runs on CPUs, before anything else."""

import sys

if sys.orig_argv[-2:-1] == ["tasks.ranks"]:
    import xfuser_on_cpu

    xfuser_on_cpu.load()
