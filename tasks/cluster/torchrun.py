"""Start one process a GPU inside a pod, and end them all together.

A segment on 2 to 8 GPUs is one pod: torchrun starts the ranks, they meet over loopback, and nobody outside the pod
can reach them. A lost rank ends all: the segment starts again at its last step.
"""

import signal
import subprocess
import sys
from collections.abc import Sequence
from types import FrameType

from tasks.errors import Preempted, TransientError


def torchrun_command(module: str, arguments: Sequence[str], num_gpus: int) -> list[str]:
    """Return the command that runs `python -m module` once on each GPU of this machine.

    Raises: ValueError for fewer than one GPU.
    """
    if num_gpus < 1:
        raise ValueError(f"{module}: {num_gpus} GPUs cannot hold a rank; ask for at least 1")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={num_gpus}"]
    return [*launcher, "--max-restarts=0", "--module", module, *arguments]


def run_on_gpus(module: str, arguments: Sequence[str], num_gpus: int) -> None:
    """Run a module on every GPU until all ranks have ended; pass SIGTERM on, so that they save their step.

    Call it from the main thread: only there can a signal be passed on.

    Raises: Preempted when SIGTERM ended the ranks, TransientError when one of them failed.
    """
    asked_to_stop = False
    started: list[subprocess.Popen[bytes]] = []

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal asked_to_stop
        asked_to_stop = True
        for process in started:
            process.send_signal(signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        started.append(subprocess.Popen(torchrun_command(module, arguments, num_gpus)))
        if asked_to_stop:  # between the two lines above
            started[0].send_signal(signal.SIGTERM)
        code = started[0].wait()
    finally:
        signal.signal(signal.SIGTERM, before)
    if asked_to_stop:
        raise Preempted(f"{module}: asked to stop; the ranks ended with {code}")
    if code:
        raise TransientError(f"{module}: one of {num_gpus} ranks ended with {code}; its message is in the pod's log")
