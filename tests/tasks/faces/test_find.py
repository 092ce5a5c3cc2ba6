"""Faces found, named, or refused: on the drawn world, on a photograph, and in a manifest."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from tasks.errors import ConfigError, ManifestError
from tasks.faces.detectors import CascadeDetector, OfflineDetector, YuNetDetector, open_detector
from tasks.faces.drawn import DrawnFaceDetector
from tasks.faces.find import find_faces, match_faces
from tasks.faces.types import overlap
from tasks.manifest.models import Manifest
from tasks.plan.types import FaceBox
from tasks.puppet.world import draw_plate, draw_portrait


def plate_of(seed, count):
    """Return a plate of 1 to 6 drawn characters, their boxes, and who they are as (seed, character)."""
    if count <= 4:
        image, boxes = draw_plate(seed, count)
        return image, boxes, [(seed, k) for k in range(count)]
    (left, first), (right, second) = draw_plate(seed, 3), draw_plate(seed + 5000, count - 3)
    halves = [FaceBox(box.x / 2, box.y, box.w / 2, box.h) for box in first]
    halves += [FaceBox(0.5 + box.x / 2, box.y, box.w / 2, box.h) for box in second]
    people = [(seed, k) for k in range(3)] + [(seed + 5000, k) for k in range(count - 3)]
    return np.hstack([left, right]), halves, people


def portrait(person):
    image = draw_portrait(*person)
    faces = DrawnFaceDetector().detect(image)
    return (image, max(faces, key=lambda face: face.box.w * face.box.h)) if faces else None


def test_one_to_six_characters_in_shuffled_order_are_named_rightly_or_refused():
    right = 0
    for seed in (900, 901, 902, 903, 904, 905):
        image, boxes, people = plate_of(seed, 1 + seed % 6)
        order = np.random.default_rng(seed).permutation(len(people))
        names = [f"character_{index}" for index in order]
        faces = DrawnFaceDetector().detect(image)
        found = match_faces(image, faces, names, {name: portrait(people[i]) for name, i in zip(names, order)})
        if found.doubts:
            assert any(name in " ".join(found.doubts) for name in names)
            continue
        for face, index in zip(found.faces, order, strict=True):
            assert overlap(faces[face].box, boxes[index]) > 0.4
        right += 1
    assert right >= 5


def test_twins_are_refused_by_name():
    image, _, people = plate_of(12, 2)
    faces = DrawnFaceDetector().detect(image)
    one = portrait(people[0])
    found = match_faces(image, faces, ["ana", "her_twin"], {"ana": one, "her_twin": one})
    assert found.doubts and "'ana' and 'her_twin' could be swapped" in found.doubts[0]


def test_drawn_faces_of_every_kind_are_found_and_nothing_else():
    faces = missed = false = 0
    for seed in range(10_000, 10_012):
        image, boxes = draw_plate(seed, 1 + seed % 4)
        found = DrawnFaceDetector().detect(image)
        faces += len(boxes)
        missed += sum(max((overlap(one.box, box) for one in found), default=0) < 0.4 for box in boxes)
        false += sum(max(overlap(one.box, box) for box in boxes) < 0.4 for one in found)
    assert faces == 30 and missed <= 1 and false <= 1


def test_the_offline_detector_finds_the_face_in_a_photograph():
    from skimage import data

    image = data.astronaut()
    (face,) = OfflineDetector().detect(image)
    assert overlap(face.box, FaceBox(0.345, 0.135, 0.185, 0.2)) > 0.6


def test_a_picture_without_a_face_has_none():
    noise = np.random.default_rng(0).integers(0, 255, (96, 128, 3)).astype(np.uint8)
    assert OfflineDetector().detect(noise) == []
    assert CascadeDetector().detect(np.zeros((20, 20, 3), np.uint8)) == []


def test_detectors_that_cannot_be_opened_say_why(tmp_path):
    with pytest.raises(ConfigError, match=r"no \.onnx file in it"):
        open_detector(tmp_path)
    (tmp_path / "yunet.onnx").write_bytes(b"not a network")
    with pytest.raises(ConfigError, match="cannot load it as a YuNet"):
        YuNetDetector(tmp_path / "yunet.onnx")
    with pytest.raises(ConfigError, match="neither a folder"):
        open_detector(tmp_path / "nowhere")
    assert open_detector(None).name == "offline"


@pytest.fixture
def episode(tmp_path):
    """A manifest with one shot of two drawn people whose faces are left to `auto`, and its files."""
    image, boxes = draw_plate(900, 2)
    Image.fromarray(image).save(tmp_path / "plate.png")
    for name, k in (("ana", 0), ("ben", 1)):
        Image.fromarray(draw_portrait(900, k)).save(tmp_path / f"{name}.png")

    def make(characters, **more):
        shot = {"id": "one", "plate": "plate.png", "duration_seconds": 2, "characters": characters, **more}
        cast = {
            name: {"name": name, "portrait": f"{name}.png", "consent": {"kind": "synthetic"}} for name in ("ana", "ben")
        }
        head = {"id": "e", "title": "E", "size": {"width": 192, "height": 128}}
        manifest = Manifest.model_validate({"version": 1, "episode": head, "cast": cast, "shots": [shot]})
        files = {name: tmp_path / name for name in ("plate.png", "ana.png", "ben.png")}
        return SimpleNamespace(manifest=manifest, files=files, lines={"shots[0].characters": 12})

    return make, boxes


def test_portraits_decide_whatever_the_order_in_the_manifest(episode):
    make, boxes = episode
    found = find_faces(make([{"character": "ben"}, {"character": "ana"}]), OfflineDetector())
    assert overlap(found["one", "ana"], boxes[0]) > 0.4 and overlap(found["one", "ben"], boxes[1]) > 0.4


def test_a_written_box_wins_and_takes_its_face_from_the_others(episode):
    make, boxes = episode
    left = {"x": boxes[0].x, "y": boxes[0].y, "w": boxes[0].w, "h": boxes[0].h}
    found = find_faces(make([{"character": "ben", "face": left}, {"character": "ana"}]), OfflineDetector())
    assert set(found) == {("one", "ana")} and overlap(found["one", "ana"], boxes[1]) > 0.4


def test_left_to_right_only_when_asked_for(episode):
    make, boxes = episode
    asked = make([{"character": "ben"}, {"character": "ana"}], face_order="left_to_right")
    found = find_faces(asked, OfflineDetector())
    assert overlap(found["one", "ben"], boxes[0]) > 0.4 and overlap(found["one", "ana"], boxes[1]) > 0.4


def test_a_face_that_cannot_be_told_is_refused_with_shot_and_way_out(episode):
    make, _ = episode
    loaded = make([{"character": "ben"}, {"character": "ana"}])
    loaded.files["ben.png"] = loaded.files["ana.png"]
    with pytest.raises(ManifestError) as refused:
        find_faces(loaded, OfflineDetector())
    assert any("'ana' and 'ben' could be swapped" in fault.message for fault in refused.value.faults)
    for fault in refused.value.faults:
        assert fault.line == 12 and "shot 'one'" in fault.message and "face_order: left_to_right" in fault.message
