"""One chaos run from empty servers to the scoreboard."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

from db.ledger import open_ledger
from tasks.chaos.board import holds, scoreboard
from tasks.chaos.diary import read_beliefs
from tasks.chaos.menu import Menu, Tally
from tasks.chaos.monkey import Monkey
from tasks.chaos.outages import Episode, Outages
from tasks.chaos.place import Place
from tasks.chaos.postgres import Database, database
from tasks.chaos.scene import Scene
from tasks.chaos.score import Score, keep_score
from tasks.chaos.servers import Faults, object_store
from tasks.errors import ConfigError
from tasks.pod import Pod
from tasks.publish import Publisher
from tasks.store import open_store

KEYS = {"AWS_ACCESS_KEY_ID": "chaos", "AWS_SECRET_ACCESS_KEY": "chaos", "AWS_DEFAULT_REGION": "us-east-1"}
STORE = "s3://chaos/farm"
NEWS_SECONDS = 30.0


@dataclass(frozen=True)
class Outcome:
    """A finished chaos run; `holds` says whether it is the proof that it was to be."""

    score: Score
    tally: Tally
    board: str
    holds: bool


def run_chaos(
    menu: Menu, command: str, shots: tuple[int, ...] = (3, 3, 3, 3), tell: Callable[[str], None] = lambda text: None
) -> Outcome:
    """Serve a menu to a farm of its own, telling every half minute how far it is.

    Raises: ConfigError when the servers to break are not installed.
    """
    for name, value in KEYS.items():
        os.environ.setdefault(name, value)
    begun = time.monotonic()
    faults = Faults(menu.s3_fault_share, menu.seed)
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="farm-chaos-", ignore_cleanup_errors=True))
        )
        server = stack.enter_context(database())
        if menu.server_kills and not server.prefect:
            raise ConfigError(
                "Prefect's server needs a whole PostgreSQL: apt-get install postgresql, or --server-kills 0"
            )
        broken, sound = stack.enter_context(object_store(faults))
        ledger = open_ledger(server.url)
        stack.callback(ledger.close)
        store = open_store(STORE, endpoint=sound)
        scene = Scene(Pod(store, ledger, Publisher(store, ledger, "chaos", folder)), folder, shots)
        place = Place(STORE, broken, server.url, menu.lease_seconds, str(folder))
        monkey = Monkey(menu, place, server, scene)
        stack.enter_context(telling(menu, monkey.tally, tell))
        monkey.run()
        if menu.server_kills:
            _second_course(menu, place, server, scene, monkey.tally)
        score = keep_score(store, ledger, list(scene.expected.values()), read_beliefs(place.diaries))
    board = scoreboard(menu, monkey.tally, faults, score, time.monotonic() - begun, command)
    return Outcome(score, monkey.tally, board, holds(menu, monkey.tally, score))


@contextmanager
def telling(menu: Menu, tally: Tally, tell: Callable[[str], None]) -> Iterator[None]:
    """Tell how much of the menu has been served, until the context ends."""
    end = Event()

    def news() -> None:
        while not end.wait(NEWS_SECONDS):
            restarts = tally.database_restarts.total() + tally.late_restarts
            wanted = menu.database_restarts + menu.late_restarts
            served = [(tally.kills, menu.kills, "kills"), (restarts, wanted, "database restarts")]
            served.append((tally.server_kills, menu.server_kills, "server kills"))
            tell(", ".join(f"{count} of {all_of_them} {what}" for count, all_of_them, what in served))

    thread = Thread(target=news, daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def _second_course(menu: Menu, place: Place, server: Database, scene: Scene, tally: Tally) -> None:
    def more() -> Episode:
        name, order = scene.real()
        return Episode(name, order, lambda: scene.has_ended(order))

    Outages(menu, place, server, scene.folder / "prefect-farm", tally, more).run()
