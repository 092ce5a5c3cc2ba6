"""Measures on drawings whose truth is known."""

import io

import numpy as np
import pytest

from tasks import measures
from tasks.profiles import puppet_folder
from tasks.puppet.motion import Acting, Mood
from tasks.puppet.train_probe import probe_rows
from tasks.puppet.voices import mouth_track, normalise_level, speak
from tasks.puppet.world import ClipSpec, draw_clip, draw_plate

SEED = 1 << 41
FRAMES = 60


@pytest.fixture(scope="module")
def probe() -> measures.Probe:
    return measures.load_probe(puppet_folder() / "probe.npz")


@pytest.fixture(scope="module")
def stem() -> np.ndarray:
    return mouth_track(normalise_level(speak(77, 4.0)), 25.0, FRAMES)


@pytest.fixture(scope="module")
def duet(stem: np.ndarray) -> tuple[np.ndarray, np.ndarray, list]:
    quiet = np.zeros_like(stem)
    clip = draw_clip(ClipSpec(SEED, (Acting(stem), Acting(quiet))), 3)
    return clip, *draw_plate(SEED, 2)


def test_the_probe_reads_drawings_that_it_was_not_fitted_on(probe: measures.Probe) -> None:
    features, targets = probe_rows(SEED + 500, 12)
    read = features @ probe.weights
    assert measures.correlation(read[:, 0].astype(np.float64), targets[:, 0]) > 0.85
    assert (read[:, 2:].argmax(axis=1) == targets[:, 2:].argmax(axis=1)).mean() > 0.85  # emotions


def test_a_talking_mouth_follows_its_stem_and_a_silent_one_rests(
    duet: tuple[np.ndarray, np.ndarray, list], stem: np.ndarray, probe: measures.Probe
) -> None:
    clip, plate, boxes = duet
    mouths = [measures.mouth_signal(clip, plate, box, probe) for box in boxes]
    sync = measures.lip_sync(mouths[0], stem[:, 0])
    assert sync.correlation > 0.8 and sync.lag_frames == 0 and sync.chance_95 < 0.6
    assert measures.activity(mouths[1]) < 0.3 * measures.activity(mouths[0])
    table = measures.crosstalk(mouths, [stem[:, 0]])
    assert table.shape == (2, 1) and table[0, 0] > table[1, 0] + 0.4


def test_a_late_mouth_is_found_late(stem: np.ndarray) -> None:
    late = np.concatenate([np.zeros(3), stem[:-3, 0]])
    assert measures.lip_sync(late, stem[:, 0]).lag_frames == 3


def test_identity_error_is_small_against_the_own_plate(duet: tuple[np.ndarray, np.ndarray, list]) -> None:
    clip, plate, boxes = duet
    stranger = draw_plate(SEED + 9, 2)[0]
    own = measures.identity_error(clip, plate, boxes[0])
    assert own < 0.25 * measures.identity_error(clip, stranger, boxes[0])


def test_emotion_is_read_back_from_a_drawing(probe: measures.Probe) -> None:
    still = np.zeros((8, 2))
    for emotion in ("happy", "angry"):
        clip = draw_clip(ClipSpec(SEED + 3, (Acting(still, (Mood(0, emotion),)),)), 1)
        plate, boxes = draw_plate(SEED + 3, 1)
        assert measures.emotion_of(clip, plate, boxes[0], probe) == emotion


def test_a_cut_is_a_seam_and_a_smooth_film_has_none() -> None:
    ramp = np.tile(np.arange(120, dtype=np.uint8)[:, None, None, None], (1, 8, 8, 3))
    assert measures.seam_ratio(ramp, [9, 18]) == pytest.approx(1.0)
    cut = ramp.copy()
    cut[33:] += 10
    assert measures.seam_ratio(cut, [9, 18]) > 3
    assert measures.start_end_jump(ramp) > 50


def test_a_still_background_does_not_flicker(duet: tuple[np.ndarray, np.ndarray, list]) -> None:
    plate, boxes = draw_plate(SEED + 4, 1)
    still = np.repeat(plate[None], 10, axis=0)
    assert measures.flicker(still, boxes) == 0
    noise = np.random.default_rng(0).integers(0, 8, still.shape)
    assert measures.flicker((still // 2 + noise).astype(np.uint8), boxes) > 0.01


def test_a_flat_signal_correlates_with_nothing() -> None:
    assert measures.correlation(np.ones(10), np.arange(10.0)) == 0


def test_a_probe_survives_its_file(probe: measures.Probe) -> None:
    file = io.BytesIO()
    measures.save_probe(probe, file)
    file.seek(0)
    again = measures.load_probe(file)
    assert again.emotions == probe.emotions
    assert np.array_equal(again.weights.astype(np.float16), probe.weights.astype(np.float16))
