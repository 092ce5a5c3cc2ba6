"""The figures of this repository: `make bench`, or some of them, `make bench ONLY="plan turns"`."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SUITES = {
    "network": ["bench_network.py"],
    "caches": ["bench_caches.py"],
    "fusion": ["bench_fusion.py"],
    "plan": ["bench_plan.py"],
    "turns": ["bench_turns.py"],
    "stream": ["bench_stream.py"],
    "pods": ["bench_pods.py"],
    "scaling": ["bench_scaling.py"],
    "farm": ["bench_farm.py", "bench_farm.py --halo"],
    "ledger": ["bench_ledger.py"],
    "dispatch": ["bench_dispatch.py"],
    "start": ["bench_start.py"],
    "reruns": ["rerun_stories.py"],
}
USUAL = ("network", "fusion")  # what `make bench` runs; the others take minutes and are asked for by name


def main(names: list[str]) -> int:
    """Run the named benchmarks and return the last failure's code."""
    unknown = sorted(set(names) - set(SUITES))
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are {', '.join(SUITES)}", file=sys.stderr)
        return 2
    code = 0
    for name in names or USUAL:
        for script in SUITES[name]:
            print(f"== {name}: python scripts/{script}", flush=True)
            file, *options = script.split()
            code = subprocess.run([sys.executable, str(HERE / file), *options], cwd=HERE.parent).returncode or code
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
