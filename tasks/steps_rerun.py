"""What the resume and the reconcile flow call."""

import logging
from uuid import UUID

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.rerun import look_after
from tasks.rounds import reconcile_runs, reconcile_stored

log = logging.getLogger(__name__)


@task(name="look after", cache_policy=NO_CACHE, retries=3, retry_delay_seconds=5)
def look_after_run(run: str) -> str:
    """Put a run, or the episode that waits for it, back in the queue; return what was done."""
    said = look_after(UUID(run))
    log.info("run looked after", extra={"run": run, "done": said})
    return said


@task(name="reconcile ledger", cache_policy=NO_CACHE, retries=3, retry_delay_seconds=5)
def reconcile_ledger(store: str, database: str) -> list[str]:
    """Bring the ledger up to what the store says; return what was done."""
    return reconcile_stored(store, database)


@task(name="reconcile runs", cache_policy=NO_CACHE, retries=3, retry_delay_seconds=5)
def reconcile_states() -> list[str]:
    """Put back in the queue what stopped without anybody's fault; return what was done."""
    return reconcile_runs()
