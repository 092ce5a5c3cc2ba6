"""A plan as JSON and back; byte-identical across processes and hash seeds."""

import dataclasses
import json
import types
import typing
from typing import Any, TypeVar

from tasks.plan.keys import canonical
from tasks.plan.types import Plan

T = TypeVar("T")


def plan_to_json(value: Plan) -> str:
    """Return a plan's canonical JSON text."""
    return canonical(value)


def plan_from_json(text: str) -> Plan:
    """Return the plan that a JSON text holds.

    Raises: ValueError when the text is no plan of this version.
    """
    try:
        return _build(Plan, json.loads(text))
    except (KeyError, TypeError, IndexError) as exc:
        raise ValueError(
            f"this JSON is no plan of this version ({exc}); make it again with `farm plan --json`"
        ) from exc


def _build(kind: type[T], value: Any) -> T:
    hints = typing.get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(typing.cast("Any", kind))]
    return kind(**{name: _convert(hints[name], value[name]) for name in names})


def _convert(kind: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(kind):
        return _build(typing.cast("type", kind), value)
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple and len(args) == 2 and args[1] is Ellipsis:
        return tuple(_convert(args[0], item) for item in value)
    if origin is tuple:
        return tuple(_convert(a, item) for a, item in zip(args, value, strict=True))
    if origin in (types.UnionType, typing.Union):
        return value
    if kind is float:
        return float(value)
    return value
