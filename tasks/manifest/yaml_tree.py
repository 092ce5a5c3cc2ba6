"""YAML as a tree that remembers lines: YAML 1.2's plain values, anchors within limits, no tags, no objects."""

import re
from collections.abc import Iterator
from typing import Any

import yaml

from tasks.manifest.tree import MAX_NODES, Node, Path, Scalar, Tree, TreeBuilder, TreeError

_INT = re.compile(r"[-+]?[0-9]{1,40}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NUMBER_WORDS = {".inf": float("inf"), "+.inf": float("inf"), "-.inf": float("-inf"), ".nan": float("nan")}
_WORDS: dict[str, Scalar] = {"": None, "~": None, "null": None, "true": True, "false": False}
_STR_TAGS = (None, "!", "tag:yaml.org,2002:str")


def parse_yaml(text: str) -> Tree:
    """Return the file's tree. Raises TreeError."""
    return _Yaml(text).tree()


class _Yaml(TreeBuilder):
    """A composer over YAML events: plain scalars by YAML 1.2's core rules, no tags, anchors within the limits."""

    def __init__(self, text: str) -> None:
        super().__init__()
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        self.events: Iterator[Any] = iter(yaml.parse(text, Loader=loader))
        self.anchors: dict[str, Node] = {}

    def tree(self) -> Tree:
        try:
            next(self.events)  # stream start
            if isinstance(next(self.events), yaml.StreamEndEvent):
                raise TreeError(1, "empty-file", "the file holds nothing; begin it with 'version: 1'")
            root = self._value(next(self.events), ())
            next(self.events)  # document end
            after = next(self.events)
            if not isinstance(after, yaml.StreamEndEvent):
                message = "a second document begins here, one file holds one manifest; split the file at '---'"
                raise TreeError(after.start_mark.line + 1, "second-document", message)
        except yaml.MarkedYAMLError as exc:
            line = exc.problem_mark.line + 1 if exc.problem_mark else 1
            message = f"this is not YAML: {exc.problem or exc.context}; check indentation, colons and quotes here"
            raise TreeError(line, "bad-yaml", message) from exc
        except yaml.YAMLError as exc:
            reason = getattr(exc, "reason", "unreadable")
            raise TreeError(1, "bad-yaml", f"this is not YAML: {reason}; save it as plain UTF-8 text") from exc
        return Tree(root, self.duplicates)

    def _value(self, event: Any, path: Path) -> Node:
        line = event.start_mark.line + 1
        self.deeper(len(path), line)
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self.anchors:
                message = f"alias '*{event.anchor}' has no finished anchor '&{event.anchor}' above it"
                raise TreeError(line, "bad-alias", message + "; anchor the value first, and never inside itself")
            target = self.anchors[event.anchor]
            return self.checked(target.at(line))
        if isinstance(event, yaml.ScalarEvent):
            node = Node(line, self._scalar(event, line))
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._sequence(event, path, line)
        else:
            node = self._mapping(event, path, line)
        if event.anchor:
            self.anchors[event.anchor] = node
        return node

    def _sequence(self, event: Any, path: Path, line: int) -> Node:
        _refuse_tag(event, line)
        items: list[Node] = []
        while not isinstance(inner := next(self.events), yaml.SequenceEndEvent):
            items.append(self._value(inner, (*path, len(items))))
            if len(items) > MAX_NODES:
                self.checked(Node(line, None, len(items)))
        return self.node(line, items)

    def _mapping(self, event: Any, path: Path, line: int) -> Node:
        _refuse_tag(event, line)
        fields: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        while not isinstance(inner := next(self.events), yaml.MappingEndEvent):
            key_line = inner.start_mark.line + 1
            if not isinstance(inner, yaml.ScalarEvent):
                raise TreeError(key_line, "bad-key", "a key here is a list or an alias; keys are plain words")
            key = inner.value
            child = self._value(next(self.events), (*path, key))
            if key == "<<" and inner.implicit[0]:
                merged = _merge(child, key_line) | merged
            elif key in fields:
                self.duplicates.append((key_line, path, key))
            else:
                fields[key] = child.at(key_line)
        return self.node(line, merged | fields if merged else fields)

    @staticmethod
    def _scalar(event: Any, line: int) -> Scalar:
        if not event.implicit[0]:
            _refuse_tag(event, line)
            return str(event.value)
        return _plain_scalar(event.value)


def _refuse_tag(event: Any, line: int) -> None:
    if event.tag not in _STR_TAGS and not (event.tag or "").startswith("tag:yaml.org,2002:map"):
        raise TreeError(line, "yaml-tag", f"tag {event.tag!r} is not allowed, a manifest holds plain values; remove it")


def _merge(node: Node, line: int) -> dict[str, Node]:
    sources = node.value if isinstance(node.value, list) else [node]
    merged: dict[str, Node] = {}
    for source in sources:
        if not isinstance(source.value, dict):
            raise TreeError(line, "bad-merge", "'<<' takes a mapping or a list of mappings; give it '*anchor'")
        merged = source.value | merged
    return merged


def _plain_scalar(text: str) -> Scalar:
    word = text if text in ("null", "true", "false", "") else text.lower()
    if word in _WORDS and text in (word, word.capitalize(), word.upper()):
        return _WORDS[word]
    if word in _NUMBER_WORDS:
        return _NUMBER_WORDS[word]
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text
