"""Every figure on chaos's board can be other than 0: a farm that is sound, and then what is done to it."""

import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from db.ledger import open_ledger
from db.records import WorkItem
from tasks.chaos.diary import Beliefs, Diary, read_beliefs
from tasks.chaos.expected import expect_toy
from tasks.chaos.place import Place, WatchedStore
from tasks.chaos.run import KEYS, STORE
from tasks.chaos.score import keep_score
from tasks.chaos.servers import HANG_SECONDS, TIMEOUT_SECONDS, Faults, object_store
from tasks.chaos.toy import ToyDenoiser, ToyPod, make_picture, make_toy_film
from tasks.errors import ObjectMissing
from tasks.exchange import StoreExchange, halo_prefix
from tasks.pointer import find_done, pointer_key
from tasks.progress import Silence
from tasks.publish import Publisher
from tasks.rehearsal import Rehearsal, ingest_rehearsal
from tasks.store import open_store
from tasks.store.faults import Fault
from tasks.store.s3 import S3Store
from tasks.take import clear_take
from tasks.work import Cast, make_segment
from tests.db.trail import add_row

ITEM = WorkItem("film", "f" * 32)


@pytest.fixture
def farm(tmp_path):
    """A film of two shots of a segment each, finished by one toy worker."""
    store, ledger = open_store((tmp_path / "store").as_uri()), open_ledger(f"sqlite:///{tmp_path / 'farm.db'}")
    pod = ToyPod(store, ledger, Publisher(store, ledger, "w1", tmp_path / "scratch"))
    plan, order = ingest_rehearsal(tmp_path / "manifest", Rehearsal((1, 1), steps=3), pod)
    for shot in plan.shots:
        cast = Cast(ToyDenoiser(), StoreExchange(store, halo_prefix(shot)))
        make_segment(pod, plan, shot, shot.segments[0], lambda cast=cast: cast, Silence())
        make_picture(pod, plan, shot)
        clear_take(pod, plan, shot)
    make_toy_film(pod, plan)
    yield SimpleNamespace(store=store, ledger=ledger, plan=plan, expected=expect_toy(order, plan), beliefs=Beliefs())
    ledger.close()


def score_of(farm):
    return keep_score(farm.store, farm.ledger, [farm.expected], farm.beliefs)


def lose_a_segment(farm):
    pointer = find_done(farm.store, next(iter(farm.expected.segments)))
    farm.store.delete(pointer.object.key)


def lose_the_film(farm):
    farm.store.delete(pointer_key(farm.expected.film))


def expect_other_bytes(farm):
    farm.expected = replace(farm.expected, segments=dict.fromkeys(farm.expected.segments, "0" * 64))


def let_two_believe(farm):
    farm.beliefs.winners[str(farm.expected.film)] |= {"w1", "w2"}


def meet_an_error(farm):
    farm.beliefs.unexpected["CheckFailed"] += 1


def publish_twice(farm):
    add_row(farm.ledger, "published", str(farm.expected.film), {})


def leave_a_message(farm):
    farm.store.put_once(f"halo/{farm.plan.shots[0].key}/another-split/step-00/segment-0", b"latents")


def leave_a_step(farm):
    farm.store.put_once(f"state/{farm.plan.shots[1].segments[0].key}/step-01", b"latents")


def damage_the_film(farm):
    farm.store.delete(find_done(farm.store, farm.expected.film).record.key)


def test_a_sound_farm_is_clean(farm):
    score = score_of(farm)
    assert score.clean and (score.segments, score.films, score.attempts, score.wasted_attempts) == (2, 1, 5, 0)


@pytest.mark.parametrize(
    ("spoil", "figure"),
    [
        (lose_a_segment, "lost"),
        (lose_the_film, "wrong_films"),
        (expect_other_bytes, "wrong"),
        (let_two_believe, "two_winners"),
        (meet_an_error, "unexpected"),
        (publish_twice, "duplicate_lineage"),
        (leave_a_message, "leftovers"),
        (damage_the_film, "findings"),
    ],
)
def test_every_figure_can_be_other_than_nought(farm, spoil, figure):
    spoil(farm)
    score = score_of(farm)
    assert getattr(score, figure) and not score.clean


def test_a_step_left_behind_is_cleared_by_the_last_reconciling(farm):
    leave_a_step(farm)
    assert score_of(farm).leftovers == 0


def test_a_deleted_record_allows_one_more_winner(farm):
    let_two_believe(farm)
    farm.beliefs.deleted[str(farm.expected.film)] += 1
    assert score_of(farm).two_winners == 0
    farm.beliefs.winners[str(farm.expected.film)].add("w3")
    assert score_of(farm).two_winners == 1


@pytest.mark.parametrize(("lies", "two_winners"), [(False, 0), (True, 1)])
def test_a_store_that_tells_two_workers_that_each_has_won_is_seen(tmp_path, monkeypatch, lies, two_winners):
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    honest = S3Store.put_once
    monkeypatch.setattr(S3Store, "put_once", lambda *given: honest(*given) or lies)
    with object_store(Faults(0.0, seed=1)) as (_, sound):
        place = Place(STORE, sound, "", 60.0, str(tmp_path))
        for name in ("w1", "w2"):
            WatchedStore(place, Diary(place.diaries, name)).put_once(pointer_key(ITEM), name.encode())
    assert read_beliefs(place.diaries).two_winners() == two_winners


def test_a_swapped_pointer_is_a_win_and_other_objects_are_none(tmp_path, monkeypatch):
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    with object_store(Faults(0.0, seed=1)) as (_, sound):
        place = Place(STORE, sound, "", 60.0, str(tmp_path))
        store = WatchedStore(place, Diary(place.diaries, "w1"))
        store.put_once("halo/a/b", b"latents")
        store.write_pointer(pointer_key(ITEM), b"old")
        assert not store.swap_pointer(pointer_key(ITEM), b"other", b"new")
        assert not read_beliefs(place.diaries).winners
        assert store.swap_pointer(pointer_key(ITEM), b"old", b"new")
    assert read_beliefs(place.diaries).winners == {str(ITEM): {"w1"}}


def test_what_nobody_expected_is_counted_by_its_name(tmp_path):
    Diary(tmp_path, "w1").error(ObjectMissing("object a: not in the store"))
    Diary(tmp_path, "w2").error(ObjectMissing("object b: not in the store"))
    assert read_beliefs(tmp_path).unexpected == {"ObjectMissing": 2}


def test_a_client_runs_into_its_own_time_out(tmp_path, monkeypatch):
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    assert TIMEOUT_SECONDS < HANG_SECONDS
    monkeypatch.setattr("tasks.chaos.place.TIMEOUT_SECONDS", 0.2)
    faults = Faults(0.0, seed=1)
    one = iter([Fault.TIMEOUT])
    monkeypatch.setattr(faults, "choose", lambda *_: next(one, None))
    with object_store(faults) as (broken, sound):
        open_store(STORE, endpoint=sound).put_once("a", b"1")
        begun = time.monotonic()
        assert WatchedStore(Place(STORE, broken, "", 60.0, str(tmp_path)), Diary(tmp_path, "w1")).get("a") == b"1"
        assert time.monotonic() - begun < HANG_SECONDS
