"""Everything that can be wrong between store and ledger is found, named and, where possible, put right."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest
from small_episode import FILM, SEGMENTS, SHOTS, publish_episode
from sqlalchemy import text

from db.ledger import Ledger
from db.records import WorkItem
from tasks.fsck import ANCHOR, audit, read_anchor
from tasks.pointer import FOLDER, find_done, pointer_key
from tasks.publish import Publisher
from tasks.store import Store


class Meanwhile:
    """A store at which something happens when one verb is first called for a key; it may answer in its place."""

    def __init__(self, store: Store, verb: str, key: str, action: Callable[[], Any]) -> None:
        self.store, self.verb, self.key, self.action, self.happened = store, verb, key, action, False

    def __getattr__(self, verb: str) -> Any:
        ask = getattr(self.store, verb)

        def call(*args: Any, **kwargs: Any) -> Any:
            answer = None
            if (verb, args[:1]) == (self.verb, (self.key,)) and not self.happened:
                self.happened, answer = True, self.action()
            return ask(*args, **kwargs) if answer is None else answer

        return call


# What the store does is the same on S3 (its own tests, and those of publishing); what differs here is the SQL.
pytestmark = pytest.mark.parametrize("farm", ["file and sqlite", "file and postgresql"], indirect=True)


@pytest.fixture
def publisher(farm, farm_store: Store, ledger: Ledger) -> Publisher:
    publisher = Publisher(farm_store, ledger, "w1", farm.folder / "scratch")
    publish_episode(publisher)
    return publisher


def change(ledger: Ledger, statement: str, **values: object) -> None:
    with ledger.transactions.engine.begin() as connection:
        assert connection.execute(text(statement), values).rowcount > 0


def found(store: Store, ledger: Ledger, repair: bool = False) -> set[tuple[str, str]]:
    return {(finding.rule, finding.subject) for finding in audit(store, ledger, repair)}


def assert_mends(publisher: Publisher, expected: set[tuple[str, str]]) -> None:
    """Looking changes nothing, repairing and rendering what it opened again leave a clean farm."""
    store, ledger = publisher.store, publisher.ledger
    assert found(store, ledger) == expected
    findings = audit(store, ledger, repair=True)
    assert {(finding.rule, finding.subject) for finding in findings} == expected
    assert all(finding.repaired for finding in findings)
    for _ in range(3):  # a new part makes what was joined of the old one stale, one level after the other
        publish_episode(publisher)
        audit(store, ledger, repair=True)
    assert audit(store, ledger, repair=False) == []
    assert all(find_done(store, item, verify=True) for item in (*SEGMENTS, *SHOTS, FILM))


def test_a_finished_episode_is_clean(publisher) -> None:
    assert audit(publisher.store, publisher.ledger, repair=False) == []
    assert audit(publisher.store, publisher.ledger, repair=True) == []


def test_what_killed_writers_left_is_swept_after_a_day(publisher, farm) -> None:
    old, new = (publisher.store.root / ".unfinished" / name for name in ("old.tmp", "new.tmp"))
    for path, age_seconds in ((old, 90_000), (new, 60)):
        path.write_bytes(b"half")
        os.utime(path, (time.time() - age_seconds,) * 2)
    assert audit(publisher.store, publisher.ledger, repair=False) == [] and old.exists()
    assert audit(publisher.store, publisher.ledger, repair=True) == []
    assert not old.exists() and new.exists()


@pytest.mark.parametrize("extra", [False, True])
def test_an_object_that_is_gone_opens_its_item_again(publisher, extra: bool) -> None:
    record = json.loads(publisher.store.get(find_done(publisher.store, SEGMENTS[0]).record.key))
    made = [a for a in record["artifacts"] if a["kind"] == ("contact_sheet" if extra else "segment_latents")]
    publisher.store.delete(made[0]["object_key"])
    assert_mends(publisher, {("objects", str(SEGMENTS[0]))})


def test_an_object_that_was_damaged_is_found_by_reading_and_rendered_anew(publisher) -> None:
    key = find_done(publisher.store, SHOTS[1]).object.key
    data = publisher.store.get(key)
    publisher.store.write_pointer(key, data[:-1] + b"?")
    assert audit(publisher.store, publisher.ledger, repair=False, read_objects=False) == []
    assert_mends(publisher, {("objects", str(SHOTS[1]))})
    assert publisher.store.get(key) == data


def test_a_record_that_was_damaged_opens_its_item_again(publisher) -> None:
    """It is not needed to play the film, but a lost database is written from it again."""
    record = find_done(publisher.store, SHOTS[0]).record
    publisher.store.write_pointer(record.key, b"?" * record.size)
    assert audit(publisher.store, publisher.ledger, repair=False, read_objects=False) == []
    assert_mends(publisher, {("records", str(SHOTS[0]))})
    assert not publisher.store.exists(record.key)


def test_a_winner_unknown_to_the_ledger_whose_record_is_damaged_is_not_adopted(publisher) -> None:
    record = find_done(publisher.store, FILM).record
    publisher.store.write_pointer(record.key, b"?" * record.size)
    publisher.ledger.reopen(FILM, "test", "as if the database had been restored")
    (finding,) = audit(publisher.store, publisher.ledger, repair=True, read_objects=False)
    assert (finding.rule, finding.subject, finding.repaired) == ("records", str(FILM), True)
    assert find_done(publisher.store, FILM) is None


def test_a_record_of_no_known_form_is_found(publisher) -> None:
    strange = publisher.store.put_content(b'{"of": "another version"}', ".json")
    pointer = replace(find_done(publisher.store, FILM), record=strange)
    publisher.store.write_pointer(pointer_key(FILM), pointer.to_json())
    (finding,) = audit(publisher.store, publisher.ledger, repair=False)
    assert finding.rule == "records" and "cannot be read" in finding.message


def test_an_input_that_is_gone_is_for_people_to_bring_back(publisher) -> None:
    stem = next(a for a in publisher.ledger.stored_artifacts() if a.kind == "stem")
    publisher.store.delete(stem.object_key)
    (finding,) = audit(publisher.store, publisher.ledger, repair=True)
    assert (finding.rule, finding.subject, finding.repaired) == ("objects", stem.object_key, False)
    assert "put it there again" in finding.message


def test_an_input_that_is_damaged_is_never_deleted(publisher) -> None:
    stem = next(a for a in publisher.ledger.stored_artifacts() if a.kind == "stem")
    damaged = b"?" * stem.size
    publisher.store.write_pointer(stem.object_key, damaged)
    (finding,) = audit(publisher.store, publisher.ledger, repair=True)
    assert (finding.rule, finding.subject, finding.repaired) == ("objects", stem.object_key, False)
    assert "its bytes have another digest" in finding.message and "put it there again" in finding.message
    with publisher.store.open_range(stem.object_key) as file:
        assert file.read() == damaged


def test_an_object_that_only_arrived_damaged_is_no_finding(publisher) -> None:
    winner = find_done(publisher.store, SHOTS[0])
    for ref in (winner.object, winner.record):
        flaky = Meanwhile(publisher.store, "open_range", ref.key, lambda ref=ref: BytesIO(b"?" * ref.size))
        assert audit(flaky, publisher.ledger, repair=True) == [] and flaky.happened
    assert find_done(publisher.store, SHOTS[0], verify=True) == winner


def test_a_winner_that_the_ledger_lost_is_adopted(publisher) -> None:
    publisher.ledger.reopen(SEGMENTS[1], "test", "as if the database had been restored")
    expected = {("pointers", str(SEGMENTS[1]))}
    assert found(publisher.store, publisher.ledger) == expected
    assert_mends(publisher, expected)
    assert [a.state for a in publisher.ledger.attempts(SEGMENTS[1])] == ["done"]


def test_a_ledger_that_knows_another_winner_follows_the_store(publisher) -> None:
    change(publisher.ledger, "UPDATE work SET sha256 = :sha WHERE key = :key", sha="0" * 64, key=SHOTS[0].key)
    expected = {("pointers", str(SHOTS[0])), ("parts are winners", str(FILM))}
    assert found(publisher.store, publisher.ledger) == expected
    audit(publisher.store, publisher.ledger, repair=True)
    assert publisher.ledger.status(SHOTS[0]).sha256 == find_done(publisher.store, SHOTS[0]).object.sha256
    assert found(publisher.store, publisher.ledger) == set()


@pytest.mark.parametrize("verb", ["get", "exists"])
def test_a_winner_published_while_fsck_looks_is_left_alone(publisher, verb: str) -> None:
    """Its output was lost; another worker renders it anew, between two of our looks."""
    store, ledger, key = publisher.store, publisher.ledger, pointer_key(SHOTS[0])
    store.delete(find_done(store, SHOTS[0]).object.key)
    ledger.reopen(SHOTS[0], "test", "its output is not in the store")
    quick = Meanwhile(store, verb, key, lambda: publish_episode(replace(publisher, worker="w2")))
    assert audit(quick, ledger, repair=True) == [] and quick.happened
    assert find_done(store, SHOTS[0]) and ledger.status(SHOTS[0]).state == "done"
    assert [entry.action for entry in ledger.audit_trail(str(SHOTS[0]))] == ["published", "reopened", "published"]


@pytest.mark.parametrize(("verb", "key"), [("list", FOLDER), ("get", pointer_key(SHOTS[0]))])
def test_a_winner_published_again_before_or_after_its_pointer_was_read_is_left_alone(publisher, verb, key) -> None:
    store, ledger, other = publisher.store, publisher.ledger, replace(publisher, worker="w2")

    def render_another() -> None:
        store.delete(pointer_key(SEGMENTS[2]))
        ledger.reopen(SEGMENTS[2], "test", "somebody wants it anew")
        publish_episode(other, voice="of another machine")

    quick = Meanwhile(store, verb, key, render_another)
    assert {f.rule for f in audit(quick, ledger, repair=True)} == {"parts are winners"} and quick.happened
    assert (find_done(store, SEGMENTS[2]).worker, ledger.status(SEGMENTS[2]).worker) == ("w2", "w2")


def test_a_pointer_that_is_gone_or_leads_nowhere_is_rendered_anew(publisher) -> None:
    publisher.store.delete(pointer_key(SEGMENTS[2]))
    publisher.store.write_pointer(pointer_key(SHOTS[0]), b"{}")
    publisher.store.put_once(pointer_key(WorkItem("film", "ghost")), b"{}")
    expected = {("pointers", str(SEGMENTS[2])), ("pointers", str(SHOTS[0])), ("pointers", "film ghost")}
    assert_mends(publisher, expected)
    assert not publisher.store.exists(pointer_key(WorkItem("film", "ghost")))


@pytest.mark.parametrize("key", ["done/preview/abc", "done/stray.txt"])
def test_an_object_of_somebody_else_among_the_pointers_is_reported_and_left_alone(publisher, key: str) -> None:
    store, ledger, foreign = publisher.store, publisher.ledger, ("pointers", key)
    store.put_once(key, b"of another program")
    ledger.reopen(SHOTS[0], "test", "to see that the rest is still looked after")
    assert found(store, ledger) == found(store, ledger, repair=True) == {foreign, ("pointers", str(SHOTS[0]))}
    (finding,) = audit(store, ledger, repair=True)
    assert not finding.repaired and "find out whose it is" in finding.message
    assert store.get(key) == b"of another program"


def test_a_film_made_of_parts_that_have_lost_is_stitched_again(publisher) -> None:
    """A segment came out different the second time: the shot that holds the first is stale, and then the film."""
    publisher.store.delete(find_done(publisher.store, SEGMENTS[0]).object.key)
    audit(publisher.store, publisher.ledger, repair=True)
    other = replace(publisher, worker="w2")
    publish_episode(other, voice="of another machine")
    assert found(publisher.store, publisher.ledger) == {("parts are winners", str(SHOTS[0]))}
    for stale in (SHOTS[0], FILM):
        assert found(publisher.store, publisher.ledger, repair=True) == {("parts are winners", str(stale))}
        publish_episode(other, voice="of another machine")
    assert audit(publisher.store, publisher.ledger, repair=False) == []
    assert b"of another machine" in publisher.store.get(find_done(publisher.store, FILM).object.key)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE work SET attempt = 7 WHERE key = 's1-0'", "number 7 is the newest given out, 1 is written down"),
        ("UPDATE work SET winner = 9 WHERE key = 's1-0'", "is done, winner 9, but attempt 1 won"),
        ("UPDATE work SET state = 'running' WHERE key = 's1-0'", "is running, winner 1, but attempt 1 won"),
        (
            "INSERT INTO attempts (work_id, number, token, worker, state, failure_class, message, started_at,"
            " renewed_at, useful_seconds, wasted_seconds, num_gpus, episode_key, shot_key, facts)"
            " SELECT id, 0, 't', 'w', 'running', '', '', 0, 0, 0, 0, 0, '', '', '{}' FROM work WHERE key = 's1-0'",
            "attempt 0 still runs although it was passed over",
        ),
    ],
)
def test_impossible_numbers_are_found(publisher, statement: str, message: str) -> None:
    change(publisher.ledger, statement)
    findings = audit(publisher.store, publisher.ledger, repair=False)
    assert (str(SEGMENTS[0]), message) in {(finding.subject, finding.message) for finding in findings}


def test_the_database_itself_refuses_two_winners(publisher, ledger) -> None:
    publisher.ledger.reopen(SEGMENTS[0], "test", "to have a second attempt")
    publisher.store.delete(pointer_key(SEGMENTS[0]))
    publish_episode(publisher)
    with pytest.raises(Exception, match=r"UNIQUE|one_winner"):
        change(ledger, "UPDATE attempts SET state = 'done' WHERE state = 'lost'")


def test_a_trail_that_was_cut_off_is_found_against_its_anchor_in_the_store(publisher, farm) -> None:
    assert read_anchor(publisher.store)[0] == 0
    audit(publisher.store, publisher.ledger, repair=True)
    assert read_anchor(publisher.store)[0] == len(publisher.ledger.audit_trail()) == 6
    engine = publisher.ledger.transactions.engine
    drop = (
        "DROP TRIGGER audit_refuses_delete"
        if engine.dialect.name == "sqlite"
        else "ALTER TABLE audit DISABLE TRIGGER USER"
    )
    with engine.begin() as connection:
        connection.execute(text(drop))
        connection.execute(text("DELETE FROM audit WHERE position > 4"))
    (finding,) = audit(publisher.store, publisher.ledger, repair=True)
    assert finding.rule == "audit trail" and not finding.repaired and "its end was cut off" in finding.message
    assert json.loads(publisher.store.get(ANCHOR))["position"] == 6
