"""From a finished film back to everything it was made from, in the database alone."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.invariants import items_touching
from db.records import Facts, WorkItem
from db.tables import ArtifactRow, AttemptRow, DerivationRow, MetricRow, WeightsRow, WorkRow


@dataclass(frozen=True)
class Maker:
    """The attempt that made an object: where, when, how long, and from which code and seed (`facts`)."""

    item: WorkItem
    attempt: int
    worker: str
    started_at: float
    useful_seconds: float
    num_gpus: int
    facts: Facts
    metrics: dict[str, float]


@dataclass(frozen=True)
class Node:
    """An object in the tree: what it served as, and what it was made from.

    The span is in seconds of the object above it, None for the whole of it; `at_seconds` is the asked moment in this
    object's own time, None when no moment was asked for.
    """

    role: str
    sha256: str
    kind: str
    name: str
    size: int
    object_key: str
    maker: Maker | None
    span: tuple[float, float] | None
    at_seconds: float | None
    inputs: "tuple[Node, ...]"


def trace(session: Session, sha256: str, at_seconds: float | None = None) -> Node | None:
    """Return the tree under the object, or None when nothing is known of it.

    With `at_seconds` (from the object's start) only those parts are followed that this moment came from.
    """
    item = _maker_of(session, sha256)
    if item is None and session.get(ArtifactRow, sha256) is None:
        return None
    return _node(session, sha256, "film" if item and item.kind == "film" else "object", item, None, at_seconds, ())


def _node(
    session: Session,
    sha256: str,
    role: str,
    item: WorkItem | None,
    span: tuple[float, float] | None,
    at_seconds: float | None,
    above: tuple[WorkItem, ...],
) -> Node:
    attempt = _winner(session, item, sha256) if item and item not in above else None
    arrows = _arrows(session, attempt.id, sha256, at_seconds) if attempt else []
    inputs = []
    for arrow in arrows:
        source = WorkItem(arrow.source_kind, arrow.source_key) if arrow.source_kind else None
        part = _span(arrow)
        at = at_seconds - part[0] if at_seconds is not None and part else at_seconds
        path = (*above, item) if item else above
        inputs.append(_node(session, arrow.parent_sha256, arrow.role, source, part, at, path))
    kind, name, size, object_key = _described(session, sha256)
    maker = _maker(session, item, attempt) if item and attempt else None
    return Node(role, sha256, kind, name, size, object_key, maker, span, at_seconds, tuple(inputs))


def _maker_of(session: Session, sha256: str) -> WorkItem | None:
    """Return the done item that made this object; a film before its parts, should it be one part unchanged."""
    order = {"film": 0, "shot": 1, "segment": 2, "condition": 3}
    return min(items_touching(session, sha256), key=lambda item: (order[item.kind], item.key), default=None)


def _winner(session: Session, item: WorkItem, sha256: str) -> AttemptRow | None:
    """Return the attempt whose output this is; also one that has lost since, for films older than a repair."""
    query = (
        select(AttemptRow)
        .join(WorkRow, WorkRow.id == AttemptRow.work_id)
        .where(WorkRow.kind == item.kind, WorkRow.key == item.key)
        .order_by((AttemptRow.state == "done").desc(), AttemptRow.number.desc())
    )
    made = select(DerivationRow.attempt_id).where(DerivationRow.child_sha256 == sha256)
    attempts = list(session.execute(query).scalars())
    makers = set(session.execute(made).scalars())
    return next((a for a in attempts if a.id in makers), next((a for a in attempts if a.state == "done"), None))


def _arrows(session: Session, attempt_id: int, sha256: str, at_seconds: float | None) -> Sequence[DerivationRow]:
    query = select(DerivationRow).where(DerivationRow.attempt_id == attempt_id, DerivationRow.child_sha256 == sha256)
    arrows = list(session.execute(query.order_by(DerivationRow.position)).scalars())
    if at_seconds is None:
        return arrows
    spans = [(arrow, _span(arrow)) for arrow in arrows]
    return [arrow for arrow, span in spans if span is None or span[0] <= at_seconds < span[1]]


def _span(arrow: DerivationRow) -> tuple[float, float] | None:
    if arrow.start_seconds is None or arrow.end_seconds is None:
        return None
    return arrow.start_seconds, arrow.end_seconds


def _described(session: Session, sha256: str) -> tuple[str, str, int, str]:
    artifact, weights = session.get(ArtifactRow, sha256), session.get(WeightsRow, sha256)
    if weights:
        return "weights", weights.name, weights.size, artifact.object_key if artifact else ""
    if artifact:
        return artifact.kind, artifact.name, artifact.size, artifact.object_key
    return "", "", 0, ""


def _maker(session: Session, item: WorkItem, row: AttemptRow) -> Maker:
    metrics = session.execute(select(MetricRow).where(MetricRow.attempt_id == row.id)).scalars()
    return Maker(
        item,
        row.number,
        row.worker,
        row.started_at,
        row.useful_seconds,
        row.num_gpus,
        row.facts,
        {metric.name: metric.value for metric in metrics},
    )
