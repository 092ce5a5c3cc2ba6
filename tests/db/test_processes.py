"""Several processes on one database."""

from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
from db_workers import claim_once, claim_with_a_wrong_clock, open_once, publish_many
from real_servers import new_database, new_postgres, processes

from db.engine import connect, open_engine
from db.errors import LeaseLost
from db.ledger import Ledger
from db.records import Artifact, Record, WorkItem

ITEM = WorkItem("segment", "k")


@pytest.fixture(scope="module")
def context() -> ForkServerContext:
    return processes()


def together(context, target, num_workers: int, *args) -> list:
    """Run workers that begin at the same moment and return their answers."""
    started, answers = context.Barrier(num_workers), context.Queue()
    takes_number = target is not open_once
    workers = [
        context.Process(target=target, args=(*([number] if takes_number else []), *args, started, answers))
        for number in range(num_workers)
    ]
    for worker in workers:
        worker.start()
    told = [answers.get(timeout=300) for _ in workers]
    for worker in workers:
        worker.join()
    return told


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_many_processes_open_a_new_database_at_once(context, kind: str, tmp_path: Path) -> None:
    url = new_postgres() if kind == "postgresql" else f"sqlite:///{tmp_path}/deep/down/farm.db"
    assert together(context, open_once, 6, url) == [kind] * 6


def test_of_sixteen_claimers_one_gets_the_item(context, database_url: str, ledger: Ledger) -> None:
    told = dict(together(context, claim_once, 16, database_url, ITEM))
    (winner,) = [number for number, answer in told.items() if answer == 1]
    assert {answer for number, answer in told.items() if number != winner} == {f"w{winner}"}
    assert [attempt.worker for attempt in ledger.attempts(ITEM)] == [f"w{winner}"]


def test_publishers_of_shared_objects_do_not_stand_in_each_others_way(
    context, database_url: str, ledger: Ledger
) -> None:
    done = together(context, publish_many, 4, database_url, 20)
    assert sum(done) == 20 == len(ledger.items("segment", "done"))
    assert ledger.verify_audit() == [] and len(ledger.audit_trail()) == 20
    assert ledger.breaches() == []


@pytest.mark.parametrize("skew_seconds", [600.0, -600.0])
def test_a_worker_whose_clock_is_ten_minutes_wrong_takes_nothing_on_postgres(context, tmp_path, skew_seconds) -> None:
    url = new_database("postgresql", tmp_path)
    ledger = Ledger(connect(url))
    ledger.claim(ITEM, "right", 60.0)
    answers = context.Queue()
    worker = context.Process(target=claim_with_a_wrong_clock, args=(url, ITEM, skew_seconds, answers))
    worker.start()
    assert answers.get(timeout=300) == "right"
    worker.join()
    ledger.close()


@pytest.mark.parametrize("skew_seconds", [600.0, -600.0])
def test_clocks_ten_minutes_apart_cost_work_but_never_a_second_winner(open_at, clock, skew_seconds: float) -> None:
    """Where each worker's own clock measures the lease: what SQLite shared between machines would mean."""
    right, wrong = open_at(clock), open_at(lambda: clock() + skew_seconds)
    first = right.claim(ITEM, "right", 60.0)
    clock.seconds += 61.0 if skew_seconds < 0 else 0.0
    if skew_seconds < 0:
        clock.seconds += 600.0  # a clock that is behind waits too long, and that is all
    second = wrong.claim(ITEM, "wrong", 60.0)
    with pytest.raises(LeaseLost):
        right.finish(first, Record("1" * 64, (Artifact("1" * 64, 1, "x"),)))
    wrong.finish(second, Record("2" * 64, (Artifact("2" * 64, 1, "x"),)))
    assert [attempt.state for attempt in right.attempts(ITEM)] == ["lost", "done"]
    assert right.breaches() == []
    open_engine(str(right.transactions.engine.url.render_as_string(hide_password=False))).dispose()
