"""Where a maltreated process is and what is wrong with it: its store, its ledger, its clock, its end."""

import logging
import os
import resource
import signal
import threading
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from db.engine import connect
from db.ledger import Ledger
from db.records import Behalf, Claim, Record
from tasks.chaos.clock import skew_clock
from tasks.chaos.diary import Diary
from tasks.chaos.servers import PART_BYTES, TIMEOUT_SECONDS
from tasks.crash import CrashPoints, NoCrash
from tasks.pointer import FOLDER, item_of
from tasks.store import Retry, Source
from tasks.store.s3 import S3Store

DISK_BYTES = 20_000  # what a full disk still takes: a segment's latents are larger


@dataclass(frozen=True)
class Place:
    """Where the farm is."""

    store: str
    endpoint: str
    database: str
    lease_seconds: float
    scratch: str  # a folder that goes with the run: what is killed cleans nothing up

    @property
    def diaries(self) -> Path:
        return Path(self.scratch) / "diaries"

    @property
    def finished(self) -> Path:
        """Return where a worker says that it has done all of a picture's task: what an engine remembers."""
        return Path(self.scratch) / "finished"

    @property
    def refused(self) -> Path:
        """Return where a worker names what the farm does not try by itself any more: for a person to see."""
        return Path(self.scratch) / "refused"


@dataclass(frozen=True)
class Fate:
    """What is wrong with a process: dies at a point (at its n-th passing), has a wrong clock, or no disk left."""

    point: str = ""
    passing: int = 1
    skew_seconds: float = 0.0
    disk_full: bool = False


class Dies:
    """Kills this process, without any clean-up, when it passes a point for the n-th time."""

    def __init__(self, fate: Fate) -> None:
        self._fate, self._left = fate, fate.passing

    def hit(self, point: str) -> None:
        """Die if this is the point."""
        if point == self._fate.point:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


class WatchedStore(S3Store):
    """A worker's store: writes down every pointer that this worker was told is its own. Soon out of patience."""

    def __init__(self, place: Place, diary: Diary) -> None:
        parts = urlsplit(place.store)
        super().__init__(
            parts.netloc, parts.path.strip("/"), endpoint=place.endpoint, part_bytes=PART_BYTES,
            retry=Retry(tries=8, first_seconds=0.05, max_seconds=1.0), timeout_seconds=TIMEOUT_SECONDS,
        )  # fmt: skip
        self._diary = diary

    def put_once(self, key: str, source: Source) -> bool:
        """Create an object; a pointer that was created is a win."""
        return self._told(key, super().put_once(key, source))

    def swap_pointer(self, key: str, expected: bytes, value: bytes) -> bool:
        """Replace a pointer; that is a win, too."""
        return self._told(key, super().swap_pointer(key, expected, value))

    def _told(self, key: str, mine: bool) -> bool:
        if mine and key.startswith(FOLDER):
            self._diary.note("put", item_of(key))
        return mine


class MortalLedger(Ledger):
    """A ledger in whose hands a reconciler may die."""

    def __init__(self, url: str, crash: CrashPoints) -> None:
        super().__init__(connect(url))
        self._crash = crash

    def adopt(self, claim: Claim, record: Record, behalf: Behalf | None = None) -> bool:
        """Write down the store's winner, and die before or after if that is this process's fate."""
        self._crash.hit("before_adopt")
        news = super().adopt(claim, record, behalf)
        self._crash.hit("after_adopt")
        return news


def enter(place: Place, name: str, fate: Fate) -> tuple[WatchedStore, MortalLedger, Diary, CrashPoints]:
    """Begin a process of the chaos: suffer its fate, and return what it works with."""
    os.setsid()  # a machine of its own, as far as signals and the scheduler can tell
    logging.disable(logging.ERROR)  # every broken call is a warning, and there are thousands
    diary = Diary(place.diaries, name)
    threading.excepthook = lambda args: diary.error(args.exc_value or args.exc_type())
    if fate.skew_seconds:
        skew_clock(fate.skew_seconds)
    if fate.disk_full:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (DISK_BYTES, DISK_BYTES))
    crash: CrashPoints = Dies(fate) if fate.point else NoCrash()
    return WatchedStore(place, diary), MortalLedger(place.database, crash), diary, crash
