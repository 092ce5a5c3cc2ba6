"""What must always be true inside the database; used by farm fsck and by every test that breaks something."""

from dataclasses import dataclass

from sqlalchemy import func, select, union
from sqlalchemy.orm import Session, aliased

from db.records import Artifact, WorkItem
from db.tables import ArtifactRow, AttemptRow, DerivationRow, WorkRow


@dataclass(frozen=True)
class Breach:
    """A rule that does not hold for one work item, in a sentence."""

    rule: str
    item: WorkItem
    message: str


def breaches(session: Session) -> list[Breach]:
    """Return every breach that can be seen without looking into the store."""
    return [*_attempts_are_monotone(session), *_one_winner(session), *_parts_are_winners(session)]


def winners(session: Session) -> dict[WorkItem, tuple[str, str]]:
    """Return for each done item the winner's token and the digest of its output."""
    query = (
        select(WorkRow.kind, WorkRow.key, AttemptRow.token, WorkRow.sha256)
        .join(AttemptRow, (AttemptRow.work_id == WorkRow.id) & (AttemptRow.number == WorkRow.winner), isouter=True)
        .where(WorkRow.state == "done")
    )
    return {WorkItem(kind, key): (token or "", sha256) for kind, key, token, sha256 in session.execute(query)}


def stored_artifacts(session: Session) -> list[Artifact]:
    """Return everything that the store must hold: outputs of done items, extras, and the inputs nobody made.

    A part of a stale film that has a new winner since may be gone; that the film is stale is another rule's finding.
    """
    done = select(AttemptRow.id).where(AttemptRow.state == "done")
    outputs = select(WorkRow.sha256).where(WorkRow.state == "done")
    extras = select(DerivationRow.child_sha256).where(DerivationRow.attempt_id.in_(done))
    inputs = select(DerivationRow.parent_sha256).where(
        DerivationRow.attempt_id.in_(done), DerivationRow.source_kind == ""
    )
    needed = union(outputs, extras, inputs).subquery()
    query = (
        select(ArtifactRow)
        .join(needed, needed.c[0] == ArtifactRow.sha256)
        .where(ArtifactRow.object_key != "")
        .order_by(ArtifactRow.object_key)
    )
    return [Artifact(r.sha256, r.size, r.kind, r.object_key, r.name) for r in session.execute(query).scalars()]


def items_touching(session: Session, sha256: str) -> list[WorkItem]:
    """Return the done items whose output or extra output has this digest."""
    output = select(WorkRow.kind, WorkRow.key).where(WorkRow.state == "done", WorkRow.sha256 == sha256)
    extra = (
        select(WorkRow.kind, WorkRow.key)
        .join(AttemptRow, (AttemptRow.work_id == WorkRow.id) & (AttemptRow.state == "done"))
        .join(DerivationRow, DerivationRow.attempt_id == AttemptRow.id)
        .where(DerivationRow.child_sha256 == sha256)
    )
    return sorted({WorkItem(kind, key) for query in (output, extra) for kind, key in session.execute(query)})


def _attempts_are_monotone(session: Session) -> list[Breach]:
    newest = func.coalesce(func.max(AttemptRow.number), 0)
    query = (
        select(WorkRow.kind, WorkRow.key, WorkRow.attempt, newest)
        .join(AttemptRow, AttemptRow.work_id == WorkRow.id, isouter=True)
        .group_by(WorkRow.id, WorkRow.kind, WorkRow.key, WorkRow.attempt)
        .having(newest != WorkRow.attempt)
    )
    found = [
        Breach(
            "attempts monotone", WorkItem(kind, key), f"number {given} is the newest given out, {last} is written down"
        )
        for kind, key, given, last in session.execute(query)
    ]
    stale = (
        select(WorkRow.kind, WorkRow.key, AttemptRow.number)
        .join(AttemptRow, AttemptRow.work_id == WorkRow.id)
        .where(AttemptRow.state == "running", (AttemptRow.number != WorkRow.attempt) | (WorkRow.state != "running"))
    )
    return found + [
        Breach("attempts monotone", WorkItem(kind, key), f"attempt {number} still runs although it was passed over")
        for kind, key, number in session.execute(stale)
    ]


def _one_winner(session: Session) -> list[Breach]:
    """The database's own index forbids two; that there is one, and the right one, is checked here."""
    done = aliased(AttemptRow)
    query = (
        select(WorkRow.kind, WorkRow.key, WorkRow.state, WorkRow.winner, done.number)
        .join(done, (done.work_id == WorkRow.id) & (done.state == "done"), isouter=True)
        .where(
            ((WorkRow.state == "done") & (func.coalesce(done.number, 0) != WorkRow.winner))
            | ((WorkRow.state != "done") & done.number.is_not(None))
        )
    )
    return [
        Breach("one winner", WorkItem(kind, key), f"is {state}, winner {winner}, but attempt {number or 'none'} won")
        for kind, key, state, winner, number in session.execute(query)
    ]


def _parts_are_winners(session: Session) -> list[Breach]:
    """What a film or shot was made of must be what its parts' own winners are."""
    part = aliased(WorkRow)
    query = (
        select(WorkRow.kind, WorkRow.key, DerivationRow.role, part.kind, part.key, part.state)
        .join(AttemptRow, (AttemptRow.work_id == WorkRow.id) & (AttemptRow.number == WorkRow.winner))
        .join(DerivationRow, DerivationRow.attempt_id == AttemptRow.id)
        .join(part, (part.kind == DerivationRow.source_kind) & (part.key == DerivationRow.source_key), isouter=True)
        .where(WorkRow.state == "done", DerivationRow.source_kind != "")
        .where((part.id.is_(None)) | ((part.state == "done") & (part.sha256 != DerivationRow.parent_sha256)))
        .order_by(WorkRow.id, DerivationRow.position)
    )
    return [
        Breach(
            "parts are winners",
            WorkItem(kind, key),
            f"its {role} is not what {part_kind} {part_key} has as winner" if part_kind else f"its {role} has no maker",
        )
        for kind, key, role, part_kind, part_key, _state in session.execute(query)
    ]
