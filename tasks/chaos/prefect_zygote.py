"""Prefect's server, started without its first four seconds: forked from a process that has it imported.

python -m tasks.chaos.prefect_zygote PORT: for each line on standard input it forks a server and prints its process id.
The server is the one that `prefect server start` runs, in a process of its own that dies by SIGKILL like any other.
"""

import os
import signal
import sys

import uvicorn
from prefect.server.api.server import create_app


def main(port: int) -> None:
    """Fork a server for each line, until the input ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how a killed server ended
    for _ in sys.stdin:
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            uvicorn.run(create_app(), host="127.0.0.1", port=port, log_level="warning")
            os._exit(0)
        print(pid, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
