"""A waived segment: what it does to keys, to its neighbours, to the film, and how it is taken back."""

import av
import numpy as np
import pytest

from db.records import WorkItem
from farm.commands.operations import waive
from model.windows import num_latents_for_frames
from tasks.denoise import take_of
from tasks.fill import Fill, draw_slate, latent_of, latents_of
from tasks.ingest import load_plan
from tasks.pod import open_pod
from tasks.pointer import pointer_key
from tasks.progress import Silence
from tasks.register import register
from tasks.rehearsal import Rehearsal, ingest_rehearsal
from tasks.settings import settings
from tasks.take import missing_segments, render_take
from tasks.waivers import apply_waivers, load_order, read_waivers
from tasks.work import export_film, film_item, make_film, make_shot, segment_item


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A farm with a planned take of three segments, which is this process's farm meanwhile."""
    folder = tmp_path_factory.mktemp("waivers")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FARM_DATABASE", f"sqlite:///{folder / 'farm.db'}")
        settings.cache_clear()
        yield from opened(folder)
    settings.cache_clear()


def opened(folder):
    with open_pod((folder / "store").as_uri(), f"sqlite:///{folder / 'farm.db'}") as pod:
        _, order = ingest_rehearsal(folder / "manifest", Rehearsal((3, 1), steps=2), pod)
        yield pod, order, folder


def finish(pod, order, folder):
    """Render what is missing and return the film's frames."""
    plan = load_order(pod, order)
    for shot in plan.shots:
        render_take(pod, plan, shot, shot.segments, Silence())
        make_shot(pod, plan, shot, Silence())
    make_film(pod, plan, order, Silence())
    with av.open(str(export_film(pod, plan, folder))) as film:
        return [frame.to_ndarray(format="rgb24").astype(int) for frame in film.decode(video=0)]


def test_without_waivers_a_plan_is_itself(scene):
    pod, order, _ = scene
    plan = load_plan(pod.store, order)
    assert apply_waivers(plan, {}) is plan


def test_only_the_shot_of_a_waived_segment_and_the_film_get_other_keys(scene):
    pod, order, _ = scene
    plan = load_plan(pod.store, order)
    waived = apply_waivers(plan, {plan.shots[0].segments[1].key: "slate"})
    assert waived.key != plan.key and waived.shots[0].key != plan.shots[0].key
    assert waived.shots[1] == plan.shots[1]
    kept = [a.key == b.key for a, b in zip(waived.shots[0].segments, plan.shots[0].segments, strict=True)]
    assert kept == [False, True, False]


@pytest.mark.parametrize("how", ["slate", "hold-last"])
def test_the_film_is_finished_with_a_waived_segment_and_the_trail_says_so(scene, how):
    pod, order, folder = scene
    plan = load_plan(pod.store, order)
    item = segment_item(plan.shots[0].segments[1])
    pod.ledger.retry(item, "sam", "for the next test")
    pod.ledger.waive(item, how, "sam", "the rain machine broke")
    frames = finish(pod, order, folder / how)
    assert len(frames) == plan.num_frames
    waived = latents_of(plan.shots[0], 1, take_of(plan, plan.shots[0], pod.bundle(plan.profile)))
    missing = [f for f in range(plan.shots[0].num_frames) if latent_of(f) in waived]
    slate = draw_slate("shot s1\nsegment 2/3\nwaived", plan.width, plan.height)[0].astype(int)
    assert len(missing) == 4 * len(waived)
    for frame in missing:
        like_slate = np.abs(frames[frame] - slate).mean()
        like_before = np.abs(frames[frame] - frames[missing[0] - 1]).mean()
        assert (like_slate < like_before) == (how == "slate")
        assert min(like_slate, like_before) < 12
    actions = [(entry.actor, entry.action) for entry in pod.ledger.audit_trail(str(item))]
    assert ("sam", "waived") in actions
    facts = pod.ledger.attempts(shot_of(pod, order))[-1].facts
    assert facts["waived"] == f"segment 1: {how}"


def shot_of(pod, order) -> WorkItem:
    from tasks.work import shot_item

    plan = load_order(pod, order)
    return shot_item(plan, plan.shots[0])


def test_a_waiver_taken_back_renders_the_film_that_was_planned(scene):
    pod, order, folder = scene
    plan = load_plan(pod.store, order)
    item = segment_item(plan.shots[0].segments[1])
    pod.ledger.retry(item, "sam", "the rain machine works again")
    assert load_order(pod, order) == plan
    assert len(missing_segments(pod, plan.shots[0])) == 3  # beside a still they were other segments
    assert missing_segments(pod, plan.shots[1]) == ()
    finish(pod, order, folder / "whole")
    assert pod.ledger.status(film_item(plan)).state == "done"


def test_two_waivers_in_one_shot_are_taken_back_in_any_order(scene):
    pod, order, _ = scene
    plan, name = load_plan(pod.store, order), f"{load_plan(pod.store, order).episode}/s1"
    register(pod.ledger, plan, order)
    for segment in plan.shots[0].segments:
        pod.store.delete(pointer_key(segment_item(segment)))
        pod.ledger.reopen(segment_item(segment), "sam", "for the next test")
    keys = {}
    for index in (0, 1):
        waive(f"{name}/{index}", "slate", "", pod.store.url)
        keys[index] = load_order(pod, order)
    one, both = keys[0], keys[1]
    assert len({plan.key, one.key, both.key}) == 3
    assert read_waivers(pod.ledger, plan) == {s.key: "slate" for s in plan.shots[0].segments[:2]}
    waive(f"{name}/1", "hold-last", "", pod.store.url)
    assert load_order(pod, order).key not in (one.key, both.key)  # another film
    pod.ledger.retry(segment_item(plan.shots[0].segments[0]), "sam", "the first one first")
    left = load_order(pod, order)
    assert read_waivers(pod.ledger, plan) == {plan.shots[0].segments[1].key: "hold-last"}
    assert left.key not in (plan.key, one.key, both.key)
    pod.ledger.retry(segment_item(plan.shots[0].segments[1]), "sam", "and the other")
    assert load_order(pod, order) == plan


def test_a_fill_holds_the_last_good_frame_and_shows_the_slate_only_where_it_is_asked_for():
    frames = np.arange(13, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    fill = Fill({1: "hold-last", 2: "slate"}, still=None, slate=np.full((1, 2, 2, 3), 99, np.uint8))
    shown = np.concatenate([fill.show(frames[:3]), fill.show(frames[3:])])[:, 0, 0, 0].tolist()
    assert shown == [0, 0, 0, 0, 0, 99, 99, 99, 99, 9, 10, 11, 12]
    assert num_latents_for_frames(13) == latent_of(12) + 1
