"""`python -m tasks.farm_setup`: what `farm setup` does, for scripts that set PREFECT_API_URL themselves."""

import argparse
import asyncio
import sys

from tasks.farm_setup.apply import Wanted, set_up


def main(arguments: list[str]) -> int:
    """Set a Prefect server up and say what changed."""
    parser = argparse.ArgumentParser(prog="python -m tasks.farm_setup", description=__doc__)
    parser.add_argument("--pool", choices=("process", "kubernetes"), default="process")
    parser.add_argument("--gpu-slots", type=int, default=0, help="segments at the same time; 0: no limit")
    parser.add_argument("--cpu-slots", type=int, default=0, help="episodes at the same time; 0: no limit")
    parser.add_argument("--run-command", help="what a process worker starts for a run; '': what Prefect does by itself")
    given = parser.parse_args(arguments)
    slots = {"farm-gpu": given.gpu_slots, "farm-cpu": given.cpu_slots}
    for name, state in asyncio.run(set_up(Wanted(given.pool, slots, run_command=given.run_command))).items():
        print(f"{name}: {state}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
