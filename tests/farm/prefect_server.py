"""A real Prefect server for tests, started once per test process on demand, ended with its tests."""

import tempfile
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path

import prefect_process
from real_servers import RUNNING


@lru_cache
def prefect_api(name: str = "") -> str:
    """Start a server and return its API's address; another name is another server."""
    stack = ExitStack()
    home = stack.enter_context(tempfile.TemporaryDirectory(prefix="farm-prefect-", ignore_cleanup_errors=True))
    address = stack.enter_context(prefect_process.prefect_server(Path(home)))
    RUNNING.append(stack.close)
    return address
