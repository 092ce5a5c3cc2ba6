"""What a shot must be: every fault is found with its place, and a sound shot passes."""

import numpy as np
import pytest
from PIL import Image

from tasks.checks import ShotChecker, ShotFacts, Speaker
from tasks.decode import is_dark
from tasks.errors import CheckFailed
from tasks.plan.types import FaceBox

FACE = FaceBox(0.25, 0.25, 0.5, 0.5)
FPS = 25.0


def lively(count: int, seed: int = 0) -> np.ndarray:
    """Return float frames (count, 64, 96, 3) of a textured scene in which the face's lower half moves."""
    rng = np.random.default_rng(seed)
    scene = 0.2 + 0.5 * rng.random((64, 96, 3), np.float32)
    frames = np.repeat(scene[None], count, axis=0)
    for index in range(count):
        frames[index, 32:48, 24:72] *= 0.7 + 0.3 * np.sin(index)
    return frames


def decoder_form(frames: np.ndarray) -> np.ndarray:
    """Return frames of 0..1 as a decoder hands them over: (n, 3, height, width), -1..1."""
    return np.moveaxis(frames, 3, 1) * 2 - 1


def check(
    frames: np.ndarray, ranges: tuple[tuple[int, int], ...] = ((0, 100),), num_frames: int = 100, pieces: int = 9
):
    speaker = Speaker("ana", FACE, ranges)
    checker = ShotChecker(ShotFacts("two", 100, 96, 64, FPS, (speaker,)))
    for piece in np.array_split(frames, pieces):
        checker.feed(piece if piece.dtype == np.uint8 else decoder_form(piece))
    return checker.verdict()


@pytest.mark.parametrize("pieces", [1, 2, 100])
def test_a_lively_shot_passes_however_it_is_cut(pieces):
    verdict = check(lively(100), pieces=pieces)
    assert verdict.problems == ()
    assert verdict.num_frames == 100
    assert 60 < verdict.mean_level < 140
    verdict.require()


def test_bytes_and_floats_are_judged_alike():
    frames = lively(100)
    as_bytes = check(np.rint(frames * 255).astype(np.uint8))
    assert as_bytes.problems == ()
    assert abs(as_bytes.mean_level - check(frames).mean_level) < 0.5


def test_a_missing_frame_is_found():
    assert check(lively(99)).problems == ("99 frames instead of 100",)


def test_frames_of_another_size_are_found():
    checker = ShotChecker(ShotFacts("two", 2, 96, 64, FPS))
    checker.feed(np.zeros((2, 96, 64, 3), np.uint8))
    assert checker.verdict().problems == ("frames of (96, 64, 3) instead of (64, 96, 3)",)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_no_number_is_found(value):
    frames = lively(100)
    frames[41, 3, 5, 1] = value
    assert check(frames).problems == ("1 frames hold values that are no numbers, the first is frame 41",)


def test_a_diverged_decoder_is_found():
    frames = lively(100)
    frames[50:] *= 9
    assert any("far outside -1..1" in problem for problem in check(frames).problems)


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_black_and_plain_frames_are_found(level):
    frames = lively(100)
    frames[50:60] = level
    assert check(frames).problems == ("10 frames are black or of one colour from 2.00 s on",)


def test_a_flash_of_two_frames_is_no_fault():
    frames = lively(100)
    frames[50:52] = 1.0
    assert check(frames).problems == ()


def test_a_plate_is_dark_by_the_measure_of_frames(tmp_path):
    for name, level, dark in (("night", 2, True), ("wall", 128, True), ("night-club", 4, True)):
        Image.new("RGB", (48, 32), (level, level, level)).save(tmp_path / f"{name}.png")
        assert is_dark((tmp_path / f"{name}.png").read_bytes()) is dark
    picture = Image.new("RGB", (48, 32), (40, 40, 40))
    picture.paste((200, 180, 160), (10, 5, 30, 25))
    picture.save(tmp_path / "lit.png")
    assert not is_dark((tmp_path / "lit.png").read_bytes())


def test_a_dark_plate_may_stay_dark():
    checker = ShotChecker(ShotFacts("night", 10, 96, 64, FPS, dark_plate=True))
    checker.feed(np.zeros((10, 64, 96, 3), np.uint8))
    assert checker.verdict().passed


def test_a_face_that_stands_still_while_it_speaks_is_found():
    frames = lively(100)
    frames[30:70] = frames[30]
    verdict = check(frames)
    assert verdict.problems == ("the face of 'ana' stands still while it speaks from 1.24 s on for 1.56 s",)
    with pytest.raises(CheckFailed, match="shot two: the face of 'ana'"):
        verdict.require()


def test_a_silent_face_may_stand_still():
    frames = lively(100)
    frames[30:70] = frames[30]
    assert check(frames, ranges=((0, 35), (65, 100))).problems == ()


def test_what_moves_elsewhere_does_not_count():
    frames = np.repeat(lively(1), 100, axis=0)
    frames[:, :10] = lively(100, seed=1)[:, :10] * np.linspace(0.5, 1, 100)[:, None, None, None]
    assert any("stands still" in problem for problem in check(frames).problems)
