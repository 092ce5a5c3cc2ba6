"""One chaos run from empty servers to the scoreboard."""

import os
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from db.ledger import open_ledger
from tasks.chaos.board import scoreboard
from tasks.chaos.expected import Expected, expect_real, expect_toy
from tasks.chaos.monkey import Menu, Monkey, Tally
from tasks.chaos.outages import Episode, Outages
from tasks.chaos.postgres import Database, database
from tasks.chaos.score import Score, keep_score
from tasks.chaos.servers import Faults, object_store
from tasks.chaos.worker import Place
from tasks.errors import ConfigError
from tasks.pod import Pod
from tasks.pointer import find_done
from tasks.publish import Publisher
from tasks.rehearsal import Rehearsal, ingest_rehearsal
from tasks.store import open_store

KEYS = {"AWS_ACCESS_KEY_ID": "chaos", "AWS_SECRET_ACCESS_KEY": "chaos", "AWS_DEFAULT_REGION": "us-east-1"}
STORE = "s3://chaos/farm"
TOY_STEPS = 4


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
        scene = _Scene(Pod(store, ledger, Publisher(store, ledger, "chaos", folder)), folder)
        place = Place(STORE, broken, server.url, menu.lease_seconds, str(folder))
        monkey = Monkey(menu, place, server, lambda: scene.toy(shots))
        monkey.run(scene.film_done)
        if menu.server_kills:
            _second_course(menu, place, server, scene, monkey.tally)
        score = keep_score(store, ledger, list(scene.expected.values()))
    board = scoreboard(menu, monkey.tally, faults, score, time.monotonic() - begun, command)
    return Outcome(score, monkey.tally, board)


def _second_course(menu: Menu, place: Place, server: Database, scene: "_Scene", tally: Tally) -> None:
    def more() -> Episode:
        name, order = scene.real()
        return Episode(name, order, lambda: scene.film_done(order))

    Outages(menu, place, server, scene.folder / "prefect-farm", tally, more).run()


class _Scene:
    """The episodes of a run, and what must come out of each."""

    def __init__(self, pod: Pod, folder: Path) -> None:
        self.pod, self.folder, self.expected = pod, folder, dict[str, Expected]()
        self._seeds = iter(range(1, 1_000_000))

    def toy(self, shots: tuple[int, ...]) -> str:
        """Ingest another episode for the toy renderer; return its order."""
        seed = next(self._seeds)
        plan, order = ingest_rehearsal(
            self.folder / f"episode-{seed}", Rehearsal(shots, steps=TOY_STEPS, seed=seed), self.pod
        )
        self.expected[order] = expect_toy(order, plan)
        return order

    def real(self) -> tuple[str, str]:
        """Ingest another episode for the small network, render it once in a corner; return its name and order."""
        seed = next(self._seeds)
        what = Rehearsal((2, 1), steps=6, seed=seed)
        plan, order = ingest_rehearsal(self.folder / f"episode-{seed}", what, self.pod)
        self.expected[order] = expect_real(self.folder / f"alone-{seed}", what)
        return plan.episode, order

    def film_done(self, order: str) -> bool:
        """Say whether an episode's film is there."""
        return find_done(self.pod.store, self.expected[order].film) is not None
