"""`farm puppet`: pictures for a new episode."""

import json
from pathlib import Path

from PIL import Image
from typer.testing import CliRunner

from farm.puppet import puppet_app


def test_plate_writes_a_picture_and_its_face_boxes(tmp_path: Path) -> None:
    picture, boxes = tmp_path / "plate.png", tmp_path / "boxes.json"
    arguments = ["plate", "--seed", "3", "--characters", "3", "--out", str(picture), "--json", str(boxes)]
    result = CliRunner().invoke(puppet_app, arguments)
    assert result.exit_code == 0, result.output
    with Image.open(picture) as drawn:
        assert drawn.size == (288, 128)
    faces = json.loads(boxes.read_text())
    assert len(faces) == 3 and set(faces[0]) == {"x", "y", "w", "h"}


def test_portrait_writes_an_emotion_picture(tmp_path: Path) -> None:
    pictures = {}
    for emotion in ("neutral", "happy"):
        file = tmp_path / f"{emotion}.png"
        arguments = ["portrait", "--seed", "3", "--character", "1", "--emotion", emotion, "--out", str(file)]
        assert CliRunner().invoke(puppet_app, arguments).exit_code == 0
        with Image.open(file) as drawn:
            pictures[emotion] = drawn.tobytes()
    assert pictures["neutral"] != pictures["happy"]


def test_an_unknown_emotion_names_those_there_are(tmp_path: Path) -> None:
    result = CliRunner().invoke(puppet_app, ["portrait", "--seed", "1", "--emotion", "bored"])
    assert result.exit_code == 2 and "surprised" in result.output
