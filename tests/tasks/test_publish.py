"""Publishing, on a folder with SQLite and on S3 with PostgreSQL."""

import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from publish_workers import BEHALF, STEM, open_publisher, render_bytes

from db.ledger import Ledger
from db.records import Record, WorkItem
from tasks.attempt import Work, preemption
from tasks.errors import (
    Busy,
    CheckFailed,
    FarmError,
    LeaseLost,
    LicenceError,
    ObjectMissing,
    OutOfMemory,
    Preempted,
    StoreError,
    Waived,
)
from tasks.fsck import audit
from tasks.pointer import Pointer, find_done, item_of, pointer_key
from tasks.publish import Publisher, Rendered
from tasks.reconcile import reconcile
from tasks.store import ObjectRef, Store

ITEM = WorkItem("segment", "ab12")


@dataclass(frozen=True)
class At:
    """Does something when the publisher passes a point."""

    point: str
    action: Callable[[], object]

    def hit(self, point: str) -> None:
        if point == self.point:
            self.action()


@pytest.fixture
def publisher(farm, farm_store: Store, ledger: Ledger) -> Publisher:
    return Publisher(farm_store, ledger, "w1", farm.folder / "scratch", 60.0, num_gpus=1)


def never(_work: Work) -> Rendered:
    raise AssertionError("rendered what was done")


def outcomes(ledger: Ledger) -> list[tuple[int, str, str, str]]:
    return [(a.number, a.worker, a.state, a.failure_class) for a in ledger.attempts(ITEM)]


def pointer_of_a_sleeper(store: Store, ledger: Ledger, data: bytes) -> tuple[Pointer, Record]:
    """Return the pointer that a worker called w0 was about to put when it fell asleep."""
    claim = ledger.claim(ITEM, "w0", 10.0, behalf=BEHALF)
    ref = store.put_content(data, ".bin")
    record = Record.from_json(
        b'{"artifacts":[{"kind":"x","name":"","object_key":"%s","sha256":"%s","size":%d}],"derivations":[],"facts":{},'
        b'"metrics":{},"seconds":1.0,"sha256":"%s"}'
        % (ref.key.encode(), ref.sha256.encode(), ref.size, ref.sha256.encode())
    )
    record_ref = store.put_content(record.to_json(), ".json")
    return Pointer(ITEM, ref, record_ref, claim.attempt, claim.token, "w0", BEHALF), record


def test_a_published_item_is_rendered_once_and_found_afterwards(publisher, farm_store, ledger, farm) -> None:
    first = publisher.publish(ITEM, render_bytes(b"pixels"), behalf=BEHALF)
    again = publisher.publish(ITEM, never)
    assert first.rendered and not again.rendered and first.pointer == again.pointer
    assert farm_store.get(first.pointer.object.key) == b"pixels"
    assert outcomes(ledger) == [(1, "w1", "done", "")]
    assert audit(farm_store, ledger, repair=False) == []
    assert list((farm.folder / "scratch").iterdir()) == []
    (attempt,) = ledger.attempts(ITEM)
    assert attempt.behalf == BEHALF and attempt.facts == {"seed": 7, "code": "v1"} and attempt.num_gpus == 1


def test_the_record_in_the_store_tells_what_the_ledger_tells(publisher, farm_store, ledger) -> None:
    pointer = publisher.publish(ITEM, render_bytes(b"pixels")).pointer
    record = Record.from_json(farm_store.get(pointer.record.key))
    thumb, main = (a for a in record.artifacts if a.kind == "thumbnail"), record.sha256
    assert [(d.child, d.parent, d.role) for d in record.derivations] == [
        (main, STEM.sha256, "stem of ada"),
        (next(thumb).sha256, main, "thumbnail"),
    ]
    tree = ledger.trace(main)
    assert [(part.role, part.name) for part in tree.inputs] == [("stem of ada", "ada.wav")]
    assert tree.maker.metrics == {"steps": 4.0}


def test_what_does_not_pass_its_check_is_not_published(publisher, farm_store, ledger, farm) -> None:
    def refuse(rendered: Rendered) -> None:
        assert rendered.output.path.exists()
        raise CheckFailed("12 of 200 frames are black")

    with pytest.raises(CheckFailed):
        publisher.publish(ITEM, render_bytes(b"black"), refuse)
    assert outcomes(ledger) == [(1, "w1", "failed", "failed_checks")]
    assert ledger.attempts(ITEM)[0].message == "CheckFailed: 12 of 200 frames are black"
    assert list(farm_store.list()) == [] and list((farm.folder / "scratch").iterdir()) == []


class OutOfMemoryError(RuntimeError):
    """Has the name of torch's."""


@pytest.mark.parametrize("farm", ["file and sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("error", "failure_class", "state"),
    [
        (OutOfMemory("80 GB"), "out_of_memory", "failed"),
        (OutOfMemoryError("CUDA"), "out_of_memory", "failed"),
        (MemoryError(), "out_of_memory", "failed"),
        (OSError(28, "No space left on device"), "infrastructure", "failed"),
        (StoreError("503"), "infrastructure", "failed"),
        (ObjectMissing("plate"), "bad_input", "failed"),
        (LicenceError("expired"), "licence", "failed"),
        (ZeroDivisionError(), "bug", "failed"),
        (KeyboardInterrupt(), "preempted", "pending"),
        (SystemExit(1), "preempted", "pending"),
    ],
)
def test_every_failure_is_counted_in_its_class_and_frees_the_item(
    publisher, ledger, error, failure_class, state
) -> None:
    def fail(_work: Work) -> Rendered:
        raise error

    with pytest.raises(type(error)):
        publisher.publish(ITEM, fail)
    assert outcomes(ledger) == [(1, "w1", "failed", failure_class)]
    assert ledger.status(ITEM).state == state
    assert publisher.publish(ITEM, render_bytes(b"better")).rendered


def test_a_second_worker_is_told_that_the_first_is_at_it(publisher) -> None:
    def render(work: Work) -> Rendered:
        with pytest.raises(Busy, match="attempt 1 of w1"):
            replace(publisher, worker="w2").publish(ITEM, never)
        return render_bytes(b"x")(work)

    assert publisher.publish(ITEM, render).rendered


def test_a_waived_item_is_not_rendered(publisher, ledger) -> None:
    ledger.waive(ITEM, "slate", "ada", "no time")
    with pytest.raises(Waived, match="waived with slate"):
        publisher.publish(ITEM, never)


def test_a_lease_is_kept_warm_while_the_renderer_works(publisher, ledger) -> None:
    def render(work: Work) -> Rendered:
        first = ledger.status(ITEM).lease_until
        while ledger.status(ITEM).lease_until == first:
            work.checkpoint()
        return render_bytes(b"slow")(work)

    assert replace(publisher, lease_seconds=0.3).publish(ITEM, render).rendered


def test_sigterm_ends_the_renderer_at_its_next_checkpoint_and_costs_no_retry(publisher, ledger) -> None:
    def render(work: Work) -> Rendered:
        os.kill(os.getpid(), signal.SIGTERM)
        work.checkpoint()
        raise AssertionError("went on")

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Preempted, match="was asked to stop"):
        publisher.publish(ITEM, render)
    assert signal.getsignal(signal.SIGTERM) is before
    assert outcomes(ledger) == [(1, "w1", "failed", "preempted")]
    assert ledger.may_retry(ITEM).allowed and ledger.status(ITEM).state == "pending"


def test_a_sigterm_that_came_too_late_reaches_the_handler_before_ours() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _frame: heard.append(number))
    try:
        with preemption() as stop:
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop.is_set() and heard == []
        assert heard == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_stop_event_does_the_same_in_any_thread(publisher, ledger) -> None:
    stop, raised = threading.Event(), []

    def render(work: Work) -> Rendered:
        stop.set()
        work.checkpoint()
        raise AssertionError("went on")

    def run() -> None:
        try:
            publisher.publish(ITEM, render, stop=stop)
        except FarmError as exc:
            raised.append(type(exc))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert raised == [Preempted] and ledger.status(ITEM).state == "pending"


def test_a_worker_passed_over_while_rendering_publishes_nothing(publisher, farm, farm_store, ledger) -> None:
    def render(work: Work) -> Rendered:
        farm.skew_seconds += 61.0
        assert replace(publisher, worker="w2").publish(ITEM, render_bytes(b"second")).rendered
        return render_bytes(b"first")(work)

    with pytest.raises(LeaseLost, match="attempt 1 is no longer the current one"):
        publisher.publish(ITEM, render)
    assert outcomes(ledger) == [(1, "w1", "lost", "infrastructure"), (2, "w2", "done", "")]
    assert farm_store.get(find_done(farm_store, ITEM).object.key) == b"second"
    assert audit(farm_store, ledger, repair=False) == []


def test_a_checkpoint_tells_a_worker_that_it_was_passed_over(publisher, farm, ledger) -> None:
    def render(work: Work) -> Rendered:
        farm.skew_seconds += 61.0
        ledger.claim(ITEM, "w2", 60.0)
        while True:
            work.checkpoint()

    with pytest.raises(LeaseLost, match="was passed over"):
        replace(publisher, lease_seconds=0.3).publish(ITEM, render)


def test_a_worker_passed_over_after_its_pointer_has_won(publisher, farm, farm_store, ledger) -> None:
    def overtake() -> None:
        farm.skew_seconds += 61.0
        rival.append(ledger.claim(ITEM, "w2", 60.0))

    rival: list = []
    done = replace(publisher, crash=At("after_pointer", overtake)).publish(ITEM, render_bytes(b"first"))
    assert done.rendered
    assert outcomes(ledger) == [(1, "w1", "done", ""), (2, "w2", "lost", "preempted")]
    assert ledger.fail(rival[0], "bug", "late", 1.0) is False
    assert audit(farm_store, ledger, repair=False) == []


def test_a_sleeper_that_wakes_and_puts_its_pointer_first_has_won(publisher, farm, farm_store, ledger) -> None:
    pointer, record = pointer_of_a_sleeper(farm_store, ledger, b"sleeper")
    farm.skew_seconds += 61.0

    def render(work: Work) -> Rendered:
        farm_store.put_once(pointer_key(ITEM), pointer.to_json())
        return render_bytes(b"awake")(work)

    done = publisher.publish(ITEM, render)
    assert not done.rendered and done.pointer == pointer
    assert outcomes(ledger) == [(1, "w0", "done", ""), (2, "w1", "lost", "preempted")]
    assert audit(farm_store, ledger, repair=False) == []
    ledger.finish(pointer.claim, record)
    assert len(ledger.audit_trail()) == 1


def test_a_winner_known_to_the_store_alone_is_written_down_by_whoever_comes_next(publisher, farm_store, ledger) -> None:
    pointer, _ = pointer_of_a_sleeper(farm_store, ledger, b"sleeper")
    farm_store.put_once(pointer_key(ITEM), pointer.to_json())
    assert [finding.message for finding in audit(farm_store, ledger, repair=False)] == [
        "published, but the ledger does not know"
    ]
    assert publisher.publish(ITEM, never).pointer == pointer
    assert audit(farm_store, ledger, repair=False) == []


def test_the_reconciler_writes_winners_down_and_ends_silent_attempts(publisher, farm, farm_store, ledger) -> None:
    publisher.publish(WorkItem("film", "f"), render_bytes(b"film"))
    pointer, _ = pointer_of_a_sleeper(farm_store, ledger, b"sleeper")
    farm_store.put_once(pointer_key(ITEM), pointer.to_json())
    silent = WorkItem("shot", "s")
    ledger.claim(silent, "w9", 30.0)
    assert reconcile(farm_store, ledger).expired == ()
    farm.skew_seconds += 31.0
    assert reconcile(farm_store, ledger).expired == ()  # it may only have been unheard
    farm.skew_seconds += 31.0
    put_right = reconcile(farm_store, ledger)
    assert (put_right.adopted, put_right.expired, put_right.unsettled) == ((), (silent,), ())
    assert outcomes(ledger) == [(1, "w0", "done", "")]


def test_an_output_that_was_lost_is_rendered_again(publisher, farm_store, ledger) -> None:
    first = publisher.publish(ITEM, render_bytes(b"one")).pointer
    farm_store.delete(first.object.key)
    assert find_done(farm_store, ITEM) is None
    second = publisher.publish(ITEM, render_bytes(b"two"))
    assert second.rendered and find_done(farm_store, ITEM) == second.pointer
    assert ledger.status(ITEM).sha256 == second.pointer.object.sha256
    assert audit(farm_store, ledger, repair=False) == []


def test_a_pointer_that_is_no_pointer_counts_as_none_and_is_replaced(publisher, farm_store, ledger) -> None:
    farm_store.put_once(pointer_key(ITEM), b"{}")
    assert find_done(farm_store, ITEM) is None
    assert publisher.publish(ITEM, render_bytes(b"x")).rendered
    assert audit(farm_store, ledger, repair=False) == []


def test_a_clean_farm_is_clean_on_s3_too_after_damage_was_repaired(publisher, farm_store, ledger) -> None:
    key = publisher.publish(ITEM, render_bytes(b"pixels")).pointer.object.key
    farm_store.write_pointer(key, b"pixelz")
    assert [(f.rule, f.repaired) for f in audit(farm_store, ledger, repair=True)] == [("objects", True)]
    assert publisher.publish(ITEM, render_bytes(b"pixels")).rendered
    assert audit(farm_store, ledger, repair=False) == []


def test_the_two_way_mapping_of_items_and_pointer_keys() -> None:
    assert item_of(pointer_key(ITEM)) == ITEM and pointer_key(ITEM) == "done/segment/ab12"
    with pytest.raises(ValueError, match="kind 'frame'"):
        item_of("done/frame/x")
    ref = ObjectRef("objects/x", "x", 1)
    pointer = Pointer(ITEM, ref, ref, 1, "t", "w", BEHALF)
    assert Pointer.from_json(pointer.to_json()) == pointer
    for bad in (b"", b"[]", b"{}", b'{"version": 2}'):
        with pytest.raises(ValueError, match=r"pointer|Expecting"):
            Pointer.from_json(bad)


def test_a_database_that_is_away_is_a_transient_error(farm, tmp_path) -> None:
    publisher = open_publisher(
        farm.place.url, farm.place.endpoint, "postgresql://postgres@127.0.0.1:9/none", tmp_path, "w"
    )
    publisher = replace(publisher, ledger=Ledger(publisher.ledger.transactions.engine, sleep=lambda _seconds: None))
    with pytest.raises(FarmError, match="did not answer in 8 tries") as away:
        publisher.publish(ITEM, never)
    assert type(away.value).__name__ == "DatabaseAway" and away.value.failure_class == "infrastructure"
