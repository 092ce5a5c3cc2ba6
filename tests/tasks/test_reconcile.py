"""A round of reconciling does what it can, whatever it finds; what it cannot settle it names."""

from pathlib import Path

import pytest
from small_episode import FILM, SEGMENTS, SHOTS, publish_episode

from db.records import WorkItem
from tasks.pointer import find_done
from tasks.publish import Publisher
from tasks.reconcile import reconcile

pytestmark = pytest.mark.parametrize("farm", ["file and sqlite", "s3 and postgresql"], indirect=True)
SILENT = WorkItem("film", "of a worker that is gone")


@pytest.fixture
def publisher(farm, farm_store, ledger) -> Publisher:
    """A finished episode of which the ledger has forgotten all, and a worker that fell silent."""
    publisher = Publisher(farm_store, ledger, "w1", Path(farm.folder / "scratch"))
    publish_episode(publisher)
    for item in (*SEGMENTS, *SHOTS, FILM):
        ledger.reopen(item, "test", "as if the database had been restored")
    ledger.claim(SILENT, "w9", 30.0)
    farm.skew_seconds += 31.0
    assert ledger.expire() == []  # seen past its lease; believed to be gone a lease later
    farm.skew_seconds += 31.0
    return publisher


def test_every_winner_is_adopted_and_every_silent_claim_ended(publisher) -> None:
    put_right = reconcile(publisher.store, publisher.ledger)
    assert set(put_right.adopted) == {*SEGMENTS, *SHOTS, FILM}
    assert (put_right.expired, put_right.unsettled) == ((SILENT,), ())
    assert reconcile(publisher.store, publisher.ledger).adopted == ()


def test_an_object_of_somebody_else_keeps_nobody_from_being_looked_after(publisher) -> None:
    foreign = ("done/a.txt", "done/preview/abc")
    for key in foreign:
        publisher.store.put_once(key, b"of another program")
    put_right = reconcile(publisher.store, publisher.ledger)
    assert set(put_right.adopted) == {*SEGMENTS, *SHOTS, FILM}
    assert (put_right.expired, put_right.unsettled) == ((SILENT,), foreign)


@pytest.mark.parametrize("damage", [b"?", b"!!"])
def test_a_winner_whose_record_is_damaged_is_left_to_fsck(publisher, damage: bytes) -> None:
    record = find_done(publisher.store, SHOTS[0]).record
    publisher.store.write_pointer(record.key, publisher.store.get(record.key)[:-1] + damage)
    put_right = reconcile(publisher.store, publisher.ledger)
    assert set(put_right.adopted) == {*SEGMENTS, SHOTS[1], FILM}
    assert (put_right.expired, put_right.unsettled) == ((SILENT,), (str(SHOTS[0]),))
