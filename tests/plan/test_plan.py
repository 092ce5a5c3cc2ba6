"""The plan is pure, deterministic, and its keys change with what changes pixels and with nothing else."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from tasks.manifest.models import Manifest
from tasks.plan.build import PlanInputs, plan
from tasks.plan.cost import RATES, estimate, forward_flop
from tasks.plan.diff import compare
from tasks.plan.layout import ShotRange, lay_out
from tasks.plan.types import FaceBox, MediaFact, Turn
from tasks.plan.wire import plan_from_json, plan_to_json
from tasks.profiles import PROFILES


def manifest(**changes: object) -> Manifest:
    face = {"x": 0.1, "y": 0.2, "w": 0.3, "h": 0.4}
    ana = {"character": "ana", "face": face, "emotion": {"name": "happy"}}
    text = {
        "version": 1,
        "episode": {"id": "e1", "title": "One", "size": {"width": 192, "height": 128}, "seed": 3},
        "cast": {
            "ana": {
                "name": "Ana",
                "portrait": "ana.png",
                "emotions": {"happy": "happy.png", "sad": "sad.png"},
                "consent": {"kind": "synthetic"},
            }
        },
        "audio": {"stems": {"ana": "ana.wav"}},
        "shots": [
            {"id": "s1", "plate": "p1.png", "duration_seconds": 6, "characters": [ana]},
            {
                "id": "s2",
                "plate": "p2.png",
                "characters": [ana],
                "cues": [{"at_seconds": 1, "character": "ana", "emotion": {"name": "sad", "strength": 0.5}}],
            },
        ],
    }
    text.update(changes)
    return Manifest.model_validate(text)


def facts_of(seconds: float) -> dict[str, MediaFact]:
    pictures = ["ana.png", "happy.png", "sad.png", "p1.png", "p2.png"]
    facts = {name: MediaFact(name, f"sha-{name}", 1) for name in pictures}
    return facts | {"ana.wav": MediaFact("ana.wav", "sha-ana.wav", 1, seconds=seconds)}


def inputs(written: Manifest | None = None, **changes: object) -> PlanInputs:
    written = written or manifest()
    made = PlanInputs(
        manifest=written,
        ranges=lay_out(written, facts_of(10.0)),
        facts=facts_of(10.0),
        voices={("s1", "ana"): "voice-1", ("s2", "ana"): "voice-2"},
        faces={},
        turns=(Turn(0.5, 2.0, "ana"), Turn(5.5, 7.0, "ana")),
        weights_sha256="w",
        mix_sha256="m",
    )
    return replace(made, **changes)


def changed(written: Manifest, **dump: object) -> Manifest:
    return Manifest.model_validate({**written.model_dump(), **dump})


def test_ranges_are_contiguous_and_add_up_to_the_sound():
    ranges = lay_out(manifest(), facts_of(10.02))
    assert ranges == (ShotRange(0, 150), ShotRange(150, 251))


def test_a_shot_without_frames_is_refused():
    with pytest.raises(ValueError, match="s2"):
        lay_out(manifest(), facts_of(5.0))


def test_a_take_of_several_windows_is_cut_into_segments_of_three():
    first = plan(inputs()).shots[0]
    assert [(s.first_window, s.num_windows) for s in first.segments] == [(0, 3), (3, 2)]


def test_json_goes_there_and_back():
    made = plan(inputs())
    assert plan_from_json(plan_to_json(made)) == made


def test_json_of_something_else_is_refused():
    with pytest.raises(ValueError, match="farm plan"):
        plan_from_json("{}")


def test_one_changed_emotion_dirties_exactly_that_shot():
    old = manifest()
    shots = [shot.model_dump() for shot in old.shots]
    shots[0]["characters"][0]["emotion"]["name"] = "sad"
    changes = compare(plan(inputs(old)), plan(inputs(changed(old, shots=shots))))
    assert [(c.shot, c.change) for c in changes] == [("s1", "render"), ("s2", "same")]


def test_a_new_title_or_name_renders_nothing():
    old = manifest()
    episode = {**old.episode.model_dump(), "title": "Two"}
    new = plan(inputs(changed(old, episode=episode)))
    assert {c.change for c in compare(plan(inputs(old)), new)} == {"same"}
    assert new.key != plan(inputs(old)).key


@pytest.mark.parametrize(
    "change", [{"weights_sha256": "x"}, {"voices": {("s1", "ana"): "other", ("s2", "ana"): "voice-2"}}]
)
def test_what_changes_pixels_changes_the_key(change: dict[str, object]):
    assert plan(inputs()).shots[0].key != plan(inputs(**change)).shots[0].key


def test_how_a_shot_is_split_into_segments_does_not_change_its_key():
    old = manifest()
    episode = {**old.episode.model_dump(), "sampler": {"windows_per_segment": 1}}
    one = plan(inputs(changed(old, episode=episode)))
    assert [s.key for s in one.shots] == [s.key for s in plan(inputs(old)).shots]
    assert len(one.shots[0].segments) == 5


def test_turns_of_a_shot_are_cut_at_its_ends():
    made = plan(inputs())
    assert made.shots[0].turns == (Turn(0.5, 2.0, "ana"), Turn(5.5, 6.0, "ana"))
    assert made.shots[1].turns == (Turn(6.0, 7.0, "ana"),)


def test_a_face_left_to_auto_is_the_one_that_was_found():
    old = manifest()
    shots = [shot.model_dump() for shot in old.shots]
    shots[1]["characters"][0]["face"] = "auto"
    found = FaceBox(0.5, 0.1, 0.2, 0.2)
    made = plan(inputs(changed(old, shots=shots), faces={("s2", "ana"): found}))
    assert made.shots[1].characters[0].face == found


def test_flop_of_the_released_size_is_the_specified_11_petaflop():
    flop = forward_flop(PROFILES["avatar"].network, 33, 704, 1216, 831)
    assert flop == pytest.approx(11.24e15, rel=0.01)


def test_cost_grows_with_the_shots():
    made = plan(inputs())
    less = replace(made, shots=made.shots[:1])
    assert 0 < estimate(less, RATES["h100"]).hours < estimate(made, RATES["h100"]).hours


def test_json_is_the_same_bytes_in_another_process_with_another_hash_seed():
    script = "from tests.plan.test_plan import inputs, plan, plan_to_json; print(plan_to_json(plan(inputs())))"
    run = subprocess.run(
        [sys.executable, "-c", script], env={"PYTHONHASHSEED": "7", "PYTHONPATH": "."}, capture_output=True
    )
    assert run.stdout.decode().strip() == plan_to_json(plan(inputs()))
    assert json.loads(run.stdout)["episode"] == "e1"


def test_to_a_network_with_emotions_the_portrait_is_neutral():
    calm = manifest()
    shots = [{**shot.model_dump(), "cues": []} for shot in calm.shots]
    for shot in shots:
        shot["characters"][0]["emotion"] = None
    calm = changed(calm, shots=shots)
    assert plan(inputs(calm)).shots[0].characters[0].emotion_keys == ((0, "sha-ana.png", 1.0),)
    released = changed(calm, episode={**calm.episode.model_dump(), "profile": "avatar"})
    assert plan(inputs(released)).shots[0].characters[0].emotion_keys == ()
