"""One chaos run from empty servers to the scoreboard."""

import os
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

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


@dataclass(frozen=True)
class Outcome:
    """A finished chaos run; `holds` says whether it is the proof that it was to be."""

    score: Score
    tally: Tally
    board: str
    holds: bool


def run_chaos(menu: Menu, command: str, shots: tuple[int, ...] = (3, 3, 3, 3)) -> Outcome:
    """Serve a menu to a farm of its own. Raises: ConfigError when the servers to break are not installed."""
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
        monkey.run()
        if menu.server_kills:
            _second_course(menu, place, server, scene, monkey.tally)
        score = keep_score(store, ledger, list(scene.expected.values()), read_beliefs(place.diaries))
    board = scoreboard(menu, monkey.tally, faults, score, time.monotonic() - begun, command)
    return Outcome(score, monkey.tally, board, holds(menu, monkey.tally, score))


def _second_course(menu: Menu, place: Place, server: Database, scene: Scene, tally: Tally) -> None:
    def more() -> Episode:
        name, order = scene.real()
        return Episode(name, order, lambda: scene.has_ended(order))

    Outages(menu, place, server, scene.folder / "prefect-farm", tally, more).run()
