"""From a film back to everything it was made from."""

import json
from pathlib import Path

import pytest
from small_episode import FILM, SEGMENTS, SHOTS, WEIGHTS, publish_episode

from db.records import Artifact, Derivation, Record, WorkItem
from tasks.errors import ObjectMissing
from tasks.lineage import to_json, to_lines, trace, walk
from tasks.pointer import find_done
from tasks.publish import Publisher

pytestmark = pytest.mark.parametrize("farm", ["file and sqlite", "file and postgresql"], indirect=True)


@pytest.fixture
def film(farm, farm_store, ledger, tmp_path: Path) -> Path:
    publish_episode(Publisher(farm_store, ledger, "w1", farm.folder / "scratch"))
    path = tmp_path / "pilot.mp4"
    farm_store.fetch(find_done(farm_store, FILM).object.key, path)
    return path


def test_a_film_leads_back_to_stems_weights_code_seed_and_attempts(ledger, film: Path) -> None:
    tree = trace(ledger, film)
    assert tree.maker.item == FILM and [part.maker.item for part in tree.inputs] == list(SHOTS)
    segments = [segment for shot in tree.inputs for segment in shot.inputs]
    assert [segment.maker.item for segment in segments] == list(SEGMENTS)
    for segment in segments:
        assert [(part.role, part.kind, part.name) for part in segment.inputs] == [
            ("stem of ada", "stem", "stems/ada.wav"),
            ("weights", "weights", WEIGHTS.name),
        ]
        assert segment.maker.facts == {"seed": 7, "code": "v1"}
        assert (segment.maker.attempt, segment.maker.worker) == (1, "w1")
    assert len(list(walk(tree))) == 1 + 2 + 3 + 6


@pytest.mark.parametrize(
    ("at_seconds", "shot", "segment", "in_shot"),
    [(0.0, 0, 0, 0.0), (2.99, 0, 0, 2.99), (3.0, 0, 1, 3.0), (5.99, 0, 1, 5.99), (6.0, 1, 2, 0.0), (9.5, 1, 2, 3.5)],
)
def test_a_moment_leads_back_to_its_own_shot_and_segment(
    ledger, film: Path, at_seconds, shot, segment, in_shot
) -> None:
    tree = trace(ledger, film, at_seconds)
    (picture,) = tree.inputs
    (latents,) = picture.inputs
    assert picture.maker.item == SHOTS[shot] and latents.maker.item == SEGMENTS[segment]
    assert picture.at_seconds == pytest.approx(in_shot)


@pytest.mark.parametrize("at_seconds", [-0.1, 10.0, 1e9])
def test_a_moment_outside_of_the_film_is_refused(ledger, film: Path, at_seconds: float) -> None:
    with pytest.raises(ObjectMissing, match="is outside of it"):
        trace(ledger, film, at_seconds)


def test_a_file_that_was_changed_is_unknown(ledger, film: Path) -> None:
    film.write_bytes(film.read_bytes() + b"!")
    with pytest.raises(ObjectMissing, match="was it changed after it was published"):
        trace(ledger, film)


def test_extras_and_inputs_have_a_lineage_too(ledger, farm_store, film: Path) -> None:
    record = Record.from_json(farm_store.get(find_done(farm_store, FILM).record.key))
    sheet = next(artifact for artifact in record.artifacts if artifact.kind == "contact_sheet")
    assert trace(ledger, sheet.sha256).inputs[0].sha256 == record.sha256
    stem = next(artifact for artifact in ledger.stored_artifacts() if artifact.kind == "stem")
    assert trace(ledger, stem.sha256).inputs == ()


def test_the_tree_is_the_same_as_json_and_as_text(ledger, film: Path) -> None:
    tree = trace(ledger, film, 7.0)
    assert json.loads(json.dumps(to_json(tree)))["inputs"][0]["inputs"][0]["inputs"][1]["name"] == WEIGHTS.name
    lines = list(to_lines(tree))
    assert [line.split(":")[0] for line in lines if " by " not in line] == [
        "film at 7.00 s",
        "  picture [6.00-10.00 s] at 1.00 s",
        "    latents at 1.00 s",
        "      stem of ada",
        "      weights",
    ]
    assert "by segment s2-0 attempt 1 of w1" in lines[5] and "code=v1 seed=7" in lines[5]


def test_a_film_that_is_its_only_shot_unchanged_does_not_go_in_circles(ledger) -> None:
    sha, stem = "c" * 64, Artifact("d" * 64, 1, "stem")
    same = Artifact(sha, 5, "film")
    shot, film = WorkItem("shot", "s"), WorkItem("film", "f")
    ledger.finish(ledger.claim(shot, "w", 9.0), Record(sha, (same, stem), (Derivation(sha, stem.sha256, "stem"),)))
    ledger.finish(ledger.claim(film, "w", 9.0), Record(sha, (same,), (Derivation(sha, sha, "picture", shot),)))
    tree = trace(ledger, sha)
    assert [node.role for node in walk(tree)] == ["film", "picture", "stem"]
    assert ledger.breaches() == []
