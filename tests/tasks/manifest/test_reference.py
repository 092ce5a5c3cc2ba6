"""The reference is true: every field, every rule, and its examples pass."""

import json
import re
from datetime import date
from pathlib import Path

import jsonschema
import pytest
from reference import tables
from studio_media import make_media

from tasks.manifest.json_tree import parse_json
from tasks.manifest.read import read_manifest
from tasks.manifest.schema import json_schema_text
from tasks.manifest.tree import plain
from tasks.manifest.yaml_tree import parse_yaml

ROOT = Path(__file__).parents[3]
REFERENCE = (ROOT / "docs" / "manifest.md").read_text()
CORPUS = ROOT / "tests" / "conformance"
TESTED_ELSEWHERE = {  # they need a file that is long, or not text: test_probe.py and test_read.py
    "episode-too-long", "media-too-long", "media-too-large", "manifest-too-large", "no-such-file", "not-utf8",
    "shot-too-long",
}  # fmt: skip


def rules_in_source() -> set[str]:
    source = "\n".join(path.read_text() for path in (ROOT / "tasks" / "manifest").glob("*.py"))
    written = set(re.findall(r'"([a-z]+(?:-[a-z0-9]+)+)"', source))
    return {name for name in written if not name.startswith(("stand-", "utf-"))} | {"version"}


def rules_in_reference() -> set[str]:
    faults = REFERENCE.split("## Faults")[1]
    return {rule for row in re.findall(r"^\| (`.*?) \|", faults, re.M) for rule in re.findall(r"`([a-z0-9-]+)`", row)}


def value_of(path: Path) -> object:
    return plain((parse_json if path.suffix == ".json" else parse_yaml)(path.read_text()).root)


def test_every_field_is_described_as_it_is():
    assert tables() in REFERENCE


def test_every_rule_is_listed_and_no_other():
    assert rules_in_reference() == rules_in_source()


def test_every_rule_has_a_manifest_that_it_refuses():
    refused = {re.sub(r"^\d+-", "", path.stem) for path in (CORPUS / "refuse").iterdir()}
    without = {rule for rule in rules_in_source() if not any(name.startswith(rule) for name in refused)}
    assert without == TESTED_ELSEWHERE


@pytest.mark.parametrize("text", re.findall(r"```yaml\n(.*?)```", REFERENCE, re.S))
def test_examples_pass(tmp_path, text):
    make_media(tmp_path / "studio")
    path = tmp_path / "studio" / "episode.yaml"
    path.write_text(text)
    assert read_manifest(path, today=date(2026, 11, 20)).manifest.shots


@pytest.mark.parametrize("path", sorted((CORPUS / "pass").iterdir()), ids=lambda path: path.stem)
def test_the_schema_accepts_what_passes(path):
    jsonschema.validate(value_of(path), json.loads(json_schema_text()))


@pytest.mark.parametrize(
    "rule", ["version", "missing-field", "unknown-field", "wrong-type", "bad-name", "out-of-range", "too-short"]
)
def test_the_schema_refuses_what_it_can(rule):
    path = next(path for path in sorted((CORPUS / "refuse").iterdir()) if re.fullmatch(rf"\d+-{rule}", path.stem))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(value_of(path), json.loads(json_schema_text()))


def test_the_schema_is_a_schema_and_always_the_same():
    jsonschema.Draft202012Validator.check_schema(json.loads(json_schema_text()))
    assert json_schema_text() == json_schema_text()
    assert json.loads(json_schema_text())["$defs"]["OnScreen"]["properties"]["face"]["description"]
