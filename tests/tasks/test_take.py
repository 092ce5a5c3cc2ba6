"""A take whose messages are gone, and one whose neighbour does not come."""

from dataclasses import replace

import pytest

from tasks.errors import WeightsError
from tasks.exchange import Checkpoints, Yielded, clear_halos
from tasks.pod import open_pod
from tasks.pointer import find_done, pointer_key
from tasks.progress import Silence
from tasks.rehearsal import Rehearsal, ingest_rehearsal
from tasks.take import gather_cast, missing_segments, render_take, silent_segments
from tasks.work import make_segment, segment_item


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    folder = tmp_path_factory.mktemp("take")
    with open_pod((folder / "store").as_uri(), f"sqlite:///{folder / 'farm.db'}") as pod:
        plan, _ = ingest_rehearsal(folder / "manifest", Rehearsal((3,), steps=3), pod)
        yield pod, plan, plan.shots[0]


def test_a_segment_whose_neighbour_does_not_come_keeps_its_step_and_yields(scene):
    pod, plan, shot = scene
    reader = shot.segments[1]  # windows move to the left, so it is the one that reads
    cast = gather_cast(pod, plan, shot, wait_seconds=0.0)
    with pytest.raises(Yielded, match="saved its step"):
        make_segment(pod, plan, shot, reader, cast.denoiser, cast.exchange, Silence())
    assert Checkpoints(pod.store, reader).num_done() == 1
    assert pod.ledger.may_retry(segment_item(reader)).allowed


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
        gather_cast(pod, other, shot)
