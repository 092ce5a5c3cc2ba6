"""What a published shot leaves behind when whoever had to clear it was killed; and what must not be cleared."""

import time
from dataclasses import replace

import pytest

from db.records import WorkItem
from tasks.exchange import Checkpoints, clear_halos, halo_prefix
from tasks.fsck import audit
from tasks.leftovers import FORGOTTEN_SECONDS, SETTLE_SECONDS, find_leftovers
from tasks.pod import open_pod
from tasks.pointer import find_done, pointer_key
from tasks.progress import Silence
from tasks.reconcile import reconcile
from tasks.rehearsal import Rehearsal, ingest_rehearsal
from tasks.take import clear_take, render_take
from tasks.work import make_shot, segment_item, shot_item


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """A take of three segments, rendered; nothing of it is published as a picture."""
    folder = tmp_path_factory.mktemp("leftovers")
    with open_pod((folder / "store").as_uri(), f"sqlite:///{folder / 'farm.db'}") as pod:
        plan, _ = ingest_rehearsal(folder / "manifest", Rehearsal((3,), steps=3), pod)
        render_take(pod, plan, plan.shots[0], plan.shots[0].segments, Silence())
        yield pod, plan, plan.shots[0], boundary(pod)


@pytest.fixture
def take(rendered):
    """The same with its picture, published by somebody who was killed before it had cleared the take."""
    pod, plan, shot, left = rendered
    make_shot(pod, plan, shot, Silence())
    for key, data in left.items():
        pod.store.put_once(key, data)
    yield pod, plan, shot
    for segment in shot.segments:
        pod.ledger.retry(segment_item(segment), "test", "the next test wants it done")
    render_take(pod, plan, shot, shot.segments, Silence())


def boundary(pod) -> dict[str, bytes]:
    return {s.key: pod.store.get(s.key) for folder in ("halo/", "state/") for s in pod.store.list(folder)}


def prefixes(shot) -> set[str]:
    return {f"{halo_prefix(shot)}/", *(f"state/{segment.key}/" for segment in shot.segments)}


def lose(pod, item: WorkItem) -> None:
    """Have an item rendered again."""
    pod.store.delete(pointer_key(item))
    pod.ledger.reopen(item, "test", "its output is to be made again")


def after(seconds: float) -> float:
    return time.time() + seconds + 1.0


def test_before_the_picture_is_published_all_stays(rendered):
    pod, plan, shot, left = rendered
    if find_done(pod.store, shot_item(plan, shot)):
        lose(pod, shot_item(plan, shot))
    clear_take(pod, plan, shot)
    assert reconcile(pod.store, pod.ledger, after(FORGOTTEN_SECONDS)).cleared == ()
    assert audit(pod.store, pod.ledger, repair=True, now=after(FORGOTTEN_SECONDS)) == []
    assert boundary(pod) == left and prefixes(shot) == {f"{key.rpartition('/step-')[0]}/" for key in left}


def test_a_round_of_reconciling_clears_what_a_killed_worker_could_not(take):
    pod, _, shot = take
    assert reconcile(pod.store, pod.ledger).cleared == ()  # whoever has published may be at it
    assert set(reconcile(pod.store, pod.ledger, after(SETTLE_SECONDS)).cleared) == prefixes(shot)
    assert boundary(pod) == {}
    assert reconcile(pod.store, pod.ledger, after(SETTLE_SECONDS)).cleared == ()


def test_the_same_when_the_picture_is_adopted_in_that_round(take):
    pod, plan, shot = take
    pod.ledger.reopen(shot_item(plan, shot), "test", "as if its worker had died before its last step")
    put_right = reconcile(pod.store, pod.ledger, after(SETTLE_SECONDS))
    assert put_right.adopted == (shot_item(plan, shot),) and set(put_right.cleared) == prefixes(shot)


def test_fsck_names_what_is_left_and_clears_it(take):
    pod, _, shot = take
    assert audit(pod.store, pod.ledger, repair=False) == []
    found = audit(pod.store, pod.ledger, repair=False, now=after(SETTLE_SECONDS))
    assert {(f.rule, f.subject, f.repaired) for f in found} == {("leftovers", p, False) for p in prefixes(shot)}
    assert all(f.repaired for f in audit(pod.store, pod.ledger, repair=True, now=after(SETTLE_SECONDS)))
    assert audit(pod.store, pod.ledger, repair=False, now=after(SETTLE_SECONDS)) == [] and boundary(pod) == {}


def test_what_a_fenced_twin_wrote_after_the_clearing_is_cleared(take):
    pod, plan, shot = take
    clear_take(pod, plan, shot)
    assert boundary(pod) == {}
    pod.store.put_once(f"{halo_prefix(shot)}/step-01/segment-0", b"late")
    assert reconcile(pod.store, pod.ledger, after(SETTLE_SECONDS)).cleared == (f"{halo_prefix(shot)}/",)


def test_a_published_shot_of_which_a_segment_is_rendered_again_keeps_its_messages(take):
    """Its neighbours' messages are what the lost one is computed from."""
    pod, plan, shot = take
    left, lost = boundary(pod), segment_item(shot.segments[1])
    lose(pod, lost)
    clear_take(pod, plan, shot)
    assert reconcile(pod.store, pod.ledger, after(FORGOTTEN_SECONDS)).cleared == ()
    assert audit(pod.store, pod.ledger, repair=True, now=after(FORGOTTEN_SECONDS)) == []
    assert boundary(pod) == left
    render_take(pod, plan, shot, shot.segments, Silence())
    assert set(reconcile(pod.store, pod.ledger, after(SETTLE_SECONDS)).cleared) == prefixes(shot)


def test_another_split_of_the_shot_is_left_alone_until_it_has_been_silent_for_a_day(take):
    """The same shot, divided otherwise, may be rendered for a film in another container."""
    pod, _, shot = take
    other = replace(shot, segments=shot.segments[:2])
    key = f"{halo_prefix(other)}/step-00/segment-0"
    pod.store.put_once(key, b"of another split")
    reconcile(pod.store, pod.ledger, after(SETTLE_SECONDS))
    assert set(boundary(pod)) == {key}
    assert reconcile(pod.store, pod.ledger, after(FORGOTTEN_SECONDS)).cleared == (f"{halo_prefix(other)}/",)


def test_checkpoints_of_a_waived_segment_stay_for_a_day_in_case_it_is_taken_back(take):
    pod, plan, shot = take
    clear_take(pod, plan, shot)
    waived = segment_item(shot.segments[1])
    lose(pod, waived)
    lose(pod, shot_item(plan, shot))
    pod.ledger.waive(waived, "slate", "ada", "it will not come")
    pod.store.put_once(f"state/{waived.key}/step-00", b"half of it")
    assert reconcile(pod.store, pod.ledger, after(SETTLE_SECONDS)).cleared == ()
    assert reconcile(pod.store, pod.ledger, after(FORGOTTEN_SECONDS)).cleared == (f"state/{waived.key}/",)


def test_a_published_shot_whose_record_is_damaged_waits_for_fsck(take):
    pod, plan, shot = take
    record, left = find_done(pod.store, shot_item(plan, shot)).record, boundary(pod)
    pod.store.write_pointer(record.key, b"?" * record.size)
    assert reconcile(pod.store, pod.ledger, after(FORGOTTEN_SECONDS)).cleared == ()
    assert boundary(pod) == left
    assert {f.rule for f in audit(pod.store, pod.ledger, repair=True)} == {"records"}


def test_what_is_no_message_is_not_touched(take):
    pod, _, shot = take
    done = pod.ledger.winners()
    clear_halos(pod.store, shot)
    for segment in shot.segments:
        Checkpoints(pod.store, segment).clear()
    for key in ("halo/stray", "halo/shot/stray", "state/stray", "state/unknown/step-00"):
        pod.store.put_once(key, b"?")
    assert list(find_leftovers(pod.store, pod.ledger, done, after(FORGOTTEN_SECONDS))) == []
    for key in boundary(pod):
        pod.store.delete(key)
