"""Real Prefect processes for tests: servers on free ports of 127.0.0.1, workers."""

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tasks.chaos.postgres import free_port

QUIET = {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_LOGGING_LEVEL": "WARNING"}
START_SECONDS = 600.0  # a machine that is busy with twenty other things
END_SECONDS = 30.0


@contextmanager
def prefect_server(home: Path, *options: str) -> Iterator[str]:
    """Yield the address of the API of a server with SQLite in `home`; `options` are those of `prefect server start`."""
    port = free_port()
    command = ["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port), *options]
    address = f"http://127.0.0.1:{port}/api"
    with process(command, home, {}) as running:
        _wait(f"{address}/health", running)
        yield address


@contextmanager
def process(command: Sequence[str], home: Path, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a Python module until the block ends; its output is in `home/log`."""
    variables = {**os.environ, **QUIET, "PREFECT_HOME": str(home), **environment}
    with (home / "log").open("wb") as log:
        running = subprocess.Popen([sys.executable, "-m", *command], stdout=log, stderr=log, env=variables)
    try:
        yield running
    finally:
        running.terminate()
        try:
            running.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def _wait(url: str, running: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if running.poll() is not None:
            raise RuntimeError(f"the Prefect server ended with {running.returncode}")
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            with suppress(subprocess.TimeoutExpired):
                running.wait(0.1)
    raise RuntimeError(f"the Prefect server did not answer in {START_SECONDS:.0f} s")
