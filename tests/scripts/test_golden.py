"""`make golden`: one table over a folder of recorded cases; it fails when a case does."""

import shutil
from pathlib import Path

import golden
import numpy as np
import pytest
from golden_result import Result

GOLDEN = Path(__file__).resolve().parent.parent / "golden"


@pytest.fixture
def folder(tmp_path):
    """The quick kinds; the others have their own tests."""
    for name in ("facemask_odd.npz", "facemask_centre.npz", "rope_5x8x12.npz", "scheduler.npz"):
        shutil.copyfile(GOLDEN / name, tmp_path / name)
    return tmp_path


def test_every_case_of_a_folder_is_compared(folder, capsys):
    assert golden.main([str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    cases = {line.split()[0] for line in lines[1:-1]}
    assert {"facemask_odd", "facemask_centre", "rope_5x8x12", "scheduler"} == cases
    assert all(line.endswith("pass") for line in lines[1:-1])
    assert lines[-1].split(",")[:2] == [f"{len(lines) - 2} cases", " 0 failed"]


def test_other_names_of_the_same_kinds_are_found_and_a_wrong_number_fails(folder, capsys):
    with np.load(folder / "facemask_odd.npz") as file:
        case = dict(file)
    case["latent"][3, 4] += 0.25
    np.savez(folder / "facemask_another.npz", **case)
    assert golden.main([str(folder)]) == 1
    failed = [line for line in capsys.readouterr().out.splitlines() if line.endswith("FAIL")]
    assert len(failed) == 1 and failed[0].startswith("facemask_another latent") and "0.25" in failed[0]


def test_no_face_is_the_whole_picture(folder, capsys):
    case = {"box_xywh": np.zeros(0), "pixel": np.ones((64, 128), np.uint8), "latent": np.ones((8, 16), np.float32)}
    np.savez(folder / "facemask_none.npz", **case)
    assert golden.main([str(folder)]) == 0
    assert "facemask_none latent" in capsys.readouterr().out


def test_nothing_to_compare_is_not_a_pass(tmp_path, capsys):
    assert golden.main([str(tmp_path)]) == 2
    assert golden.main([str(tmp_path / "nowhere")]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_every_kind_of_the_folder_has_a_comparison():
    kinds = golden.comparers()
    unmatched = [path.name for path in GOLDEN.glob("*.npz") if not any(path.match(pattern) for pattern in kinds)]
    assert [name for name in unmatched if not name.endswith("_out.npz")] == []


@pytest.mark.parametrize(("error", "passed"), [(0.0, True), (1e-5, True), (1.1e-5, False), (float("nan"), False)])
def test_a_case_passes_within_its_limit_alone(error, passed):
    assert Result("case", error, 1e-5).passed is passed
    assert golden.row(Result("case", error, 1e-5)).endswith("pass" if passed else "FAIL")
