"""Other projects' manifests: what they mean, and the episode they become."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from PIL import Image

from tasks.errors import MediaError
from tasks.manifest.models import Manifest
from tasks.plan.types import FaceBox
from tasks.script.draft import draft_from_peers, draft_from_script
from tasks.script.peers import parse_anytalker, parse_multitalk, parse_released_csv, row_first_box
from tasks.script.read import read_script
from tasks.script.write import pad_stems, sound_seconds, write_manifest

DATA = Path(__file__).parents[2] / "data" / "script"
SIZE = (192, 128)


@pytest.fixture
def folder(tmp_path):
    for name in ("multitalk_two.json", "infinitetalk_one.json", "anytalker_batch.json", "released.csv"):
        (tmp_path / name).write_bytes((DATA / name).read_bytes())
    Image.new("RGB", SIZE).save(tmp_path / "plate.png")
    tone = 0.1 * np.sin(np.arange(16_000) / 20)
    soundfile.write(tmp_path / "ana.wav", tone, 16_000)
    soundfile.write(tmp_path / "ben.wav", tone[:8000], 16_000)
    return tmp_path


def test_multitalk_boxes_are_rows_first(folder):
    (shot,) = read_script(folder / "multitalk_two.json")
    assert [voice.character for voice in shot.voices] == ["person1", "person2"]
    assert shot.voices[1].face == FaceBox(
        round(110 / 192, 4), round(24 / 128, 4), round(70 / 192, 4), round(68 / 128, 4)
    )
    assert shot.order == "in_turn"


def test_a_box_with_swapped_axes_is_refused_with_the_hint():
    with pytest.raises(ValueError, match="write rows first"):
        row_first_box([110, 24, 180, 92], 192, 128)
    with pytest.raises(ValueError, match="not four numbers"):
        row_first_box([1, 2, 3], 192, 128)


def test_infinitetalk_takes_a_video_as_its_picture(folder):
    (shot,) = read_script(folder / "infinitetalk_one.json")
    assert (shot.picture, shot.voices[0].face, shot.order) == ("plate.png", None, "together")


def test_anytalker_binds_sounds_from_left_to_right(folder):
    together, in_turn = read_script(folder / "anytalker_batch.json")
    assert [voice.audio for voice in together.voices] == ["ana.wav", "ben.wav"]
    assert (together.order, in_turn.order) == ("together", "in_turn")
    assert in_turn.prompt == "One after the other."


def test_the_released_csv_is_read_with_its_byte_order_mark(folder):
    first, second = read_script(folder / "released.csv")
    assert (first.id, second.id) == ("1", "1_2")
    assert first.prompt == "A woman, laughing, in a kitchen."


@pytest.mark.parametrize(
    "name", ["multitalk_two.json", "infinitetalk_one.json", "anytalker_batch.json", "released.csv"]
)
def test_every_peer_manifest_becomes_an_episode(folder, name):
    shots = read_script(folder / name)
    seconds = sound_seconds(folder, [voice.audio for shot in shots for voice in shot.voices])
    out = folder / "made" / "episode.yaml"
    write_manifest(draft_from_peers(shots, seconds, "imported"), out)
    manifest = Manifest.model_validate(yaml.safe_load(out.read_text()))
    assert [shot.id for shot in manifest.shots] == [shot.id for shot in shots]
    assert all(set(shot.stems) == {who.character for who in shot.characters} for shot in manifest.shots)


def test_voices_that_follow_each_other_are_padded_to_their_place(folder):
    shots = read_script(folder / "multitalk_two.json")
    seconds = sound_seconds(folder, ["ana.wav", "ben.wav"])
    first, second = pad_stems(shots, seconds, folder, folder / "made")
    ana, ben = soundfile.read(first)[0], soundfile.read(second)[0]
    assert len(ana) == len(ben) == 24_000
    assert not ana[16_000:].any() and not ben[:16_000].any() and ben[16_000:].any()


@pytest.mark.parametrize(
    "parse, text, says",
    [
        (lambda text: parse_multitalk(text, lambda name: SIZE), "{", "is not JSON"),
        (lambda text: parse_multitalk(text, lambda name: SIZE), '{"cond_image": "a.png"}', "none of cond_audio"),
        (
            lambda text: parse_multitalk(text, lambda name: SIZE),
            '{"cond_image": "a.png", "cond_audio": {"person1": "a.wav"}, "bbox": {"person2": [0, 0, 9, 9]}}',
            "give both the same people",
        ),
        (parse_anytalker, '[{"prompt": "x"}]', "item 1: has none of cond_image"),
        (parse_released_csv, "videoid,image\n1,a.png\n", "no column audio"),
        (parse_released_csv, "videoid,image,audio,prompt,fps\n1,a.png,,x,25\n", "2: a row needs an image"),
    ],
)
def test_what_is_missing_is_named(parse, text, says):
    with pytest.raises(ValueError, match=says):
        parse(text)


def test_boxes_without_their_picture_say_why_it_is_needed(folder):
    (folder / "plate.png").unlink()
    with pytest.raises(MediaError, match="the picture is needed"):
        read_script(folder / "multitalk_two.json")


def test_an_unknown_ending_lists_the_known_ones(folder):
    (folder / "script.docx").write_text("x")
    with pytest.raises(MediaError, match=r"known are \.fountain"):
        read_script(folder / "script.docx")


def test_a_script_becomes_an_episode_with_emotion_cues():
    from dataclasses import replace

    from tasks.cuts import CutBounds
    from tasks.script.pace import pace, shots_of

    script = read_script(DATA / "kitchen.fountain")
    script = replace(script, lines=pace(script.lines))
    _, frames = shots_of(script, script.lines[-1].end_seconds + 1, 25, CutBounds(2, 8))
    manifest = Manifest.model_validate(draft_from_script(script, "kitchen", frames))
    assert set(manifest.cast) == {"ana", "ben", "mcfly"}
    assert set(manifest.cast["ben"].emotions) == {"happy", "sad"}
    cues = [(cue.character, cue.emotion.name) for shot in manifest.shots for cue in shot.cues]
    assert ("ana", "angry") in cues and ("ben", "sad") in cues
    assert len(manifest.shots) >= 2
