"""What every test shares: quiet, offline, one thread."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("PREFECT_LOGGING_TO_API_ENABLED", "false")

from hypothesis import settings

# No deadline: a busy machine is no failure. The same examples in every run: a red test is a change, never bad luck.
settings.register_profile("farm", deadline=None, derandomize=True, database=None)
settings.load_profile("farm")
