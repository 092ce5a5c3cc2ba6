"""Every manifest in refuse/ is refused by exactly the rule that its name and first line tell; all in pass/ pass."""

import re
import shutil
from datetime import date
from pathlib import Path

import pytest
from studio_media import make_media

from tasks.errors import ManifestError
from tasks.manifest.read import read_manifest

HERE = Path(__file__).parent
TODAY = date(2026, 11, 20)
REFUSED = sorted((HERE / "refuse").iterdir())
PASSED = sorted((HERE / "pass").iterdir())


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("conformance") / "studio"
    make_media(folder)
    return folder


def read(file: Path, studio: Path):
    copy = studio / file.name
    shutil.copy(file, copy)
    try:
        return read_manifest(copy, today=TODAY)
    finally:
        copy.unlink()


@pytest.mark.parametrize("file", REFUSED, ids=lambda file: file.stem)
def test_a_manifest_is_refused_by_its_rule_alone(file: Path, studio: Path):
    before = sorted(studio.rglob("*"))
    with pytest.raises(ManifestError) as refused:
        read(file, studio)
    faults = refused.value.faults
    expected = re.match(r"# expect: (\S+)(?: at line (\d+))?\n", file.read_text())
    rule = expected[1] if expected else re.sub(r"^\d+-", "", file.stem)
    assert {fault.rule for fault in faults} == {rule}, refused.value
    assert rule in file.stem
    if expected and expected[2]:
        assert int(expected[2]) in {fault.line for fault in faults}, refused.value
    assert sorted(studio.rglob("*")) == before, "reading wrote something"


@pytest.mark.parametrize("file", REFUSED, ids=lambda file: file.stem)
def test_a_fault_is_one_sentence_with_a_way_out(file: Path, studio: Path):
    with pytest.raises(ManifestError) as refused:
        read(file, studio)
    for fault in refused.value.faults:
        assert fault.line >= 1
        assert re.search(r"[;?:]", fault.message), fault
        assert "\n" not in fault.message
        assert len(fault.message) < 300
        assert str(fault).startswith(f"{studio / file.name}:{fault.line}: ")


@pytest.mark.parametrize("file", PASSED, ids=lambda file: file.stem)
def test_a_manifest_passes(file: Path, studio: Path):
    loaded = read(file, studio)
    assert loaded.manifest.version == 1
    assert loaded.lines["episode"] >= 1
    assert len(loaded.sha256) == 64


def test_the_corpus_is_large_enough():
    assert len(REFUSED) >= 45
    assert len(PASSED) >= 12
