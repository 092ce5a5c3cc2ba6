"""What other processes do in the tests of the database."""

import time

from db.engine import connect, open_engine
from db.errors import AlreadyDone, Held
from db.ledger import Ledger
from db.records import Artifact, Record, WorkItem


def open_once(url: str, started, answers) -> None:
    """Open, and so migrate, the database at the same moment as others."""
    started.wait()
    engine = open_engine(url)
    answers.put(engine.dialect.name)
    engine.dispose()


def claim_once(number: int, url: str, item: WorkItem, started, answers) -> None:
    """Try for the item at the same moment as others."""
    ledger = Ledger(connect(url))
    ledger.items()
    started.wait()
    try:
        answers.put((number, ledger.claim(item, f"w{number}", 60.0).attempt))
    except Held as exc:
        answers.put((number, exc.worker))
    ledger.close()


def publish_many(number: int, url: str, count: int, started, answers) -> None:
    """Claim and finish items that all share their artifacts, in different orders."""
    ledger = Ledger(connect(url))
    shared = [Artifact(f"{digit:064x}", 1, "stem") for digit in range(10)]
    done = 0
    started.wait()
    for index in range(count):
        item = WorkItem("segment", f"k{(index * (number + 1)) % count}")
        try:
            claim = ledger.claim(item, f"w{number}", 60.0)
        except (Held, AlreadyDone):
            continue
        order = shared if number % 2 else shared[::-1]
        ledger.finish(claim, Record(shared[0].sha256, tuple(order), seconds=1.0))
        done += 1
    answers.put(done)
    ledger.close()


def claim_with_a_wrong_clock(url: str, item: WorkItem, skew_seconds: float, answers) -> None:
    """Try for the item on a machine whose clock is wrong."""
    true_time = time.time
    time.time = lambda: true_time() + skew_seconds  # this process ends right after
    ledger = Ledger(connect(url))
    try:
        answers.put(ledger.claim(item, f"skewed by {skew_seconds:.0f}", 60.0).attempt)
    except Held as exc:
        answers.put(exc.worker)
    ledger.close()
