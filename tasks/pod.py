"""One worker of the farm: its store, its ledger, its network, and its wish to stop."""

import logging
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from db.errors import LedgerAway
from db.ledger import Ledger, open_ledger
from tasks.errors import ConfigError
from tasks.give_way import StopNotice
from tasks.network import Bundle, limit_threads, load_bundle, pick_device
from tasks.publish import Publisher
from tasks.settings import settings
from tasks.store import Store, open_store

log = logging.getLogger(__name__)
PATIENCE_SECONDS = 60.0  # how long a run waits for a database that is being restarted
AGAIN_SECONDS = 1.0


@dataclass(frozen=True, eq=False)
class Pod:
    """Where a worker reads and publishes; `stop` asks everything in it to save its step and end."""

    store: Store
    ledger: Ledger
    publisher: Publisher
    stop: StopNotice = field(default_factory=StopNotice)

    def bundle(self, profile: str) -> Bundle:
        """Return a profile's network, loaded once per process. Raises: ConfigError, WeightsError."""
        return load_once(profile)


@lru_cache(maxsize=1)
def load_once(profile: str) -> Bundle:
    """Return a profile's network, loaded by the first call of this process. Raises: ConfigError, WeightsError."""
    limit_threads(settings().threads)
    return load_bundle(profile, settings())


@contextmanager
def open_pod(store: str = "", database: str = "", patience_seconds: float = 0.0) -> Iterator[Pod]:
    """Yield a worker on a store and a database; empty addresses mean this machine's settings.

    A person is told at once that the database does not answer; a run that nobody looks at waits for its restart.
    Raises: ConfigError, LedgerAway.
    """
    opened = open_store(store or settings().store_url, endpoint=settings().s3_endpoint)
    ledger = _open_patiently(database or settings().database_url, patience_seconds)
    release_the_dead(ledger)
    with tempfile.TemporaryDirectory(prefix="farm-", ignore_cleanup_errors=True) as scratch:
        publisher = Publisher(opened, ledger, worker_name(), Path(scratch), settings().lease_seconds, held_gpus())
        try:
            yield Pod(opened, ledger, publisher)
        finally:
            ledger.close()


def _open_patiently(url: str, patience_seconds: float) -> Ledger:
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            return open_ledger(url)
        except ValueError as exc:
            raise ConfigError(str(exc)) from exc
        except LedgerAway as exc:
            if time.monotonic() >= deadline:
                raise
            log.warning("the database does not answer, asking again", extra={"failure": str(exc)})
            time.sleep(AGAIN_SECONDS)


def held_gpus() -> int:
    """Return how many GPUs this worker holds while it works: what its attempts are charged for."""
    if settings().gpus:
        return settings().gpus
    return 0 if pick_device(settings().device).type == "cpu" else 1


def worker_name() -> str:
    """Return this process's name in the ledger: host, process id and when the process began."""
    return settings().worker or f"{socket.gethostname()}:{os.getpid()}:{_began(os.getpid())}"


def release_the_dead(ledger: Ledger) -> int:
    """End the claims of this host's processes that are gone, so that nobody waits for them; return how many."""
    released = 0
    for status in ledger.items(state="running"):
        if is_dead(status.worker):
            released += ledger.pass_over(status.item, status.worker, "its process is gone")
    return released


def is_dead(worker: str) -> bool:
    """Say whether a worker, by its name, was a process of this host that is gone."""
    host, _, process = worker.partition(":")
    pid, _, began = process.partition(":")
    return host == socket.gethostname() and pid.isdigit() and bool(began) and _began(int(pid)) != began


def _began(pid: int) -> str:
    """Return when a process started, in clock ticks since boot; empty when there is none (or no /proc)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
