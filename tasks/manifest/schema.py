"""The manifest's JSON Schema, and faults of single values in words that a studio understands."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from tasks.manifest.findings import Finding, Path, did_you_mean, shown
from tasks.manifest.models import Manifest

_UNION_PARTS = ("Box", "literal['auto']")
_TYPES = {
    "string": "text (put it in quotes)",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "tuple": "a list",
    "dict": "a mapping",
    "model": "a mapping",
    "date": "a date like 2027-01-31",
}
_BOUNDS = {"greater_than_equal": ("ge", "at least"), "greater_than": ("gt", "more than"),
           "less_than_equal": ("le", "at most"), "less_than": ("lt", "less than")}  # fmt: skip


def json_schema_text() -> str:
    """Return the JSON Schema of manifest version 1, the same bytes in every process."""
    schema = Manifest.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "avatar-farm manifest, version 1"
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"


def validate(value: Any) -> tuple[Manifest | None, list[Finding]]:
    """Return the manifest, or every fault of single values (wrong type, range, unknown field)."""
    try:
        return Manifest.model_validate_json(json.dumps(value), strict=True), []
    except ValidationError as exc:
        return None, list(_findings(exc, value))


def _findings(exc: ValidationError, value: Any) -> Iterator[Finding]:
    errors = exc.errors(include_url=False)
    paths = [_true_path(error["loc"]) for error in errors]
    boxes = {path for path in paths if "face" in path[:-1]}
    seen: set[Path] = set()
    for error, path in zip(errors, paths, strict=True):
        union = "literal['auto']" in error["loc"] or (error["type"] == "model_type" and "Box" in error["loc"])
        if union:
            if path in seen or any(path == box[: len(path)] for box in boxes):
                continue
            seen.add(path)
            found = shown(_at(value, path))
            message = f"face is {found}; write 'auto' or a box with x, y, w and h between 0 and 1"
            yield Finding(path, "face-not-a-box", message)
        elif not (error["type"] == "too_short" and _at(value, path)):  # its items are reported themselves
            yield _finding(error, path)


def _true_path(loc: Iterable[int | str]) -> Path:
    return tuple(part for part in loc if part not in _UNION_PARTS and part != "[key]")


def _at(value: Any, path: Path) -> Any:
    for part in path:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def _finding(error: Any, path: Path) -> Finding:
    kind, given = error["type"], error["input"]
    name = path[-1] if path and isinstance(path[-1], str) else "this entry" if path else "the manifest"
    context = error.get("ctx") or {}
    if kind == "missing":
        return Finding(path, "missing-field", f"{name!r} is missing; add it: {_description(path)}")
    if kind == "extra_forbidden":
        way_out = did_you_mean(name, _fields(path[:-1]))
        return Finding(path, "unknown-field", f"{name!r} is not a field here; {way_out}")
    if "[key]" in error["loc"] or kind == "string_pattern_mismatch":
        return Finding(path, "bad-name", _bad_name(given))
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        limit = f"{words} {_number(context[key])}"
        return Finding(path, "out-of-range", f"{name} is {shown(given)}, it must be {limit}; change it")
    if kind == "multiple_of":
        return Finding(path, "not-a-multiple", _not_a_multiple(name, given, int(context["multiple_of"])))
    if kind == "finite_number":
        return Finding(path, "not-finite", f"{name} is not a finite number; write an ordinary decimal number")
    if kind.endswith(("too_long", "too_short")):
        return _wrong_length(kind, name, given, context["max_length" if kind.endswith("long") else "min_length"], path)
    if kind == "literal_error":
        allowed = re.findall(r"'([^']*)'", context["expected"])
        way_out = did_you_mean(str(given), allowed) if allowed else f"it must be {context['expected']}"
        return Finding(
            path, "version" if path == ("version",) else "not-one-of", f"{name} is {shown(given)}; {way_out}"
        )
    if kind == "value_error":
        return Finding(path, "not-one-of", f"{name} is {shown(given)}; it must be {context['error']}")
    if kind.startswith("date") and isinstance(given, str):
        return Finding(path, "bad-date", f"{name} is {shown(given)}, not a day of the calendar; write it as 2027-01-31")
    wanted = _TYPES.get(kind.split("_")[0], "something else")
    return Finding(path, "wrong-type", f"{name} is {shown(given)}, it must be {wanted}; change it")


def _bad_name(given: object) -> str:
    text = re.sub(r"[^a-z0-9_-]+", "-", str(given).lower()).strip("-_")[:40]
    hint = f"for example {text!r}" if text else "for example 'ana'"
    return f"{shown(given)} cannot be a name: 1 to 40 of a-z, 0-9, '-' and '_', a letter or digit first; write {hint}"


def _not_a_multiple(name: str, given: int, step: int) -> str:
    below = given // step * step
    return f"{name} is {given}, it must be a multiple of {step}; write {below} or {below + step}"


def _wrong_length(kind: str, name: str, given: Any, limit: int, path: Path) -> Finding:
    unit = "characters" if kind.startswith("string") else "entries"
    if kind.endswith("too_long"):
        rule = "too-many-faces" if name == "characters" else "too-long"
        message = f"{name} has {len(given)} {unit}, at most {limit} are allowed; make it shorter or split it"
        return Finding(path, rule, message)
    return Finding(path, "too-short", f"{name} is empty, it needs at least {limit} {unit}; fill it in")


def _number(value: float) -> str:
    return f"{value:g}" if value < 1e15 else "2^63"


def _model_at(path: Path) -> type[BaseModel] | None:
    """Return the model that a path through the manifest leads to."""
    here: Any = Manifest
    for part in path:
        if isinstance(here, type) and issubclass(here, BaseModel):
            known = here.model_fields.get(str(part))
            here = known.annotation if known else None
        else:
            here = next(iter(get_args(here)[::-1]), None) if isinstance(part, str) else next(iter(get_args(here)), None)
        here = _inner(here)
    return here if isinstance(here, type) and issubclass(here, BaseModel) else None


def _inner(annotation: Any) -> Any:
    """Return a union's or an annotated type's model or container."""
    if annotation is None or isinstance(annotation, type) or get_origin(annotation) in (dict, tuple):
        return annotation
    return next((inner for arg in get_args(annotation) if (inner := _inner(arg)) not in (None, type(None))), None)


def _fields(path: Path) -> list[str]:
    model = _model_at(path)
    return list(model.model_fields) if model else []


def _description(path: Path) -> str:
    model = _model_at(path[:-1])
    known = model.model_fields.get(str(path[-1])) if model else None
    text = (known.description or "" if known else "").splitlines()
    return text[0].rstrip(".") if text and text[0] else "it is required"
