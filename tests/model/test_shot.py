"""Slices of a shot's conditions: what each window, step and branch is told."""

from dataclasses import replace

import pytest
import torch

from model.schedule import ScheduleConfig, plan_steps
from model.shot import Prompt, ShotConditions, ShotVoice, at_latents, window_audio
from model.windows import FusionConfig, ShotLatents, Window, plan_windows, shot_latents, window_audio_frames

SHOT = ShotLatents(total=8, kept=8, num_windows=2)
FIRST, SECOND = Window(0, (0, 1, 2, 3)), Window(1, (4, 5, 6, 7))
STEPS = plan_steps(ScheduleConfig(10))


def track(num_frames):
    """Audio whose values are their frame's number, from 1."""
    return torch.arange(1.0, num_frames + 1)[:, None, None, None].expand(num_frames, 2, 3, 2).clone()


def prompt(value):
    return Prompt(torch.full((3, 4), value), torch.ones(3, dtype=torch.int64), torch.full((2,), value))


def voice(**fields):
    return ShotVoice(**{"audio": track(29), "mask": torch.ones(1, 4, 6), **fields})


def conditions(*voices, **fields):
    motion = torch.arange(8.0)[:, None].expand(8, 4)
    base = ShotConditions(
        SHOT, prompt(1.0), prompt(-1.0), torch.zeros(2, 1, 4, 6), voices or (voice(),), motion, -motion
    )
    return replace(base, **fields)


def test_the_negative_prompt_is_read_by_the_unconditional_branch_of_early_steps_alone():
    told = conditions()
    texts = [[float(told.window(FIRST, s, branch).text[0, 0]) for s in STEPS] for branch in ("uncond", "cond")]
    assert texts == [[-1.0] * 2 + [1.0] * 8, [1.0] * 10]
    assert float(told.window(FIRST, STEPS[0], "uncond").pooled[0]) == -1


def test_the_unconditional_branch_is_always_silent():
    for step in STEPS:
        assert not conditions().window(SECOND, step, "uncond").voices[0].audio.any()
        assert conditions().window(SECOND, step, "cond").voices[0].audio.all()


def test_masks_are_weaker_early_in_their_own_precision():
    told = conditions(voice(mask=torch.ones(1, 4, 6, dtype=torch.float16)))
    values = [float(told.window(FIRST, step, "uncond").voices[0].mask.max()) for step in STEPS]
    assert values == [0.60009765625] * 2 + [1.0] * 8


def test_masks_strengths_and_emotions_follow_the_windows_own_latents():
    over_time = torch.arange(8.0)
    told = conditions(
        voice(
            mask=over_time[:, None, None].expand(8, 4, 6) / 8,
            strength=over_time,
            emotion=torch.ones(2, 2, 4, 4),
            emotion_index=(over_time > 5).long(),
            emotion_strength=over_time,
        )
    ).window(SECOND, STEPS[5], "cond")
    heard = told.voices[0]
    assert heard.mask[:, 0, 0].tolist() == [0.5, 0.625, 0.75, 0.875]
    assert heard.strength.tolist() == heard.emotion_strength.tolist() == [4, 5, 6, 7]
    assert heard.emotion_index.tolist() == [0, 0, 1, 1]


def test_one_mask_stands_for_all_latents():
    assert conditions().window(SECOND, STEPS[5], "cond").voices[0].mask.shape == (1, 4, 6)


@pytest.mark.parametrize(("unguided", "early"), [(False, False), (True, True)])
def test_emotion_leaves_the_early_unconditional_branch_with_the_prompt(unguided, early):
    told = conditions(voice(emotion=torch.ones(1, 2, 4, 4)), emotion_unguided=unguided)
    assert (told.window(FIRST, STEPS[0], "uncond").voices[0].emotion is not None) == early
    assert told.window(FIRST, STEPS[0], "cond").voices[0].emotion is not None
    assert told.window(FIRST, STEPS[9], "uncond").voices[0].emotion is not None


def test_motion_is_that_of_the_windows_centre():
    told = conditions().window(SECOND, STEPS[0], "cond")
    assert told.motion_exp.tolist() == [6.0] * 4
    assert told.motion_pose.tolist() == [-6.0] * 4


def test_one_value_stands_for_all_and_the_last_one_holds_on():
    assert at_latents(torch.tensor([3.0]), (0, 7)).tolist() == [3, 3]
    assert at_latents(torch.tensor([3.0, 4.0]), (0, 1, 2)).tolist() == [3, 4, 4]


@pytest.mark.parametrize("mode", ["released", "aligned", "guarded"])
def test_audio_wraps_with_the_latents_and_ends_in_zeros(mode):
    fusion = FusionConfig(mode, 6, 2)
    shot = shot_latents(50, fusion)
    for step in range(4):
        for window in plan_windows(shot, step, fusion):
            heard = window_audio(track(50), window, shot)[:, 0, 0, 0].tolist()
            assert heard == [frame + 1 if frame < 50 else 0 for frame in window_audio_frames(window, shot)]


def test_the_track_itself_is_left_alone():
    audio = track(10)
    window_audio(audio, FIRST, SHOT)
    assert torch.equal(audio, track(10))


def test_every_voice_is_told_in_order():
    told = conditions(voice(), voice(audio=track(29) * 10)).window(FIRST, STEPS[0], "cond")
    assert [float(v.audio[0, 0, 0, 0]) for v in told.voices] == [1, 10]


def test_a_reference_per_place_is_cut_to_the_windows_length():
    reference = torch.arange(6.0)[None, :, None, None].expand(2, 6, 4, 6)
    told = conditions(reference=reference).window(FIRST, STEPS[0], "cond")
    assert told.reference[0, :, 0, 0].tolist() == [0, 1, 2, 3]
