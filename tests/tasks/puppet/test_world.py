"""The drawn world: deterministic, inside the picture, and every knob shows."""

from dataclasses import replace

import numpy as np
import pytest

from tasks.puppet.expression import EMOTIONS, Expression, express
from tasks.puppet.motion import Acting, Mood, act
from tasks.puppet.world import ClipSpec, draw_clip, draw_plate, draw_portrait, hash_seed, prompt_of, roomy_size, stands


def _acting(frames: int, opened: float, **knobs: float) -> Acting:
    return Acting(np.tile([opened, 0.0], (frames, 1)), **knobs)  # type: ignore[arg-type]


def test_a_seed_draws_the_same_plate_for_ever() -> None:
    first, boxes = draw_plate(7, 2)
    again, same_boxes = draw_plate(7, 2)
    assert np.array_equal(first, again) and boxes == same_boxes
    assert not np.array_equal(first, draw_plate(8, 2)[0])


@pytest.mark.parametrize("characters", [1, 2, 3, 4])
def test_every_face_has_a_box_inside_the_plate_left_to_right(characters: int) -> None:
    for seed in range(12):
        picture, boxes = draw_plate(seed, characters)
        assert picture.shape == (128, 192, 3) and picture.dtype == np.uint8
        assert len(boxes) == characters
        assert all(box.x >= 0 and box.y >= 0 and box.x + box.w <= 1 and box.y + box.h <= 1 for box in boxes)
        assert [box.x for box in boxes] == sorted(box.x for box in boxes)


def test_faces_of_two_are_at_least_48_pixels_high() -> None:
    assert min(box.h * 128 for seed in range(20) for box in draw_plate(seed, 2)[1]) >= 48


def test_three_in_a_roomy_picture_are_as_large_as_two() -> None:
    two, three = draw_plate(5, 2)[1], draw_plate(5, 3, roomy_size(3))[1]
    assert max(box.h for box in three) == max(box.h for box in two)
    assert roomy_size(2) == (192, 128) and roomy_size(4) == (384, 128)


def test_characters_stand_on_the_grid_of_tokens() -> None:
    for characters in (1, 2, 3, 4):
        for place in stands(9, characters, roomy_size(characters)):
            assert place.x * roomy_size(characters)[0] % 16 == 0 and place.y * 128 % 16 == 0


def test_emotions_change_a_portrait_and_strength_zero_does_not() -> None:
    calm = draw_portrait(3, 0, "neutral", size=96).astype(int)
    for emotion in EMOTIONS[1:]:
        assert np.abs(draw_portrait(3, 0, emotion, size=96) - calm).mean() > 0.5
        assert np.array_equal(draw_portrait(3, 0, emotion, 0.0, size=96), calm)
    assert express("happy", 0.0) == Expression()


def test_an_unknown_emotion_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        express("bored")


def test_an_open_mouth_changes_pixels_inside_the_face_alone() -> None:
    shut = draw_clip(ClipSpec(11, (_acting(3, 0.0), _acting(3, 0.0))))
    wide = draw_clip(ClipSpec(11, (_acting(3, 0.9, head=0.5), _acting(3, 0.0))))
    changed = np.abs(shut.astype(int) - wide).max(axis=(0, 3)) > 24
    half = changed.shape[1] // 2
    assert changed[:, :half].any() and not changed[:, half + 12 :].any()


def test_head_knob_zero_holds_the_head_still() -> None:
    still = act(5, _acting(50, 0.5, head=0.0), 25.0)
    lively = act(5, _acting(50, 0.5, head=1.0), 25.0)
    assert np.ptp([face.yaw for face in still]) == 0
    assert np.ptp([face.yaw for face in lively]) > 0.2


def test_a_new_mood_arrives_smoothly() -> None:
    acting = replace(_acting(40, 0.0), moods=(Mood(0, "neutral"), Mood(20, "happy")))
    smiles = [face.smile for face in act(1, acting, 25.0)]
    assert smiles[5] == 0 and smiles[-1] > 0.8 and max(np.diff(smiles)) < 0.5


def test_prompt_words_change_light_and_hair() -> None:
    spec = ClipSpec(21, (_acting(1, 0.0),))
    day, night = draw_clip(spec), draw_clip(replace(spec, light="night"))
    assert night.mean() < 0.8 * day.mean()
    assert prompt_of(replace(spec, light="night", dye="pink")) == "night pink hair"
    assert not np.array_equal(draw_clip(replace(spec, dye="pink")), day)


def test_seeds_of_different_numbers_differ() -> None:
    assert len({hash_seed(1, 2), hash_seed(2, 1), hash_seed(1, 3)}) == 3
