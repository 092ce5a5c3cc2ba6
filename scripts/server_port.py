"""The port of a Prefect server to be, settled before anything imports Prefect."""

import os
import sys

from tasks.chaos.postgres import free_port


def server_port() -> int:
    """Return the port of the Prefect server to be; the script starts over once, with its address in the environment.

    Prefect reads the address when it is imported, and a thread of its own reads nothing else.
    """
    if "PREFECT_API_URL" not in os.environ:
        os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{free_port()}/api"
        os.execv(sys.executable, [sys.executable, *sys.argv])
    return int(os.environ["PREFECT_API_URL"].removesuffix("/api").rpartition(":")[2])
