"""A mix with turns is heard voice by voice; a mix that nobody can tell apart is refused with the way out."""

from datetime import date
from pathlib import Path

import numpy as np
import pytest
import soundfile
from studio_media import make_media

from tasks.errors import ConfigError
from tasks.manifest.read import LoadedManifest, read_manifest
from tasks.plan.layout import lay_out
from tasks.separate import with_stems
from tasks.survey import voice_samples

PASS = Path(__file__).parents[2] / "conformance" / "pass"


def loaded_from(tmp_path: Path, name: str) -> LoadedManifest:
    make_media(tmp_path / "studio")
    path = tmp_path / "studio" / "episode.yaml"
    path.write_text((PASS / name).read_text())
    return read_manifest(path, today=date(2026, 11, 20))


def test_turns_cut_the_mix_into_stems(tmp_path):
    loaded = loaded_from(tmp_path, "06-mix-with-turns.yaml")
    split = with_stems(loaded, tmp_path / "stems")
    assert sorted(split.manifest.audio.stems) == ["ana", "ben"]
    assert split.manifest.audio.mix == loaded.manifest.audio.mix
    mix = soundfile.read(loaded.files["sound/mix.wav"])[0]
    for character, (start, end) in {"ana": (0.2, 1.7), "ben": (1.9, 3.9)}.items():
        stem = soundfile.read(split.files[split.manifest.audio.stems[character]])[0]
        inside = slice(round(start * 16_000), round(end * 16_000))
        assert np.abs(stem[inside] - mix[inside]).max() < 2 / 32768
        assert not stem[: inside.start - 1000].any()
        assert not stem[inside.stop + 1000 :].any()


def test_each_voice_reaches_its_face(tmp_path):
    split = with_stems(loaded_from(tmp_path, "06-mix-with-turns.yaml"), tmp_path / "stems")
    heard = dict(voice_samples(split, lay_out(split.manifest, split.media)))
    assert {voice for voice, samples in heard.items() if samples.any()} == {("two", "ana"), ("two", "ben")}


def test_the_same_mix_is_cut_once(tmp_path):
    loaded = loaded_from(tmp_path, "06-mix-with-turns.yaml")
    first = with_stems(loaded, tmp_path / "stems")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "stems").rglob("*")}
    assert with_stems(loaded, tmp_path / "stems") == first
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "stems").rglob("*")} == times


def test_a_lone_face_speaks_the_whole_mix(tmp_path):
    split = with_stems(loaded_from(tmp_path, "08-one-voice-from-mix.yaml"), tmp_path / "stems")
    assert dict(split.manifest.audio.stems) == {"ana": "sound/mix.wav"}


def test_several_voices_without_turns_are_refused_with_the_command(tmp_path):
    with pytest.raises(ConfigError, match=r"farm turns --mix sound/mix\.wav .* --voices ana=FILE ben=FILE"):
        with_stems(loaded_from(tmp_path, "07-mix-with-voices.yaml"), tmp_path / "stems")


def test_stems_are_left_alone(tmp_path):
    loaded = loaded_from(tmp_path, "01-two-shots.yaml")
    assert with_stems(loaded, tmp_path / "stems") is loaded
    assert not (tmp_path / "stems").exists()
