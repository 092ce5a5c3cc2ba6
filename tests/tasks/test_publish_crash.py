"""Workers killed at every named point, and many workers at once: one winner, and nothing left to put right."""

import signal
from multiprocessing.context import ForkServerContext

import pytest
from publish_workers import BEHALF, compete, die_at, render_bytes
from real_servers import processes

from db.ledger import Ledger
from db.records import WorkItem
from tasks.fsck import audit
from tasks.pointer import find_done
from tasks.publish import CRASH_POINTS, REPAIR_POINTS, Publisher
from tasks.reconcile import reconcile
from tasks.store import Store

ITEM = WorkItem("segment", "ab12")
HAS_WON = {"after_pointer", "before_commit", "after_commit"}


@pytest.fixture(scope="module")
def context() -> ForkServerContext:
    return processes()


@pytest.fixture
def where(farm) -> tuple:
    return (farm.place.url, farm.place.endpoint, farm.database_url, str(farm.folder / "scratch"))


def run(context, target, *args) -> int:
    process = context.Process(target=target, args=args)
    process.start()
    process.join()
    return process.exitcode


@pytest.mark.parametrize("point", CRASH_POINTS)
def test_a_worker_killed_at_any_point_leaves_one_winner(context, farm, farm_store, ledger, where, point) -> None:
    assert run(context, die_at, point, where, ITEM, 60.0) == -signal.SIGKILL
    assert (find_done(farm_store, ITEM) is not None) == (point in HAS_WON)
    farm.skew_seconds += 61.0
    reconcile(farm_store, ledger)
    assert audit(farm_store, ledger, repair=False) == []
    done = Publisher(farm_store, ledger, "w2", farm.folder / "scratch").publish(
        ITEM, render_bytes(b"by w2"), behalf=BEHALF
    )
    assert done.rendered == (point not in HAS_WON)
    assert farm_store.get(done.pointer.object.key) == (b"from the doomed" if point in HAS_WON else b"by w2")
    states = [(a.worker, a.state) for a in ledger.attempts(ITEM)]
    assert states == ([("doomed", "done")] if point in HAS_WON else [("doomed", "lost"), ("w2", "done")])
    assert audit(farm_store, ledger, repair=False) == []
    assert [entry.action for entry in ledger.audit_trail()] == ["published"]


@pytest.mark.parametrize("point", REPAIR_POINTS)
def test_a_worker_killed_while_it_replaces_a_lost_winner_leaves_one(
    context, farm, farm_store, ledger, where, point
) -> None:
    scratch = farm.folder / "scratch"
    lost = Publisher(farm_store, ledger, "w1", scratch).publish(ITEM, render_bytes(b"by w1"), behalf=BEHALF)
    farm_store.delete(lost.pointer.object.key)
    assert run(context, die_at, point, where, ITEM, 60.0) == -signal.SIGKILL
    farm.skew_seconds += 61.0
    reconcile(farm_store, ledger)
    done = Publisher(farm_store, ledger, "w2", scratch).publish(ITEM, render_bytes(b"by w2"), behalf=BEHALF)
    assert done.rendered == (point != "after_swap")
    assert farm_store.get(done.pointer.object.key) == (b"by w2" if done.rendered else b"from the doomed")
    assert [a.state for a in ledger.attempts(ITEM)].count("done") == 1
    assert audit(farm_store, ledger, repair=False) == []


@pytest.mark.parametrize(("num_workers", "lease_seconds"), [(6, 60.0), (4, 0.01)])
def test_of_many_workers_one_wins(
    context, farm_store: Store, ledger: Ledger, where, num_workers, lease_seconds
) -> None:
    """With a lease that is kept, one renders; with one that runs out at once, several do, and still one wins."""
    started, answers = context.Barrier(num_workers), context.Queue()
    args = [(number, where, ITEM, lease_seconds, started, answers) for number in range(num_workers)]
    workers = [context.Process(target=compete, args=each) for each in args]
    for worker in workers:
        worker.start()
    told = [answers.get(timeout=300) for _ in workers]
    for worker in workers:
        worker.join()
    winner = find_done(farm_store, ITEM, verify=True)
    assert {sha256 for sha256, _ in told} == {winner.object.sha256} == {ledger.status(ITEM).sha256}
    assert sum(rendered for _, rendered in told) == 1
    assert [a.state for a in ledger.attempts(ITEM)].count("done") == 1
    assert lease_seconds < 1 or len(ledger.attempts(ITEM)) == 1
    assert audit(farm_store, ledger, repair=False) == []
