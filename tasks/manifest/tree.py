"""YAML or JSON as a tree that remembers lines; nothing in a file can build an object or outgrow the limits."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

MAX_BYTES = 2_000_000
MAX_NODES = 200_000  # after aliases are expanded: 2,000 shots of 60 fields are 120,000
MAX_DEPTH = 24  # the format itself needs 8

Scalar = str | int | float | bool | None
Path = tuple[str | int, ...]


class TreeError(ValueError):
    """The file cannot be read on: where, by which rule, and why."""

    def __init__(self, line: int, rule: str, message: str) -> None:
        super().__init__(message)
        self.line, self.rule = line, rule


@dataclass(slots=True)
class Node:
    """A value and the line on which it, or its key, stands; size and height count with aliases expanded."""

    line: int
    value: "Scalar | list[Node] | dict[str, Node]"
    size: int = 1
    height: int = 0

    def at(self, line: int) -> "Node":
        """Return the same value standing on another line."""
        return Node(line, self.value, self.size, self.height)


@dataclass
class Tree:
    root: Node
    duplicates: list[tuple[int, Path, str]] = field(default_factory=list)  # (line, where, key): the first one counts


def plain(node: Node) -> Any:
    """Return the tree as ordinary lists, dictionaries and scalars."""
    if isinstance(node.value, list):
        return [plain(item) for item in node.value]
    if isinstance(node.value, dict):
        return {key: plain(item) for key, item in node.value.items()}
    return node.value


def lines(node: Node, path: Path = ()) -> Iterator[tuple[Path, int]]:
    """Yield the line of every value."""
    yield path, node.line
    if isinstance(node.value, list):
        for index, item in enumerate(node.value):
            yield from lines(item, (*path, index))
    elif isinstance(node.value, dict):
        for key, item in node.value.items():
            yield from lines(item, (*path, key))


class TreeBuilder:
    """What both formats have in common: duplicates are noted, size and depth are bounded."""

    def __init__(self) -> None:
        self.duplicates: list[tuple[int, Path, str]] = []

    def node(self, line: int, value: "list[Node] | dict[str, Node]") -> Node:
        """Return a list or mapping with its size and height."""
        children = value if isinstance(value, list) else list(value.values())
        size = 1 + sum(child.size for child in children)
        height = 1 + max((child.height for child in children), default=0)
        return self.checked(Node(line, value, size, height))

    def checked(self, node: Node) -> Node:
        """Return the node. Raises TreeError when it has grown past the limits."""
        if node.size > MAX_NODES:
            message = f"the file grows to {node.size} values once its aliases are expanded, the limit is {MAX_NODES}"
            raise TreeError(node.line, "too-many-values", message + "; write fewer shots per episode or fewer aliases")
        self.deeper(node.height, node.line)
        return node

    def deeper(self, depth: int, line: int) -> None:
        """Refuse values nested too deep. Raises TreeError."""
        if depth > MAX_DEPTH:
            message = f"values are nested {depth} deep, the limit is {MAX_DEPTH}; remove the needless brackets"
            raise TreeError(line, "too-deep", message)
