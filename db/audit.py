"""The audit trail: rows that are only added, each holding the digest of the one before it."""

import hashlib
import json
from collections.abc import Mapping

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from db.records import AuditEntry
from db.tables import AuditRow

GENESIS = "0" * 64
AUDIT_LOCK = 0x61756474  # "audt": writers of the trail queue up behind each other


def append(session: Session, at: float, actor: str, action: str, subject: str, detail: Mapping[str, object]) -> None:
    """Add a row to the trail inside the caller's transaction; it appears when, and only if, that commits."""
    if session.get_bind().dialect.name == "postgresql":  # SQLite's writers already stand in one line
        session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": AUDIT_LOCK})
    last = session.execute(select(AuditRow).order_by(AuditRow.position.desc()).limit(1)).scalar_one_or_none()
    position, previous = (last.position + 1, last.digest) if last else (1, GENESIS)
    text_detail = json.dumps(detail, sort_keys=True, separators=(",", ":"))
    row = AuditEntry(position, at, actor, action, subject, text_detail, previous, "")
    session.add(
        AuditRow(
            position=position,
            at=at,
            actor=actor,
            action=action,
            subject=subject,
            detail=text_detail,
            previous=previous,
            digest=digest(row),
        )
    )
    session.flush()


def digest(entry: AuditEntry) -> str:
    """Return the digest that a row must have: over all its fields and the digest of the row before it."""
    fields = [entry.position, entry.at.hex(), entry.actor, entry.action, entry.subject, entry.detail, entry.previous]
    return hashlib.sha256(json.dumps(fields, ensure_ascii=True).encode()).hexdigest()


def entries(session: Session, subject: str = "") -> list[AuditEntry]:
    """Return the trail in order, or the part of it about one subject."""
    query = select(AuditRow).order_by(AuditRow.position)
    if subject:
        query = query.where(AuditRow.subject == subject)
    return [
        AuditEntry(r.position, r.at, r.actor, r.action, r.subject, r.detail, r.previous, r.digest)
        for r in session.execute(query).scalars()
    ]


def verify(trail: list[AuditEntry], anchor: tuple[int, str] = (0, GENESIS)) -> list[str]:
    """Return what is wrong with a whole trail, one sentence each; nothing when it is intact.

    `anchor` is the position and digest that the trail had at some earlier time, kept outside the database: without it,
    rows cut off at the end cannot be noticed.
    """
    faults: list[str] = []
    previous, expected = GENESIS, 1
    for entry in trail:
        if entry.position != expected:
            faults.append(f"audit row {expected} is missing: the row before {entry.position} was removed")
        if entry.previous != previous and entry.position == expected:
            faults.append(f"audit row {entry.position} does not follow the row before it: one of them was changed")
        if digest(entry) != entry.digest:
            faults.append(f"audit row {entry.position} was changed: its digest does not fit its fields")
        previous, expected = entry.digest, entry.position + 1
    return faults + _check_anchor(trail, anchor)


def _check_anchor(trail: list[AuditEntry], anchor: tuple[int, str]) -> list[str]:
    position, expected = anchor
    if position == 0:
        return []
    held = {entry.position: entry.digest for entry in trail}.get(position)
    if held is None:
        return [f"audit rows up to {position} once existed, the trail ends at {len(trail)}: its end was cut off"]
    if held != expected:
        return [f"audit row {position} is not the one that was anchored: the trail was written anew"]
    return []
