"""Directions of the paper's claims on the shipped weights, on identities and voices never trained on."""

from dataclasses import replace

import numpy as np
import pytest

from model.windows import FusionConfig
from tasks import measures
from tasks.puppet import ablate, long_takes
from tasks.puppet.injection import injection_modes
from tasks.puppet.long_takes import take_of
from tasks.puppet.perform import Film, Performance, Role, perform
from tasks.puppet.trial import HELD_OUT, Stage, duet, envelope, mouths, open_stage, silence
from tasks.puppet.world import roomy_size

FRAMES = 65


@pytest.fixture(scope="module")
def stage() -> Stage:
    return open_stage(cases=2)


def _duets(stage: Stage, **changes: object) -> list[tuple[Film, np.ndarray]]:
    plays = [duet(case, stage, **changes) for case in range(2)]
    return [(perform(play, stage.parts), play.roles[0].samples) for play in plays]


@pytest.fixture(scope="module")
def spoken(stage: Stage) -> list[tuple[Film, np.ndarray]]:
    return _duets(stage)


def _activity(films: list[tuple[Film, np.ndarray]], face: int, stage: Stage) -> float:
    return float(np.mean([measures.activity(mouths(film, stage)[face]) for film, _ in films]))


def test_the_speaker_talks_with_its_stem_and_its_neighbour_rests(
    spoken: list[tuple[Film, np.ndarray]], stage: Stage
) -> None:
    syncs = [measures.lip_sync(mouths(film, stage)[0], envelope(heard, FRAMES)) for film, heard in spoken]
    assert np.mean([sync.correlation for sync in syncs]) > np.mean([sync.chance_95 for sync in syncs])
    assert abs(np.median([sync.lag_frames for sync in syncs])) <= 1
    assert _activity(spoken, 1, stage) < 0.5 * _activity(spoken, 0, stage)


def test_a_moved_mask_moves_the_voice_and_no_mask_lets_both_talk(
    spoken: list[tuple[Film, np.ndarray]], stage: Stage
) -> None:
    moved = _duets(stage, mask_order=(1, 0))
    assert _activity(moved, 1, stage) > _activity(moved, 0, stage)
    everywhere = _duets(stage, masked=False)
    assert _activity(everywhere, 1, stage) > 1.5 * _activity(spoken, 1, stage)


def test_an_emotion_picture_of_somebody_else_is_felt(stage: Stage) -> None:
    def read(emotion: str) -> np.ndarray:
        play = Performance(HELD_OUT + 100, (Role(stage.voices[0], emotion),), 33)
        film = perform(play, stage.parts)
        return measures.probe_face(film.frames, film.plate, film.boxes[0], stage.probe)[:, 2:].mean(axis=0)

    names = stage.probe.emotions
    happy, angry, none = read("happy"), read("angry"), read("")
    assert happy[names.index("happy")] > none[names.index("happy")]
    assert angry[names.index("angry")] > happy[names.index("angry")]


def test_the_face_stays_its_own(spoken: list[tuple[Film, np.ndarray]]) -> None:
    own = [measures.identity_error(film.frames, film.plate, film.boxes[0]) for film, _ in spoken]
    others = [spoken[1 - i][0].plate for i in range(2)]
    strange = [measures.identity_error(f.frames, p, f.boxes[0]) for (f, _), p in zip(spoken, others, strict=True)]
    assert np.mean(own) < 0.35 * np.mean(strange)


def test_position_shift_hides_the_seams_of_hard_cuts_at_the_same_price(stage: Stage) -> None:
    shift = FusionConfig("guarded", 9, 2, max_window_latents=13)
    play = Performance(HELD_OUT + 200, (Role(silence(161), "neutral"),), 161, fusion=shift)
    cuts, cut_calls = take_of(replace(play, fusion=replace(shift, shift_latents=0)), "hard cuts", stage)
    soft, soft_calls = take_of(play, "position shift", stage)
    seams = range(9, 41, 9)
    assert measures.seam_ratio(soft.frames, seams) < measures.seam_ratio(cuts.frames, seams)
    assert soft_calls == cut_calls


def test_the_dearer_ways_to_hide_a_seam_call_the_network_more_often(stage: Stage) -> None:
    shift = long_takes.SHIFT
    play = Performance(HELD_OUT + 201, (Role(silence(97), "neutral"),), 97, fusion=shift)
    _, plain = take_of(play, "position shift", stage)
    for name in ("overlap blend", "motion frames"):
        film, calls = take_of(play, name, stage)
        assert calls > plain and len(film.frames) == 97


def test_three_in_a_wide_picture_keep_their_turns(stage: Stage) -> None:
    roles = (Role(silence(), "neutral"), Role(stage.voices[0], "neutral"), Role(silence(), "neutral"))
    film = perform(Performance(HELD_OUT + 50, roles, FRAMES, size=roomy_size(3)), stage.parts)
    left, middle, right = mouths(film, stage)
    assert measures.correlation(middle, envelope(stage.voices[0], FRAMES)) > 0.4
    assert max(measures.activity(left), measures.activity(right)) < 0.5 * measures.activity(middle)


def test_every_knob_moves_what_it_names(stage: Stage) -> None:
    def figures(**changes: object) -> dict[str, float]:
        return ablate.knob_figures(perform(duet(0, stage, **changes), stage.parts), stage)

    def voiced(strength: float) -> dict[str, float]:
        return figures(roles=(Role(stage.voices[0], "neutral", voice=strength), Role(silence(), "neutral")))

    plain = figures()
    assert figures(prompt="night")["light"] < 0.85 * plain["light"]
    blue, pink = figures(prompt="blue hair"), figures(prompt="pink hair")
    assert min(blue["hair blue"], pink["hair blue"]) > plain["hair blue"]  # a blonde
    assert pink["hair red"] > blue["hair red"] + 0.2
    assert figures(head=1.0)["face moves"] > figures(head=0.0)["face moves"]
    assert voiced(1.5)["mouth"] > voiced(0.4)["mouth"]


def test_the_caches_change_little(stage: Stage) -> None:
    play = duet(0, stage, steps=14, num_frames=49)  # windows that move, two steps of stored features
    exact = perform(play, stage.parts).frames.astype(float)
    changes = ({"cache": "residual"}, {"cache": "released"}, {"cache": "released", "hold_shift": False})
    films = [perform(replace(play, **change), stage.parts).frames for change in changes]
    assert [np.abs(film - exact).mean() / 255 < 0.02 for film in films] == [True] * 3
    assert not np.array_equal(films[1], films[2])  # where windows hold, they stand elsewhere afterwards


def test_every_way_to_inject_the_picture_learns_from_it(stage: Stage) -> None:
    rows = list(injection_modes(stage, steps=(5, 30), clips=4))
    assert [row.name for row in rows] == ["token", "token + channel", "token + add"]
    assert all(row.values["error at 30"] < row.values["error at 5"] for row in rows)


def test_few_steps_come_close_to_many(spoken: list[tuple[Film, np.ndarray]], stage: Stage) -> None:
    many = perform(duet(0, stage, steps=14), stage.parts)
    one = perform(duet(0, stage, steps=1), stage.parts)
    near, far = (np.square(film.frames.astype(float) - many.frames).mean() for film in (spoken[0][0], one))
    assert near < far


def test_the_silent_film_has_no_speaker(stage: Stage) -> None:
    quiet = Performance(HELD_OUT, (Role(silence(), "neutral"), Role(silence(), "neutral")), FRAMES)
    film = perform(quiet, stage.parts)
    assert max(measures.activity(mouth) for mouth in mouths(film, stage)) < 0.08


def test_an_unknown_group_is_named() -> None:
    with pytest.raises(ValueError, match="no ablation"):
        list(ablate.run_ablations(None, 1, ("nothing",)))
