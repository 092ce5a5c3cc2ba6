"""A real Prefect server for tests, started once per test process on demand, ended with it."""

import atexit
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from functools import lru_cache
from pathlib import Path
from socket import socket


@lru_cache
def prefect_api(name: str = "") -> str:
    """Start a server on a free port of 127.0.0.1 and return its API's address; another name is another server."""
    with socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    home = tempfile.TemporaryDirectory(prefix="farm-prefect-", ignore_cleanup_errors=True)
    env = {**os.environ, "PREFECT_HOME": home.name, "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (Path(home.name) / "log").open("ab") as log:
        server = subprocess.Popen(command, env=env, stdout=log, stderr=log)

    def end() -> None:
        server.terminate()
        server.wait()
        home.cleanup()

    atexit.register(end)
    address = f"http://127.0.0.1:{port}/api"
    deadline = time.monotonic() + 240
    while True:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=2):
                return address
        except OSError:
            if time.monotonic() > deadline or server.poll() is not None:
                raise
            time.sleep(0.1)
