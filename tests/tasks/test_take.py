"""A take whose messages are gone, and one whose neighbour does not come."""

import threading
from dataclasses import replace

import pytest

from tasks.denoise import shot_denoiser
from tasks.errors import OutOfMemory, WeightsError
from tasks.exchange import Checkpoints, NeighbourFailed, Yielded, clear_halos
from tasks.pod import open_pod
from tasks.pointer import find_done, pointer_key
from tasks.progress import Silence
from tasks.rehearsal import Rehearsal, ingest_rehearsal
from tasks.take import gather_cast, missing_segments, render_alone, render_take, silent_segments, why_gave_up
from tasks.work import segment_item


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    folder = tmp_path_factory.mktemp("take")
    with open_pod((folder / "store").as_uri(), f"sqlite:///{folder / 'farm.db'}") as pod:
        plan, _ = ingest_rehearsal(folder / "manifest", Rehearsal((3,), steps=3), pod)
        yield pod, plan, plan.shots[0]


def test_a_segment_whose_neighbour_does_not_come_keeps_its_step_and_yields(scene):
    pod, plan, shot = scene
    reader = shot.segments[1]  # windows move to the left, so it is the one that reads
    for _ in range(7):  # as often as a crowded pool makes it
        with pytest.raises(Yielded, match="saved its step"):
            render_alone(pod, plan, shot, reader, Silence(), 0.0, shot_denoiser)
    assert Checkpoints(pod.store, reader).num_done() == 1
    assert {attempt.failure_class for attempt in pod.ledger.attempts(segment_item(reader))} == {"preempted"}
    assert pod.ledger.may_retry(segment_item(reader)).allowed


def test_a_segment_whose_neighbour_has_failed_for_good_holds_no_pod(scene):
    pod, plan, shot = scene
    neighbour, reader = shot.segments[0], shot.segments[1]
    claim = pod.ledger.claim(segment_item(neighbour), "w", 60.0)
    pod.ledger.fail(claim, "bug", "it is broken", 1.0)
    for waiting in (reader, shot.segments[2]):  # the last one waits for a neighbour that waits for the broken one
        with pytest.raises(NeighbourFailed, match="segment 0 of this take has failed: 1 x bug, limit 0"):
            render_alone(pod, plan, shot, waiting, Silence(), 600.0, shot_denoiser)
        assert pod.ledger.may_retry(segment_item(waiting)).allowed
    pod.ledger.retry(segment_item(neighbour), "sam", "mended")
    assert why_gave_up(pod, shot) == ""


def test_what_fails_while_the_network_is_loaded_counts_against_its_limit(scene):
    pod, plan, shot = scene
    before = len(pod.ledger.attempts(segment_item(shot.segments[2])))

    def tell(*_):
        raise OutOfMemory("13 billion parameters do not fit")

    with pytest.raises(OutOfMemory):
        render_alone(pod, plan, shot, shot.segments[2], Silence(), 0.0, tell)
    attempts = pod.ledger.attempts(segment_item(shot.segments[2]))
    assert [attempt.failure_class for attempt in attempts[before:]] == ["out_of_memory"]


def test_done_segments_speak_again_when_a_lost_one_needs_their_latents(scene):
    pod, plan, shot = scene
    assert render_take(pod, plan, shot, shot.segments, Silence()) == 3
    assert silent_segments(pod, plan, shot) == ()  # nobody needs them
    lost = segment_item(shot.segments[1])
    before = find_done(pod.store, lost).object
    pod.store.delete(pointer_key(lost))
    pod.store.delete(before.key)
    Checkpoints(pod.store, shot.segments[1]).clear()
    clear_halos(pod.store, shot)
    assert [s.index for s in missing_segments(pod, shot)] == [1]
    assert silent_segments(pod, plan, shot)[0] == shot.segments[0]
    assert render_take(pod, plan, shot, shot.segments, Silence()) == 1
    assert find_done(pod.store, lost, verify=True).object.sha256 == before.sha256


def test_a_worker_with_other_weights_than_planned_renders_nothing(scene):
    pod, plan, shot = scene
    other = replace(plan, weights_sha256="0" * 64)
    with pytest.raises(WeightsError, match=r"planned for weights [0-9]+-000000000000, this worker has"):
        gather_cast(pod, other, shot, threading.Event())
