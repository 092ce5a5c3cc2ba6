"""Start one process a GPU inside a pod, and end them all together.

A segment on 2 to 8 GPUs is one pod: torchrun starts the ranks, they meet over loopback, and nobody outside the pod
can reach them. A lost rank ends all: the segment starts again at its last step.
"""

import subprocess
import sys
from collections.abc import Callable, Sequence

from tasks.errors import TransientError

LOOK_SECONDS = 0.25


def torchrun_command(module: str, arguments: Sequence[str], num_gpus: int) -> list[str]:
    """Return the command that runs `python -m module` once on each GPU of this machine.

    Raises: ValueError for fewer than one GPU.
    """
    if num_gpus < 1:
        raise ValueError(f"{module}: {num_gpus} GPUs cannot hold a rank; ask for at least 1")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={num_gpus}"]
    # by address: a pod's own name may have no entry where its network is closed
    return [*launcher, "--local-addr=127.0.0.1", "--max-restarts=0", "--module", module, *arguments]


def run_on_gpus(module: str, arguments: Sequence[str], num_gpus: int, look: Callable[[], None]) -> None:
    """Run a module on every GPU until all ranks have ended; `look` is called several times a second meanwhile.

    The ranks are a session of their own, so a signal to this process's group is not one to them: torchrun would kill
    them 30 s after it, in the middle of a step or not. Who asks them to stop leaves them word (`tasks.rank_notes`).
    Whatever ends the wait ends the ranks.
    Raises: TransientError when one of them failed.
    """
    launcher = subprocess.Popen(torchrun_command(module, arguments, num_gpus), start_new_session=True)
    try:
        while launcher.poll() is None:
            look()
            try:
                launcher.wait(LOOK_SECONDS)
            except subprocess.TimeoutExpired:
                continue
        look()
    finally:
        if launcher.poll() is None:
            launcher.terminate()
            launcher.wait()
    if launcher.returncode:
        raise TransientError(
            f"{module}: one of {num_gpus} ranks ended with {launcher.returncode}; its message is in the pod's log"
        )
