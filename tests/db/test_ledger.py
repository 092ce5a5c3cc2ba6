"""Who may publish a work item: the same rules on SQLite and PostgreSQL."""

import pytest
from sqlalchemy import text

from db.errors import AlreadyDone, Disagreement, Held, LeaseLost
from db.ledger import Ledger
from db.records import (
    Artifact,
    Behalf,
    Claim,
    Derivation,
    EpisodeEntry,
    Record,
    SegmentEntry,
    ShotEntry,
    WeightsEntry,
    WorkItem,
)

ITEM = WorkItem("segment", "a" * 64)
EPISODE = EpisodeEntry("e" * 64, "pilot", "Pilot", show="late")


def sha(letter: str) -> str:
    return letter * 64


def record(letter: str = "1", seconds: float = 20.0, **more) -> Record:
    artifact = Artifact(sha(letter), 10, "segment_latents", f"objects/{letter * 2}/{sha(letter)}")
    return Record(sha(letter), (artifact,), seconds=seconds, **more)


def claim(ledger: Ledger, worker: str = "w1", lease_seconds: float = 100.0, item: WorkItem = ITEM) -> Claim:
    return ledger.claim(item, worker, lease_seconds, behalf=Behalf(EPISODE.key, "shot"), num_gpus=2)


def states(ledger: Ledger) -> list[tuple[int, str, str]]:
    return [(a.number, a.state, a.failure_class) for a in ledger.attempts(ITEM)]


def test_one_worker_holds_an_item_and_the_next_is_told_for_how_long(ledger, clock) -> None:
    first = claim(ledger)
    clock.seconds += 40
    with pytest.raises(Held, match=r"attempt 1 of w1 holds it for another 60 s"):
        claim(ledger, "w2")
    assert (first.attempt, first.lease_until) == (1, 1_000_100.0)
    status = ledger.status(ITEM)
    assert (status.state, status.worker, status.attempt) == ("running", "w1", 1)


def test_a_lease_that_ran_out_passes_to_the_next_with_a_higher_number(ledger, clock) -> None:
    claim(ledger)
    clock.seconds += 101
    assert claim(ledger, "w2").attempt == 2
    assert states(ledger) == [(1, "lost", "infrastructure"), (2, "running", "")]
    assert "passed over by w2" in ledger.attempts(ITEM)[0].message


def test_a_worker_that_is_known_to_be_gone_need_not_be_waited_for(ledger) -> None:
    claim(ledger)
    assert ledger.pass_over(ITEM, "somebody else", "its process is gone") is False
    assert ledger.pass_over(ITEM, "w1", "its process is gone") is True
    assert ledger.pass_over(ITEM, "w1", "its process is gone") is False
    assert claim(ledger, "w2").attempt == 2
    assert states(ledger) == [(1, "lost", "infrastructure"), (2, "running", "")]


def test_a_renewed_lease_is_held_on(ledger, clock) -> None:
    first = claim(ledger)
    clock.seconds += 90
    assert ledger.renew(first, 100.0) == clock.seconds + 100
    clock.seconds += 90
    with pytest.raises(Held):
        claim(ledger, "w2")


def test_the_late_first_worker_is_fenced_off_everywhere(ledger, clock) -> None:
    late = claim(ledger)
    clock.seconds += 101
    second = claim(ledger, "w2")
    with pytest.raises(LeaseLost, match="attempt 1 is no longer the current one"):
        ledger.renew(late, 100.0)
    with pytest.raises(LeaseLost):
        ledger.finish(late, record("1"))
    assert ledger.fail(late, "bug", "x", 1.0) is False
    ledger.finish(second, record("2"))
    assert states(ledger) == [(1, "lost", "infrastructure"), (2, "done", "")]
    with pytest.raises(LeaseLost):
        ledger.finish(late, record("1"))
    assert ledger.status(ITEM).sha256 == sha("2")


def test_a_lease_that_ran_out_but_that_nobody_took_still_finishes(ledger, clock) -> None:
    first = claim(ledger)
    clock.seconds += 1000
    ledger.finish(first, record())
    assert states(ledger) == [(1, "done", "")]


def test_finishing_twice_changes_nothing(ledger) -> None:
    first = claim(ledger)
    ledger.finish(first, record(metrics={"fps": 2.0}))
    ledger.finish(first, record(metrics={"fps": 2.0}))
    assert len([entry for entry in ledger.audit_trail() if entry.action == "published"]) == 1
    with pytest.raises(AlreadyDone, match=f"done, object {sha('1')}") as refused:
        claim(ledger, "w2")
    assert refused.value.sha256 == sha("1") and refused.value.waived == ""


def test_a_finish_that_stops_before_its_commit_leaves_nothing(ledger) -> None:
    first = claim(ledger)

    def stop() -> None:
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        ledger.finish(first, record(), before_commit=stop)
    assert states(ledger) == [(1, "running", "")]
    assert ledger.audit_trail() == []
    with ledger.transactions.engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM artifacts")).scalar() == 0


def test_a_failed_attempt_frees_the_item_at_once_and_counts(ledger) -> None:
    first = claim(ledger)
    assert ledger.fail(first, "out_of_memory", "needs \x00 80 GB", 12.5) is True
    assert ledger.status(ITEM).state == "failed"
    second = claim(ledger, "w2")
    assert ledger.fail(second, "preempted", "node is leaving", 3.0)
    assert ledger.status(ITEM).state == "pending"
    ledger.finish(claim(ledger, "w3"), record(seconds=30.0))
    usage = ledger.usage(episode=EPISODE.key)
    assert (usage.num_attempts, usage.useful_seconds, usage.wasted_seconds) == (3, 30.0, 15.5)
    assert (usage.useful_gpu_seconds, usage.wasted_gpu_seconds) == (60.0, 31.0)
    assert ledger.attempts(ITEM)[0].message == "needs  80 GB"


def test_a_silent_attempt_wastes_what_it_did_until_its_last_sign_of_life(ledger, clock) -> None:
    first = claim(ledger)
    clock.seconds += 70
    ledger.renew(first, 100.0)
    clock.seconds += 500
    assert ledger.expire() == []  # seen past its lease
    clock.seconds += 100
    assert ledger.expire() == [ITEM] and ledger.expire() == []
    assert ledger.status(ITEM).state == "pending"
    assert [a.wasted_seconds for a in ledger.attempts(ITEM)] == [70.0]


def test_workers_that_could_not_renew_while_the_database_was_away_keep_their_claims(ledger, clock) -> None:
    held = [claim(ledger, f"w{number}", item=WorkItem("segment", f"s{number}")) for number in range(3)]
    clock.seconds += 1000  # the database was away; a round of reconciling is the first to be heard
    assert ledger.expire() == []
    for one in held[:2]:
        ledger.renew(one, 100.0)
    clock.seconds += 99
    assert ledger.expire() == []
    clock.seconds += 1
    assert ledger.expire() == [held[2].item]  # silent a lease after it was first missed
    ledger.renew(held[0], 100.0)
    clock.seconds += 100
    assert ledger.expire() == [held[1].item]


def test_usage_adds_up_by_episode_shot_and_show(ledger) -> None:
    ledger.register_episode(EPISODE)
    ledger.finish(claim(ledger), record(seconds=10.0))
    other = WorkItem("segment", "b")
    ledger.fail(ledger.claim(other, "w", 10.0, behalf=Behalf("other", "elsewhere")), "bug", "", 5.0)
    assert ledger.usage(show="late") == ledger.usage(episode=EPISODE.key) == ledger.usage(shot="shot")
    assert ledger.usage(show="late").useful_seconds == 10.0
    assert (ledger.usage().useful_seconds, ledger.usage().wasted_seconds) == (10.0, 5.0)
    assert ledger.usage(show="none").num_attempts == 0


def test_a_winner_that_only_the_store_knows_is_adopted_once(ledger, clock) -> None:
    dead = claim(ledger)
    clock.seconds += 101
    at_it = claim(ledger, "w2")
    clock.seconds += 7
    ledger.renew(at_it, 100.0)
    assert ledger.adopt(dead, record("1")) is True
    assert ledger.adopt(dead, record("1")) is False
    assert states(ledger) == [(1, "done", ""), (2, "lost", "preempted")], "being overtaken costs no retry"
    assert [a.wasted_seconds for a in ledger.attempts(ITEM)] == [0.0, 7.0]
    with pytest.raises(LeaseLost):
        ledger.finish(at_it, record("2"))
    ledger.finish(dead, record("1"))
    with pytest.raises(Disagreement, match="the ledger's winner is attempt 1"):
        ledger.adopt(at_it, record("2"))


@pytest.mark.parametrize("number", [1, 5])
def test_a_winner_from_before_a_database_was_restored_is_adopted(ledger, number) -> None:
    claim(ledger)
    forgotten = Claim(ITEM, number, "token of old", "w0", 0.0, 0.0)
    assert ledger.adopt(forgotten, record("3"), Behalf(EPISODE.key, "shot"))
    status = ledger.status(ITEM)
    assert (status.state, status.sha256, status.winner) == ("done", sha("3"), max(number, 2))
    assert [a.state for a in ledger.attempts(ITEM)] == ["lost", "done"]


def test_a_done_item_whose_output_is_gone_is_opened_again(ledger) -> None:
    ledger.finish(claim(ledger), record("1", seconds=9.0))
    assert ledger.reopen(ITEM, "fsck", "object is missing") is True
    assert ledger.reopen(ITEM, "fsck", "object is missing") is False
    assert ledger.may_retry(ITEM).allowed
    ledger.finish(claim(ledger, "w2"), record("2", seconds=8.0))
    assert states(ledger) == [(1, "lost", "infrastructure"), (2, "done", "")]
    usage = ledger.usage()
    assert (usage.useful_seconds, usage.wasted_seconds) == (8.0, 9.0)
    assert [entry.action for entry in ledger.audit_trail(str(ITEM))] == ["published", "reopened", "published"]


def test_a_waived_item_is_not_rendered_and_fences_who_is_at_it(ledger) -> None:
    busy = claim(ledger)
    assert ledger.waive(ITEM, "hold-last", "ada", "she looks away") is True
    assert ledger.waive(ITEM, "hold-last", "ada", "again") is False
    with pytest.raises(LeaseLost):
        ledger.finish(busy, record())
    with pytest.raises(AlreadyDone, match="waived with hold-last") as refused:
        claim(ledger, "w2")
    assert refused.value.waived == "hold-last"
    (entry,) = ledger.audit_trail()
    assert (entry.actor, entry.action, entry.subject) == ("ada", "waived", str(ITEM))
    assert entry.detail == '{"why":"she looks away","with":"hold-last"}'


def test_a_waiver_is_taken_back_by_a_retry_and_refused_for_what_is_done(ledger) -> None:
    ledger.waive(ITEM, "slate", "ada", "no time")
    assert ledger.retry(ITEM, "ada", "there is time") is True
    ledger.finish(claim(ledger), record())
    with pytest.raises(AlreadyDone):
        ledger.waive(ITEM, "slate", "ada", "no time")
    with pytest.raises(ValueError, match="hold-last, slate"):
        ledger.waive(ITEM, "blur", "ada", "")
    assert ledger.retry(ITEM, "ada", "x") is False


def test_a_retry_by_a_person_forgives_what_failed_before(ledger) -> None:
    ledger.fail(claim(ledger), "bad_input", "no face on the plate", 1.0)
    assert "1 x bad_input, limit 0" in ledger.may_retry(ITEM).reason
    assert ledger.retry(ITEM, "ada", "new plate") is True
    assert ledger.may_retry(ITEM).allowed
    ledger.fail(claim(ledger), "bad_input", "still none", 1.0)
    assert not ledger.may_retry(ITEM).allowed


def test_the_breaker_of_an_episode_opens_and_is_closed_by_a_person(ledger) -> None:
    ledger.register_episode(EPISODE)
    assert ledger.breaker(EPISODE.key).allowed
    for number in range(6):
        item = WorkItem("segment", f"s{number}")
        ledger.fail(claim(ledger, item=item), "bug", "boom", 1.0)
    verdict = ledger.breaker(EPISODE.key)
    assert not verdict.allowed and "6 of the newest 6 attempts failed on 6 items" in verdict.reason
    ledger.close_breaker(EPISODE.key, "ada", "fixed")
    assert ledger.breaker(EPISODE.key).allowed and ledger.breaker("another").allowed


def test_what_is_planned_can_be_registered_twice(ledger) -> None:
    shots = [ShotEntry(0, "s1", "k1", 0, 100), ShotEntry(1, "s2", "k2", 100, 50), ShotEntry(2, "s3", "k1", 150, 100)]
    segments = [SegmentEntry("g1", 0, 0, 3), SegmentEntry("g2", 1, 3, 2)]
    for new in (True, False):
        assert ledger.register_episode(EPISODE) is new
        ledger.register_shots(EPISODE.key, shots)
        ledger.register_segments("k1", segments)
        ledger.register_segments("k2", [SegmentEntry("g3", 0, 0, 1)])
        ledger.register_weights(WeightsEntry(sha("9"), "puppet", "puppet", 10, "Apache-2.0"))
    assert [status.item.key for status in ledger.items("segment", "pending")] == ["g1", "g2", "g3"]
    assert len(ledger.audit_trail()) == 1


def test_the_newest_plan_of_an_episode_comes_first(ledger, clock) -> None:
    ledger.register_episode(EPISODE)
    clock.seconds += 1
    changed = EpisodeEntry("f" * 64, "pilot", "Pilot, with another emotion")
    ledger.register_episode(changed)
    ledger.register_episode(EpisodeEntry("0" * 64, "second", "Second"))
    assert ledger.episodes("pilot") == [changed, EPISODE]
    assert len(ledger.episodes()) == 3 and ledger.episodes("third") == []


def test_a_plan_that_is_put_back_is_the_newest_again(ledger, clock) -> None:
    changed = EpisodeEntry("f" * 64, "pilot", "Pilot, with another emotion")
    for entry in (EPISODE, changed, EPISODE):
        clock.seconds += 1
        ledger.register_episode(entry)
    assert ledger.episodes("pilot") == [EPISODE, changed]
    assert [entry.action for entry in ledger.audit_trail()] == ["planned", "planned"]


def test_a_plan_of_the_same_key_is_known_by_its_newest_name_and_split(ledger, clock) -> None:
    ledger.register_episode(EPISODE)
    clock.seconds += 1
    renamed = EpisodeEntry(EPISODE.key, "first", "Pilot", show="late", plan_sha256=sha("7"))
    assert ledger.register_episode(renamed) is False
    assert ledger.episodes() == [renamed]


def test_attempts_at_many_items_are_asked_for_at_once(ledger) -> None:
    busy, never = WorkItem("film", "b"), WorkItem("segment", "never tried")
    ledger.fail(claim(ledger), "failed_checks", "frozen while ada speaks", 2.0)
    claim(ledger, "w7", item=busy)
    ledger.fail(claim(ledger), "bug", "boom", 2.0)
    found = ledger.attempts_of([ITEM, busy, never])
    assert [attempt.message for attempt in found[ITEM]] == ["frozen while ada speaks", "boom"]
    assert [(attempt.worker, attempt.state) for attempt in found[busy]] == [("w7", "running")]
    assert never not in found and ledger.attempts(never) == []
    assert [status.item.key for status in ledger.items(state="running")] == ["b"]


def spend(ledger: Ledger, episode: str, shot: str, item: str, seconds: float) -> None:
    held = ledger.claim(WorkItem("segment", item), "w", 100.0, behalf=Behalf(episode, shot), num_gpus=2)
    ledger.fail(held, "bug", "boom", seconds)


def test_what_an_episode_has_cost_counts_every_plan_of_its_name(ledger) -> None:
    edited, other = EpisodeEntry("f" * 64, "pilot", "Pilot"), EpisodeEntry("0" * 64, "second", "Second")
    for entry, shots in ((EPISODE, ("k1", "k2")), (edited, ("k1", "k2 edited")), (other, ("k1", "k2"))):
        ledger.register_episode(entry)
        ledger.register_shots(entry.key, [ShotEntry(n, f"s{n + 1}", key, 0, 1) for n, key in enumerate(shots)])
    spend(ledger, EPISODE.key, "k1", "a", 1.0)
    spend(ledger, EPISODE.key, "k2", "b", 2.0)
    spend(ledger, edited.key, "k2 edited", "c", 4.0)
    spend(ledger, edited.key, "", "film", 8.0)
    spend(ledger, other.key, "k1", "d", 16.0)
    assert ledger.usage(episode=edited.key).wasted_seconds == 12.0
    assert ledger.usage(name_of=edited.key) == ledger.usage(name_of=EPISODE.key) == ledger.usage_by_name()["pilot"]
    assert ledger.usage(name_of=edited.key).gpu_seconds == 30.0
    assert {shot: usage.wasted_seconds for shot, usage in ledger.usage_by_shot(edited.key).items()} == {
        "s1": 1.0,
        "s2": 6.0,
    }
    assert ledger.usage_by_name()["second"].wasted_seconds == 16.0
    spend(ledger, "not written down yet", "k1", "e", 32.0)
    assert ledger.usage(name_of="not written down yet").wasted_seconds == 32.0


def test_many_items_are_asked_for_at_once(ledger) -> None:
    ledger.register_segments("k", [SegmentEntry(f"{n:05d}", n, n, 1) for n in range(1200)])
    items = [WorkItem("segment", f"{n:05d}") for n in range(0, 1300, 2)] + [WorkItem("film", "none")]
    assert len(ledger.statuses(items)) == 600


def test_the_same_bytes_from_two_items_are_one_artifact(ledger) -> None:
    other = WorkItem("condition", "c")
    ledger.finish(claim(ledger), Record(sha("1"), (Artifact(sha("1"), 10, "silence"),)))
    ledger.finish(claim(ledger, item=other), record("1", derivations=(Derivation(sha("1"), sha("2"), "stem"),)))
    assert ledger.status(ITEM).object_key == ledger.status(other).object_key == f"objects/11/{sha('1')}"


def test_a_record_survives_its_journey_through_the_store() -> None:
    full = record("1", 3.5, metrics={"a": 1.5}, facts={"seed": 2**62, "code": "v1", "pod": None})
    full = Record(
        full.sha256, full.artifacts, (Derivation(sha("1"), sha("2"), "x", ITEM, 0.0, 1.5),), full.metrics, full.facts
    )
    assert Record.from_json(full.to_json()) == full
    with pytest.raises(ValueError, match="not a record"):
        Record.from_json(b'{"sha256": "x"}')
    with pytest.raises(ValueError, match="not among its 0 artifacts"):
        Record(sha("1"), ())
    with pytest.raises(ValueError, match="not one of segment, shot, film, condition"):
        WorkItem("frame", "k")
