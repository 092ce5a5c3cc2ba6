"""What remembering costs: an episode of many segments planned, published, found again, reconciled and audited.

    python scripts/bench_ledger.py [--segments 10000] [--database URL]

The renderer is simulated (1 kB each), so every second and every CPU second printed here is the farm's own.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import text

from db.ledger import Ledger, open_ledger
from db.records import Artifact, Behalf, EpisodeEntry, SegmentEntry, ShotEntry, WorkItem
from tasks.attempt import Work
from tasks.fsck import audit
from tasks.publish import Input, Output, Publisher, Rendered
from tasks.reconcile import reconcile
from tasks.store import open_store

SEGMENTS_PER_SHOT = 25
INPUTS = tuple(
    Input(Artifact(f"{number:064x}", 1, kind), kind)
    for number, kind in enumerate(["plate", "voice", "stem", "weights"])
)


def main() -> None:
    """Print seconds and CPU seconds per phase, and megabytes of database per 1,000 segments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--segments", type=int, default=10_000)
    parser.add_argument("--database", default="", help="default: a new SQLite file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = arguments.database or f"sqlite:///{folder}/farm.db"
        store, ledger = open_store((Path(folder) / "store").as_uri()), open_ledger(url)
        publisher = Publisher(store, ledger, "bench", Path(folder) / "scratch")
        keys = [f"{number:064x}" for number in range(arguments.segments)]
        before = _database_bytes(ledger)
        with phase("planned", keys):
            _plan(ledger, keys)
        with phase("published", keys):
            _publish_all(publisher, keys, _render)
        with phase("found again", keys):
            _publish_all(publisher, keys, _never)
        with phase("reconciled", keys):
            assert reconcile(store, ledger).adopted == ()
        with phase("audited, every byte read", keys):
            assert audit(store, ledger, repair=False) == []
        megabytes = (_database_bytes(ledger) - before) / 1e6
        kind = ledger.transactions.engine.dialect.name
        print(f"database: {1000 * megabytes / len(keys):.2f} MB per 1,000 segments ({kind})")
        ledger.close()


@contextmanager
def phase(name: str, keys: list[str]) -> Iterator[None]:
    """Print what the block took, in all and per segment."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{name}: {wall:.1f} s, {1e3 * cpu / len(keys):.2f} ms of CPU per segment, {len(keys)} segments")


def _plan(ledger: Ledger, keys: list[str]) -> None:
    ledger.register_episode(EpisodeEntry("episode", "bench", "Bench"))
    groups = [keys[start : start + SEGMENTS_PER_SHOT] for start in range(0, len(keys), SEGMENTS_PER_SHOT)]
    ledger.register_shots("episode", [ShotEntry(i, f"s{i}", f"shot{i}", 100 * i, 100) for i in range(len(groups))])
    for index, group in enumerate(groups):
        ledger.register_segments(f"shot{index}", [SegmentEntry(key, i, i, 1) for i, key in enumerate(group)])


def _publish_all(publisher: Publisher, keys: list[str], render: Callable[[Work], Rendered]) -> None:
    for number, key in enumerate(keys):
        behalf = Behalf("episode", f"shot{number // SEGMENTS_PER_SHOT}")
        publisher.publish(WorkItem("segment", key), render, behalf=behalf)


def _render(work: Work) -> Rendered:
    path = work.scratch / "latents"
    path.write_bytes(work.item.key.encode() * 16)
    return Rendered(
        Output(path, "segment_latents", ".bin"), inputs=INPUTS, metrics={"latents": 33.0}, facts={"seed": 1}
    )


def _never(work: Work) -> Rendered:
    raise AssertionError(f"{work.item} was rendered twice")


def _database_bytes(ledger: Ledger) -> int:
    query = {
        "sqlite": "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
        "postgresql": "SELECT pg_database_size(current_database())",
    }[ledger.transactions.engine.dialect.name]
    with ledger.transactions.engine.connect() as connection:
        return int(connection.execute(text(query)).scalar_one())


if __name__ == "__main__":
    main()
