"""The field tables of docs/manifest.md, written from the models themselves."""

from collections.abc import Iterator
from typing import Any

from tasks.manifest.models import Manifest

ORDER = (
    "Manifest", "Episode", "Size", "Sampler", "Character", "Consent", "Audio", "Shot", "OnScreen", "Box", "Emotion",
    "Motion", "Cue", "Output", "Labels",
)  # fmt: skip
PLACES = {
    "Manifest": "the file", "Episode": "`episode`", "Size": "`episode.size`", "Sampler": "`episode.sampler`",
    "Character": "`cast.NAME`", "Consent": "`cast.NAME.consent`", "Audio": "`audio`", "Shot": "`shots[]`",
    "OnScreen": "`shots[].characters[]`", "Box": "`face`", "Emotion": "`emotion`", "Motion": "`motion`",
    "Cue": "`shots[].cues[]`", "Output": "`output`", "Labels": "`output.labels`",
}  # fmt: skip
WORDS = {
    "Episode": "episode", "Size": "size", "Sampler": "sampler", "Character": "character", "Consent": "consent",
    "Audio": "audio", "Shot": "shots", "OnScreen": "faces", "Box": "box", "Emotion": "emotion", "Motion": "motion",
    "Cue": "cues", "Output": "output", "Labels": "labels",
}  # fmt: skip


def _anchor(name: str) -> str:
    """Return the heading's anchor as code hosts make it."""
    return "".join(letter for letter in PLACES[name].lower() if letter.isalnum() or letter in "-_ ").replace(" ", "-")


def tables() -> str:
    """Return a heading and a table per model, in the order of the file."""
    schema = Manifest.model_json_schema()
    models = schema["$defs"] | {"Manifest": schema}
    assert set(ORDER) == set(models), "a model is missing here"
    return "\n".join(line for name in ORDER for line in _table(name, models[name]))


def _table(name: str, model: dict[str, Any]) -> Iterator[str]:
    yield from (f"### {PLACES[name]}", "", model["description"], "")
    yield from ("| field | takes | left out | meaning |", "|---|---|---|---|")
    for field, facts in model["properties"].items():
        default = "required" if field in model.get("required", ()) else _default(facts["default"])
        yield f"| `{field}` | {_takes(facts)} | {default} | {facts['description']} |"
    yield ""


def _default(value: Any) -> str:
    if value is None or value == "":
        return "–"
    if isinstance(value, dict):
        return "its own defaults" if value else "none"
    return "none" if value == [] else f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _takes(facts: dict[str, Any]) -> str:
    if "anyOf" in facts:
        return " or ".join(_takes(kind) for kind in facts["anyOf"] if kind.get("type") != "null")
    if "$ref" in facts:
        return f"[{WORDS[facts['$ref'].rsplit('/', 1)[1]]}](#{_anchor(facts['$ref'].rsplit('/', 1)[1])})"
    if "const" in facts or "enum" in facts:
        return ", ".join(f"`{value}`" for value in facts.get("enum", [facts.get("const")]))
    if facts["type"] == "array":
        return f"list of {_takes(facts['items'])}{_limit(facts, 'maxItems', 'at most {} entries')}"
    if facts["type"] == "object":
        inner = facts.get("patternProperties") or {"": facts["additionalProperties"]}
        return f"name: {_takes(next(iter(inner.values())))}{_limit(facts, 'maxProperties', 'at most {}')}"
    if facts["type"] == "string":
        if facts.get("format") == "date":
            return "day"
        if "pattern" in facts or facts.get("maxLength") == 400:
            return "name" if "pattern" in facts else "path"
        return f"text{_limit(facts, 'maxLength', 'at most {} characters')}"
    return {"boolean": "`true`, `false`"}.get(facts["type"]) or _range(facts)


def _limit(facts: dict[str, Any], key: str, words: str) -> str:
    return f", {words.format(facts[key])}" if key in facts else ""


def _range(facts: dict[str, Any]) -> str:
    low = f"{facts['minimum']}" if "minimum" in facts else f"above {facts['exclusiveMinimum']}"
    high = f"{facts['maximum']}" if "maximum" in facts else "2^63 - 1"
    step = f", multiple of {facts['multipleOf']}" if "multipleOf" in facts else ""
    kind = "whole number " if facts["type"] == "integer" else ""
    return f"{kind}{low} to {high}{step}"
