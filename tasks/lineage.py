"""Where a film, or any second of it, comes from: `farm lineage FILE [--at SECONDS]`."""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from db.ledger import Ledger
from db.lineage import Maker, Node
from tasks.errors import ObjectMissing
from tasks.store import digest

SHORT = 12  # digits of a digest that people compare


def trace(ledger: Ledger, source: str | Path, at_seconds: float | None = None) -> Node:
    """Return the tree from an object back to all it was made from; `source` is its SHA-256 or the file itself.

    `at_seconds` keeps only what that moment of the film came from.
    Raises: ObjectMissing when nothing is known of it, or the film does not last that long; OSError for an unreadable
    file.
    """
    sha256 = digest(source)[0] if isinstance(source, Path) else source
    tree = ledger.trace(sha256, at_seconds)
    if tree is None:
        raise ObjectMissing(f"{source}: no object {sha256} in the ledger; was it changed after it was published?")
    if at_seconds is not None and not 0 <= at_seconds < _end_seconds(ledger, sha256):
        raise ObjectMissing(f"{source}: second {at_seconds:g} is outside of it")
    return tree


def to_json(node: Node) -> dict[str, Any]:
    """Return the tree as plain values."""
    return asdict(node)


def to_lines(node: Node, depth: int = 0) -> Iterator[str]:
    """Yield the tree as text, one object a line, with who made it beneath."""
    indent = "  " * depth
    span = f" [{node.span[0]:.2f}-{node.span[1]:.2f} s]" if node.span else ""
    moment = f" at {node.at_seconds:.2f} s" if node.at_seconds is not None and node.maker else ""
    named = f" {node.name}" if node.name else ""
    yield f"{indent}{node.role}{span}{moment}: {node.kind or 'unknown'}{named} {node.sha256[:SHORT]}"
    if node.maker:
        yield f"{indent}  by {_by(node.maker)}"
    for part in node.inputs:
        yield from to_lines(part, depth + 1)


def walk(node: Node) -> Iterator[Node]:
    """Yield the node and everything beneath it."""
    yield node
    for part in node.inputs:
        yield from walk(part)


def _end_seconds(ledger: Ledger, sha256: str) -> float:
    whole = ledger.trace(sha256)
    ends = [part.span[1] for part in whole.inputs if part.span] if whole else []
    return max(ends, default=float("inf"))


def _by(maker: Maker) -> str:
    started = datetime.fromtimestamp(maker.started_at, UTC).strftime("%Y-%m-%d %H:%M:%S")
    facts = " ".join(f"{name}={value}" for name, value in sorted(maker.facts.items()))
    return (
        f"{maker.item.kind} {maker.item.key[:SHORT]} attempt {maker.attempt} of {maker.worker}, {started} UTC, "
        f"{maker.useful_seconds:.1f} s {facts}".rstrip()
    )
