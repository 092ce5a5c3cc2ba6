"""Writing many rows at once, and only those that are not there yet."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import delete, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from db.records import Artifact, Record
from db.tables import ArtifactRow, DerivationRow, MetricRow, Table


def insert_new(session: Session, table: type[Table], rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows, leaving those whose key exists as they are."""
    if not rows:
        return
    make = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    session.execute(make(table).on_conflict_do_nothing(), list(rows))


def add_record(session: Session, attempt_id: int, record: Record, now: float) -> None:
    """Write the artifacts, derivations and metrics of one attempt, in place of any it had."""
    add_artifacts(session, record.artifacts, now)
    session.execute(delete(DerivationRow).where(DerivationRow.attempt_id == attempt_id))
    session.execute(delete(MetricRow).where(MetricRow.attempt_id == attempt_id))
    derivations = [
        {
            "attempt_id": attempt_id,
            "position": position,
            "child_sha256": derivation.child,
            "parent_sha256": derivation.parent,
            "role": derivation.role,
            "source_kind": derivation.source.kind if derivation.source else "",
            "source_key": derivation.source.key if derivation.source else "",
            "start_seconds": derivation.start_seconds,
            "end_seconds": derivation.end_seconds,
        }
        for position, derivation in enumerate(record.derivations)
    ]
    insert_new(session, DerivationRow, derivations)
    metrics = [{"attempt_id": attempt_id, "name": name, "value": value} for name, value in record.metrics.items()]
    insert_new(session, MetricRow, metrics)


def add_artifacts(session: Session, artifacts: Sequence[Artifact], now: float) -> None:
    """Write down that these bytes exist; where they lie is filled in when it was not known before."""
    # In the order of their digests: two transactions that insert the same ones must not wait in a circle.
    ordered = sorted({artifact.sha256: artifact for artifact in artifacts}.values(), key=lambda a: a.sha256)
    rows = [
        {
            "sha256": a.sha256,
            "size": a.size,
            "kind": a.kind,
            "object_key": a.object_key,
            "name": a.name,
            "created_at": now,
        }
        for a in ordered
    ]
    insert_new(session, ArtifactRow, rows)
    for a in ordered:
        if a.object_key:
            place = update(ArtifactRow).where(ArtifactRow.sha256 == a.sha256, ArtifactRow.object_key == "")
            session.execute(place.values(object_key=a.object_key))
