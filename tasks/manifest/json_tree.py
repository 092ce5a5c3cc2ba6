"""JSON as a tree that remembers lines; strings and numbers are read by the standard library."""

import json
import re

from tasks.manifest.tree import Node, Path, Scalar, Tree, TreeBuilder, TreeError

_JSON_WORDS: dict[str, Scalar] = {"true": True, "false": False, "null": None}


def parse_json(text: str) -> Tree:
    """Return the file's tree. Raises TreeError."""
    return _Json(text).tree()


class _Json(TreeBuilder):
    """A small JSON reader that knows its lines; strings and numbers are the standard library's."""

    _space = re.compile(r"[ \t\n\r]*")
    _number = re.compile(r"-?(0|[1-9][0-9]{0,39})(\.[0-9]+)?([eE][-+]?[0-9]+)?")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text, self.at, self.line, self.counted = text, 0, 1, 0

    def tree(self) -> Tree:
        self._skip()
        if self.at == len(self.text):
            raise TreeError(1, "empty-file", 'the file holds nothing; begin it with {"version": 1')
        root = self._value(())
        self._skip()
        if self.at < len(self.text):
            raise self._error("something follows the closing brace")
        return Tree(root, self.duplicates)

    def _skip(self) -> None:
        match = self._space.match(self.text, self.at)
        self.at = match.end() if match else self.at
        self.line += self.text.count("\n", self.counted, self.at)
        self.counted = self.at

    def _error(self, problem: str) -> TreeError:
        return TreeError(self.line, "bad-json", f"this is not JSON: {problem}; check commas, quotes and braces here")

    def _take(self, token: str) -> bool:
        self._skip()
        found = self.text.startswith(token, self.at)
        self.at += len(token) if found else 0
        return found

    def _string(self) -> str:
        try:
            text, self.at = json.decoder.scanstring(self.text, self.at, True)  # type: ignore[attr-defined]
        except json.JSONDecodeError as exc:
            raise self._error(exc.msg.lower()) from exc
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise self._error("half of a surrogate pair")
        return str(text)

    def _value(self, path: Path) -> Node:
        self._skip()
        line = self.line
        self.deeper(len(path), line)
        if self._take("{"):
            return self._object(path, line)
        if self._take("["):
            return self._array(path, line)
        if self._take('"'):
            return Node(line, self._string())
        for word in _JSON_WORDS:
            if self._take(word):
                return Node(line, _JSON_WORDS[word])
        match = self._number.match(self.text, self.at)
        if not match:
            raise self._error("no value")
        self.at = match.end()
        return Node(line, json.loads(match.group()))

    def _array(self, path: Path, line: int) -> Node:
        items: list[Node] = []
        while not (not items and self._take("]")):
            items.append(self._value((*path, len(items))))
            if self._take("]"):
                break
            if not self._take(","):
                raise self._error("no comma between two values")
        return self.node(line, items)

    def _object(self, path: Path, line: int) -> Node:
        fields: dict[str, Node] = {}
        while not (not fields and self._take("}")):
            if not self._take('"'):
                raise self._error("no key in quotes")
            key_line, key = self.line, self._string()
            if not self._take(":"):
                raise self._error("no colon after a key")
            child = self._value((*path, key))
            if key in fields:
                self.duplicates.append((key_line, path, key))
            else:
                fields[key] = child.at(key_line)
            if self._take("}"):
                break
            if not self._take(","):
                raise self._error("no comma between two fields")
        return self.node(line, fields)
