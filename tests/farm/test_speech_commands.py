"""`farm turns`, `import-script`, `preview`, `export`, run as a person runs them."""

import json
from pathlib import Path

import opentimelineio as otio
import pytest
import typer
import yaml
from typer.testing import CliRunner

from farm.commands import speech
from tasks.manifest.models import Manifest
from tasks.script.rttm import read_rttm

ROOT = Path(__file__).parents[2]
PILOT = ROOT / "examples" / "pilot"
SCRIPTS = ROOT / "tests" / "data" / "script"


def farm(*arguments):
    app = typer.Typer()
    speech.mount(app)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_turns_are_written_as_rttm_and_as_json(tmp_path):
    stems = [f"{name}={PILOT / 'audio' / name}.wav" for name in ("ana", "ben")]
    said = farm(
        "turns", "--stems", *stems, "--mix", PILOT / "audio" / "mix.wav", "--rttm", tmp_path / "out.rttm", "--json"
    )
    found = read_rttm(tmp_path / "out.rttm")
    assert {turn.character for turn in found} == {"ana", "ben"}
    assert [round(turn["start_seconds"], 3) for turn in json.loads(said)["turns"]] == [
        turn.start_seconds for turn in found
    ]


def test_a_mix_with_written_turns_gives_gated_stems(tmp_path):
    stems = [f"{name}={PILOT / 'audio' / name}.wav" for name in ("ana", "ben")]
    farm("turns", "--stems", stems[0], stems[1], "--rttm", tmp_path / "out.rttm")
    voices = [f"--voices={pair}" for pair in stems]
    mix = PILOT / "audio" / "mix.wav"
    farm("turns", "--mix", mix, "--diarizer", f"rttm:{tmp_path / 'out.rttm'}", *voices, "--gated", tmp_path / "stems")
    assert sorted(path.name for path in (tmp_path / "stems").iterdir()) == ["ana.wav", "ben.wav"]


def test_pairs_that_are_none_are_refused():
    with pytest.raises(typer.BadParameter, match="is not NAME=FILE"):
        speech.named_files(["ana"])
    with pytest.raises(typer.BadParameter, match="'ana' is given twice"):
        speech.named_files(["ana=a.wav", "ana=b.wav"])


def test_a_script_becomes_an_episode_and_subtitles(tmp_path):
    farm("import-script", SCRIPTS / "kitchen.fountain", tmp_path / "kitchen.yaml", "--bounds", "2 8")
    manifest = Manifest.model_validate(yaml.safe_load((tmp_path / "kitchen.yaml").read_text()))
    assert len(manifest.shots) >= 2 and set(manifest.cast) == {"ana", "ben", "mcfly"}
    farm("import-script", SCRIPTS / "kitchen.fountain", tmp_path / "kitchen.vtt", "--turns", SCRIPTS / "kitchen.rttm")
    assert "<v Ana>(angry) Who ate the last biscuit?" in (tmp_path / "kitchen.vtt").read_text()


def test_the_plan_is_exported_for_editors_with_a_track_per_voice(tmp_path):
    farm("export", PILOT / "episode.yaml", tmp_path / "pilot.otio", "--film", "film.mp4")
    timeline = otio.adapters.read_from_file(str(tmp_path / "pilot.otio"))
    sound = [track for track in timeline.tracks if track.kind == "Audio"]
    shots, segments = (track for track in timeline.tracks if track.kind == "Video")
    assert [track.name for track in sound] == ["ana", "ben"]
    assert [clip.name for clip in shots] == ["beach", "numbers", "regret"]
    assert shots.duration() == segments.duration() == timeline.duration()
    assert timeline.duration().to_seconds() == 16
    farm("export", PILOT / "episode.yaml", tmp_path / "pilot.edl")
    assert "001  AX       V     C        00:00:00:00 00:00:05:09" in (tmp_path / "pilot.edl").read_text()


def test_preview_writes_the_page_and_names_what_to_look_at(tmp_path):
    said = json.loads(farm("preview", PILOT / "episode.yaml", "--out", tmp_path / "look", "--json"))
    assert Path(said["page"]).read_text(encoding="utf-8").startswith("<!doctype html>")
    assert isinstance(said["notices"], list)
