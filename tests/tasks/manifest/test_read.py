"""Reading reports every layer's faults at once, and no fault causes another."""

import json
import os
import re
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from studio_media import draw_plate, make_media

from tasks.errors import ManifestError, StoreError
from tasks.manifest.models import Manifest
from tasks.manifest.read import read_manifest
from tasks.manifest.times import shot_spans, sound_seconds

TODAY = date(2026, 11, 20)
BASE = Path(__file__).parents[2] / "conformance" / "pass" / "01-two-shots.yaml"


@pytest.fixture
def studio(tmp_path: Path) -> Path:
    make_media(tmp_path / "studio")
    return tmp_path / "studio"


def write(studio: Path, text: str, name: str = "episode.yaml") -> Path:
    (studio / name).write_text(text)
    return studio / name


def faults_of(path: Path) -> list[tuple[str, str]]:
    with pytest.raises(ManifestError) as refused:
        read_manifest(path, today=TODAY)
    return [(fault.where, fault.rule) for fault in refused.value.faults]


def test_faults_of_all_layers_are_told_at_once(studio):
    text = BASE.read_text()
    for old, new in [
        ("title: Pilot", "title: 7"),  # a single value
        ("portrait: pictures/ben.png", "portrait: pictures/bne.png"),  # a file
        ("emotion: {name: happy}", "emotion: {name: hapy}"),  # between fields
        ("duration_seconds: 2", "duration_seconds: 6"),  # time against sound
        ("mix: sound/mix.wav", "mix: sound/mix-37k.wav"),  # sound against film
        ("id: one", "id: two"),
    ]:
        assert old in text
        text = text.replace(old, new)
    assert faults_of(write(studio, text)) == [
        ("episode.title", "wrong-type"),
        ("cast.ben.portrait", "media-missing"),
        ("audio.mix", "mix-sample-rate"),
        ("shots[0]", "shot-past-sound"),
        ("shots[1]", "shot-after-sound"),
        ("shots[1].id", "duplicate-shot"),
        ("shots[1].characters[0].emotion.name", "unknown-emotion"),
    ]


def test_a_faulty_entry_causes_no_faults_elsewhere(studio):
    text = (
        BASE.read_text().replace("    portrait: pictures/ana.png\n", "").replace("character: ben,", "charakter: ben,")
    )
    assert faults_of(write(studio, text)) == [
        ("cast.ana.portrait", "missing-field"),
        ("shots[0].characters[1].character", "missing-field"),
        ("shots[0].characters[1].charakter", "unknown-field"),
    ]


def test_places_stay_right_when_entries_before_them_are_faulty(studio):
    text = (
        BASE.read_text()
        .replace("  - id: two\n", "  - id: Two\n")
        .replace("emotion: {name: happy}", "emotion: {name: hapy}")
    )
    assert faults_of(write(studio, text)) == [
        ("shots[0].id", "bad-name"),
        ("shots[1].characters[0].emotion.name", "unknown-emotion"),
    ]


def test_faults_in_the_head_do_not_hide_those_below(studio):
    text = BASE.read_text().replace("version: 1", "version: 3").replace("{width: 192, height: 128}", "{width: 190}")
    text = text.replace("  id: pilot\n", "").replace("emotion: {name: happy}", "emotion: {name: hapy}")
    text = text.replace("portrait: pictures/ben.png", "portrait: pictures/square.wav")
    assert faults_of(write(studio, text)) == [
        ("version", "version"),
        ("episode.id", "missing-field"),
        ("episode.size.height", "missing-field"),
        ("episode.size.width", "not-a-multiple"),
        ("cast.ben.portrait", "media-missing"),
        ("shots[1].characters[0].emotion.name", "unknown-emotion"),
    ]


def test_without_a_cast_the_rest_is_still_judged(studio):
    head, tail = BASE.read_text().split("cast:\n")
    text = (
        head + "cast: {}\naudio:\n" + tail.split("audio:\n")[1].replace("plate: pictures/plate.png", "plate: no.png", 1)
    )
    found = faults_of(write(studio, text))
    assert ("cast", "too-short") in found
    assert ("shots[0].plate", "media-missing") in found
    assert {rule for _, rule in found} == {"too-short", "media-missing", "unknown-character", "stem-without-character"}


def test_a_fault_names_the_nearest_name(studio):
    path = write(studio, BASE.read_text().replace("emotion: {name: happy}", "emotion: {name: hapy}"))
    with pytest.raises(ManifestError, match=r"'ana' has no picture of emotion 'hapy'; did you mean 'happy'\?"):
        read_manifest(path, today=TODAY)


def test_consent_is_judged_by_the_day(studio):
    licensed = "{kind: licensed, record: consent.txt, scope: [pilot], expires: 2026-11-20}"
    path = write(studio, BASE.read_text().replace("{kind: synthetic}", licensed))
    assert read_manifest(path, today=date(2026, 11, 20)).manifest.cast["ana"].consent.kind == "licensed"
    with pytest.raises(ManifestError, match="expired on 2026-11-20"):
        read_manifest(path, today=date(2026, 11, 21))


def test_yaml_and_json_give_the_same_manifest(studio):
    loaded = read_manifest(write(studio, BASE.read_text()), today=TODAY)
    as_json = write(studio, json.dumps(yaml.safe_load(BASE.read_text()), indent=2), "episode.json")
    assert read_manifest(as_json, today=TODAY).manifest == loaded.manifest
    assert Manifest.model_validate_json(loaded.manifest.model_dump_json()) == loaded.manifest


def test_facts_and_files_come_by_the_path_as_written(studio):
    loaded = read_manifest(write(studio, BASE.read_text()), today=TODAY)
    assert set(loaded.media) == set(loaded.files) == {
        "pictures/ana.png", "pictures/ana-happy.png", "pictures/ana-sad.png", "pictures/ben.png",
        "sound/ana.wav", "sound/ben.wav", "sound/mix.wav", "pictures/plate.png",
    }  # fmt: skip
    mix = loaded.media["sound/mix.wav"]
    assert (mix.seconds, mix.sample_rate, mix.channels, mix.num_samples) == (4.0, 16_000, 1, 64_000)
    assert (loaded.media["pictures/plate.png"].width, loaded.media["pictures/plate.png"].height) == (192, 128)
    assert loaded.lines["shots[1].characters[0].face"] == 29
    assert loaded.folder == studio


def test_objects_on_s3_are_fetched_and_probed(studio, tmp_path):
    text = BASE.read_text().replace("plate: pictures/plate.png", "plate: s3://studio/plate.png", 1)
    copy = tmp_path / "plate.png"
    draw_plate(192, 128).save(copy)
    asked = []

    def fetch(address: str) -> Path:
        asked.append(address)
        return copy

    loaded = read_manifest(write(studio, text), fetch=fetch, today=TODAY)
    assert asked == ["s3://studio/plate.png"]
    assert loaded.media["s3://studio/plate.png"].width == 192


def test_an_object_that_cannot_be_fetched_is_a_fault(studio):
    def fetch(address: str) -> Path:
        raise StoreError("403 forbidden")

    text = BASE.read_text().replace("plate: pictures/plate.png", "plate: s3://studio/plate.png", 1)
    with pytest.raises(ManifestError, match="403 forbidden"):
        read_manifest(write(studio, text), fetch=fetch, today=TODAY)


def test_a_last_shot_within_a_frame_of_the_sound_ends_with_it(studio):
    text = BASE.read_text().replace("    cues:", "    duration_seconds: 1.99\n    cues:")
    loaded = read_manifest(write(studio, text), today=TODAY)
    assert shot_spans(loaded.manifest, loaded.media)[-1].end_seconds == 4.0
    assert sound_seconds(loaded.manifest, loaded.media) == 4.0


def test_a_file_that_is_not_there_or_not_text_is_told(studio):
    assert faults_of(studio / "none.yaml") == [("manifest", "no-such-file")]
    (studio / "latin.yaml").write_bytes(b"version: 1\ntitle: caf\xe9\n")
    with pytest.raises(ManifestError, match=r"latin\.yaml:2: manifest: byte 0xe9 is not UTF-8"):
        read_manifest(studio / "latin.yaml")
    (studio / "large.yaml").write_bytes(b"#" * 2_000_001)
    assert faults_of(studio / "large.yaml") == [("manifest", "manifest-too-large")]


def test_a_fifo_is_not_opened(studio):
    os.mkfifo(studio / "pictures" / "pipe.png")
    text = BASE.read_text().replace("plate: pictures/plate.png", "plate: pictures/pipe.png", 1)
    assert faults_of(write(studio, text)) == [("shots[0].plate", "media-not-a-file")]


def test_a_file_url_inside_the_folder_is_a_path(studio):
    url = (studio / "pictures" / "plate.png").as_uri()
    text = BASE.read_text().replace("plate: pictures/plate.png", f"plate: {url}", 1)
    assert read_manifest(write(studio, text), today=TODAY).media[url].width == 192


def test_a_long_manifest_is_read_in_seconds(studio):
    header, shot = BASE.read_text().split("shots:\n")[0], BASE.read_text().split("shots:\n")[1].split("  - id: one")[0]
    shots = [
        shot.replace("id: two", f"id: s{n}").replace("duration_seconds: 2", "duration_seconds: 0.2")
        for n in range(2000)
    ]
    started = time.process_time()
    with pytest.raises(ManifestError) as refused:
        read_manifest(write(studio, header + "shots:\n" + "".join(shots)), today=TODAY)
    assert [fault.rule for fault in refused.value.faults] == ["shot-after-sound"] * 1980
    assert time.process_time() - started < 10


def test_the_pilot_passes_and_is_what_it_says():
    path = Path(__file__).parents[3] / "examples" / "pilot" / "episode.yaml"
    loaded = read_manifest(path)
    spans = shot_spans(loaded.manifest, loaded.media)
    lengths = [(span.end_seconds or 0) - (span.start_seconds or 0) for span in spans]
    assert 15 <= (sound_seconds(loaded.manifest, loaded.media) or 0) <= 25
    assert len(lengths) >= 2
    assert max(lengths) > 4
    emotions = set(re.findall(r"emotion: \{name: (\w+)", path.read_text()))
    assert {"happy", "sad", "surprised", "angry"} <= emotions
    assert any(shot.cues for shot in loaded.manifest.shots)


def test_the_pilot_is_made_by_its_script(tmp_path):
    root = Path(__file__).parents[3]
    pilot = root / "examples" / "pilot"
    subprocess.run([sys.executable, root / "scripts" / "make_pilot.py", "--out", tmp_path], check=True, cwd=root)
    made = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert len(made) == 13
    for name in made:
        if name.suffix == ".png":  # drawn with fractions of pixels: another processor may round one differently
            assert np.abs(pixels(tmp_path / name) - pixels(pilot / name)).max() <= 3, name
        else:
            assert (tmp_path / name).read_bytes() == (pilot / name).read_bytes(), name


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)
