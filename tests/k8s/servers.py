"""Real Prefect processes for tests: a server on a free port, a worker."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

QUIET = {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_LOGGING_LEVEL": "WARNING"}
START_SECONDS = 600  # a machine that is busy with twenty other things


@contextlib.contextmanager
def prefect_server(home):
    """Run a server on 127.0.0.1 with SQLite in `home`; yield the address of its API."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["prefect", "server", "start", "--no-services", "--no-ui", "--host", "127.0.0.1", "--port", str(port)]
    url = f"http://127.0.0.1:{port}/api"
    with process(command, home, {}) as running:
        _wait(f"{url}/health", running)
        yield url


@contextlib.contextmanager
def process(command, home, environment):
    """Run a Python module until the block ends; its output is in `home/log`."""
    variables = os.environ | QUIET | {"PREFECT_HOME": str(home)} | environment
    with (home / "log").open("wb") as log:
        running = subprocess.Popen([sys.executable, "-m", *command], stdout=log, stderr=log, env=variables)
        try:
            yield running
        finally:
            running.terminate()
            running.wait()


def _wait(url, running):
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if running.poll() is not None:
            raise RuntimeError(f"the Prefect server ended with {running.returncode}")
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.wait(0.1)
    raise RuntimeError(f"the Prefect server did not answer in {START_SECONDS} s")
