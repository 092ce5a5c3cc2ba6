"""One chaos run from empty servers to the scoreboard."""

import os
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from db.ledger import open_ledger
from tasks.chaos.monkey import Menu, Monkey, Tally
from tasks.chaos.score import Score, keep_score, scoreboard
from tasks.chaos.servers import Faults, database, object_store
from tasks.chaos.worker import Place
from tasks.pod import Pod
from tasks.pointer import find_done
from tasks.publish import Publisher
from tasks.rehearsal import Rehearsal, ingest_rehearsal
from tasks.store import open_store
from tasks.waivers import load_order
from tasks.work import film_item

KEYS = {"AWS_ACCESS_KEY_ID": "chaos", "AWS_SECRET_ACCESS_KEY": "chaos", "AWS_DEFAULT_REGION": "us-east-1"}


@dataclass(frozen=True)
class Outcome:
    """A finished chaos run."""

    score: Score
    tally: Tally
    board: str


def run_chaos(menu: Menu, command: str, shots: tuple[int, ...] = (3, 3, 3, 3)) -> Outcome:
    """Serve a menu to a farm of its own. Raises: ConfigError when the servers to break are not installed."""
    for name, value in KEYS.items():
        os.environ.setdefault(name, value)
    begun = time.monotonic()
    faults = Faults(menu.s3_fault_share, menu.seed)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="farm-chaos-")))
        server = stack.enter_context(database())
        broken, sound = stack.enter_context(object_store(faults))
        store = open_store("s3://chaos/farm", endpoint=sound)
        ledger = open_ledger(server.url)
        stack.callback(ledger.close)
        pod = Pod(store, ledger, Publisher(store, ledger, "chaos", folder))
        monkey = Monkey(
            menu,
            Place("s3://chaos/farm", broken, server.url, menu.lease_seconds),
            server,
            _orders(pod, folder, shots),
        )
        orders = monkey.run(lambda order: find_done(store, film_item(load_order(pod, order))) is not None)
        score = keep_score(store, ledger, orders)
    board = scoreboard(menu, monkey.tally, faults, score, time.monotonic() - begun, command)
    return Outcome(score, monkey.tally, board)


def _orders(pod: Pod, folder: Path, shots: tuple[int, ...]) -> Callable[[], str]:
    """Return a function that ingests another episode each time."""
    seeds = iter(range(1, 1_000_000))

    def more() -> str:
        seed = next(seeds)
        _, order = ingest_rehearsal(folder / f"episode-{seed}", Rehearsal(shots, steps=6, seed=seed), pod)
        return order

    return more
