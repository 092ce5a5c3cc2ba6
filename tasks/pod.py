"""One worker of the farm: its store, its ledger, its network, and its wish to stop."""

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from db.ledger import Ledger, open_ledger
from tasks.give_way import StopNotice
from tasks.network import Bundle, limit_threads, load_bundle, pick_device
from tasks.publish import Publisher
from tasks.settings import settings
from tasks.store import Store, open_store


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
def open_pod(store: str = "", database: str = "") -> Iterator[Pod]:
    """Yield a worker on a store and a database; empty addresses mean this machine's settings.

    Raises: ConfigError, LedgerAway.
    """
    opened = open_store(store or settings().store_url, endpoint=settings().s3_endpoint)
    ledger = open_ledger(database or settings().database_url)
    release_the_dead(ledger)
    with tempfile.TemporaryDirectory(prefix="farm-", ignore_cleanup_errors=True) as scratch:
        publisher = Publisher(opened, ledger, worker_name(), Path(scratch), settings().lease_seconds, held_gpus())
        try:
            yield Pod(opened, ledger, publisher)
        finally:
            ledger.close()


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
