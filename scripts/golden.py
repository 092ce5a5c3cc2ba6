"""Compare the network with recorded numbers: every case of a folder laid out like tests/golden, as a table.

    python scripts/golden.py [DIR]

Kinds: dit_*_in/out, rope_*, scheduler*, toy_L*, vae_small*, audio*, facemask_* (.npz). Exit code 1 when a case fails, 2
when there is nothing to compare.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

from golden_result import Result

Compare = Callable[[Path], list[Result]]


def comparers() -> dict[str, Compare]:
    """Return the comparison of each kind of file, by file pattern; the slow one last."""
    from golden_inputs import compare_audio, compare_facemask, compare_vae
    from golden_network import compare_dit, compare_rope
    from golden_sampler import compare_scheduler, compare_toy

    return {
        "facemask_*.npz": compare_facemask,
        "rope_*.npz": compare_rope,
        "scheduler*.npz": compare_scheduler,
        "audio*.npz": compare_audio,
        "vae_small*.npz": compare_vae,
        "toy_L*.npz": compare_toy,
        "dit_*_in.npz": compare_dit,
    }


def main(arguments: list[str]) -> int:
    """Print the table of one folder and return the exit code."""
    folder = Path(arguments[0]) if arguments else Path(__file__).resolve().parent.parent / "tests" / "golden"
    if not folder.is_dir():
        print(f"{folder}: no such folder", file=sys.stderr)
        return 2
    started, results = time.monotonic(), []
    print(f"{'case':44} {'max abs error':>14} {'limit':>9}")
    for pattern, compare in comparers().items():
        if any(folder.glob(pattern)):
            for result in compare(folder):
                print(row(result), flush=True)
                results.append(result)
    failed = sum(not result.passed for result in results)
    print(f"{len(results)} cases, {failed} failed, {time.monotonic() - started:.0f} s")
    return 1 if failed else 0 if results else 2


def row(result: Result) -> str:
    """Return one line of the table."""
    verdict = "pass" if result.passed else "FAIL"
    return f"{result.case:44} {result.error:14.3g} {result.limit:9.3g}  {verdict}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
