"""What every test shares: quiet, offline, one thread."""

import os
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("FARM_THREADS", "1")  # here and in the processes that are compared with it: more sum otherwise
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("PREFECT_LOGGING_TO_API_ENABLED", "false")

import pytest
from hypothesis import settings

# No deadline: a busy machine is no failure. The same examples in every run: a red test is a change, never bad luck.
settings.register_profile("farm", deadline=None, derandomize=True, database=None)
settings.load_profile("farm")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish() -> None:
    """Stop every server that this test process has started, the one that Prefect starts for flows without one too.

    Not at the process's exit: pytest-xdist kills a worker that takes more than 10 s to go, and its servers would stay.
    """
    if "real_servers" in sys.modules:
        sys.modules["real_servers"].stop_servers()
    if "prefect.server.api.server" in sys.modules:
        for server in list(sys.modules["prefect.server.api.server"].SubprocessASGIServer._instances.values()):
            server.stop()
