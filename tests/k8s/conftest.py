"""Prefect keeps its files out of the home folder, and one real Prefect server and one small API server are on HTTP."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the helpers beside these tests

from apiserver import ApiServer

from tasks.cluster.api import KubeApi

QUIET = {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_LOGGING_LEVEL": "ERROR"}
START_SECONDS = 120


@pytest.fixture(autouse=True, scope="session")
def _prefect_home(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(tmp_path_factory.mktemp("prefect")))
        patch.setenv("DO_NOT_TRACK", "1")
        yield


@pytest.fixture
def apiserver():
    server = ApiServer()
    yield server
    server.close()


@pytest.fixture
def api(apiserver):
    from kubernetes import client

    with client.ApiClient(client.Configuration(host=apiserver.url)) as transport:
        yield KubeApi(transport)


@pytest.fixture(scope="session")
def prefect_url(tmp_path_factory):
    """Address of the API of a real Prefect server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = tmp_path_factory.mktemp("prefect-server")
    command = [sys.executable, "-m", "prefect", "server", "start", "--no-services", "--no-ui"]
    log = (home / "log").open("wb")
    environment = os.environ | QUIET | {"PREFECT_HOME": str(home)}
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)], stdout=log, stderr=log, env=environment
    )
    url = f"http://127.0.0.1:{port}/api"
    try:
        _wait(f"{url}/health", process)
        yield url
    finally:
        process.terminate()
        process.wait()
        log.close()


def _wait(url, process):
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"the Prefect server ended with {process.returncode}")
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise RuntimeError(f"the Prefect server did not answer in {START_SECONDS} s")
