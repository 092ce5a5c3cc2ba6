"""Claim, renew, finish, fail: who may publish a work item. Each function runs inside one transaction.

The attempt number is the fencing token: it only grows, and only its newest holder may finish. Leases decide when a
silent holder may be passed over; they are a courtesy that saves work, never what keeps results right.
"""

from sqlalchemy import select
from sqlalchemy.orm import Session

from db import audit
from db.errors import AlreadyDone, Disagreement, Held, LeaseLost
from db.records import Behalf, Claim, Record, WorkItem
from db.rows import add_record, insert_new
from db.tables import AttemptRow, WorkRow

LOST = "infrastructure"  # what it counts as when a worker falls silent
RELEASED = "preempted"  # what costs no retry
MAX_MESSAGE = 4000
SEEN_SILENT = "seen_silent"  # fact of a running attempt: when somebody first saw it past its lease


def claim(
    session: Session,
    item: WorkItem,
    worker: str,
    lease_seconds: float,
    token: str,
    behalf: Behalf,
    num_gpus: int,
    now: float,
) -> Claim:
    """Give out the next attempt number, or find the claim that this very `token` already has.

    Raises: Held while another's lease runs, AlreadyDone when the item has a winner or was waived.
    """
    row = lock(session, item)
    if row.state in ("done", "waived"):
        raise AlreadyDone(str(item), row.sha256, row.waived_with)
    current = running(session, row)
    if current and current.token == token:
        return Claim(item, row.attempt, token, worker, current.started_at, row.lease_until)
    if current and row.lease_until > now:
        raise Held(str(item), current.worker, current.number, row.lease_until - now)
    if current:
        lose(current, LOST, f"silent past its lease; passed over by {worker}", now)
    row.attempt, row.state, row.lease_until = row.attempt + 1, "running", now + lease_seconds
    attempt = AttemptRow(work_id=row.id, number=row.attempt, token=token, worker=worker, state="running")
    attempt.started_at = attempt.renewed_at = now
    attempt.num_gpus, attempt.episode_key, attempt.shot_key = num_gpus, behalf.episode, behalf.shot
    session.add(attempt)
    return Claim(item, row.attempt, token, worker, now, row.lease_until)


def renew(session: Session, claim: Claim, lease_seconds: float, now: float) -> float:
    """Return the new end of the lease; a lease that ran out but that nobody took is still good. Raises: LeaseLost."""
    row, attempt = _held(session, claim)
    row.lease_until, attempt.renewed_at = now + lease_seconds, now
    return row.lease_until


def finish(session: Session, claim: Claim, record: Record, now: float) -> None:
    """Make the attempt the winner and write its lineage; done once, however often it is called. Raises: LeaseLost."""
    row = lock(session, claim.item)
    won = _winner(session, row)
    if won and won.token == claim.token:
        return
    row, attempt = _held(session, claim)
    _win(session, row, attempt, record, now)


def fail(session: Session, claim: Claim, failure_class: str, message: str, seconds: float, now: float) -> bool:
    """End the attempt without a result; False when a newer one has taken over, which already ended it."""
    try:
        row, attempt = _held(session, claim)
    except LeaseLost:
        return False
    _end(attempt, "failed", failure_class, message, now)
    attempt.wasted_seconds = max(0.0, seconds)
    row.state, row.lease_until = "pending" if failure_class == RELEASED else "failed", 0.0
    return True


def adopt(
    session: Session, item: WorkItem, number: int, token: str, worker: str, record: Record, behalf: Behalf, now: float
) -> bool:
    """Write down a winner that the store already names: its worker died, or was fenced, before it could.

    True when the ledger did not know. Raises: Disagreement when the ledger has another winner.
    """
    row = lock(session, item)
    won = _winner(session, row)
    if won and won.token == token:
        return False
    if won:
        raise Disagreement(
            f"{item}: the ledger's winner is attempt {won.number}, object {row.sha256}; the store's is {record.sha256}"
        )
    current = running(session, row)
    if current and current.token != token:
        lose(current, RELEASED, f"superseded: attempt {number} of {worker} had published", now)
    known = session.execute(
        select(AttemptRow).where(AttemptRow.work_id == row.id, AttemptRow.token == token)
    ).scalar_one_or_none()
    attempt = known or _insert_attempt(session, row, number, token, worker, behalf, now - record.seconds)
    session.flush()
    _win(session, row, attempt, record, now)
    return True


def expire(session: Session, now: float) -> list[WorkItem]:
    """End the attempts that are still silent a whole lease after they were first seen past theirs; return the items.

    One look is not enough: after a database was away for longer than a lease every living worker is past its own, and
    renews it as soon as it is heard.
    """
    query = (
        select(WorkRow, AttemptRow)
        .join(AttemptRow, (AttemptRow.work_id == WorkRow.id) & (AttemptRow.number == WorkRow.attempt))
        .where(WorkRow.state == "running", WorkRow.lease_until <= now)
        .order_by(WorkRow.id)
    )
    ended = []
    for row, attempt in list(session.execute(query.with_for_update(skip_locked=True, of=WorkRow))):
        seen = float(attempt.facts.get(SEEN_SILENT, 0.0))
        if seen <= attempt.renewed_at:
            attempt.facts = {**attempt.facts, SEEN_SILENT: now}
        elif now - seen >= row.lease_until - attempt.renewed_at:
            lose(attempt, LOST, "silent past its lease", now)
            row.state, row.lease_until = "pending", 0.0
            ended.append(WorkItem(row.kind, row.key))
    return ended


def pass_over(session: Session, item: WorkItem, worker: str, why: str, now: float, failure_class: str = LOST) -> bool:
    """End the running attempt of a worker that is known to be gone; False when it is not the one that runs."""
    row = lock(session, item)
    current = running(session, row)
    if not current or current.worker != worker:
        return False
    lose(current, failure_class, why, now)
    row.state, row.lease_until = "pending", 0.0
    return True


def reopen(session: Session, item: WorkItem, actor: str, why: str, now: float) -> bool:
    """Take a done item's winner away, because its output is gone or wrong; False when it was not done."""
    row = lock(session, item)
    won = _winner(session, row)
    if row.state != "done" or won is None:
        return False
    lose(won, LOST, why, now)
    won.wasted_seconds, won.useful_seconds = won.useful_seconds, 0.0
    detail = {"why": why, "attempt": won.number, "sha256": row.sha256}
    row.state, row.sha256, row.winner, row.forgiven = "pending", "", 0, row.attempt
    session.flush()
    audit.append(session, now, actor, "reopened", str(item), detail)
    return True


def lock(session: Session, item: WorkItem) -> WorkRow:
    """Return the item's row, locked until the transaction ends; made if it is new."""
    query = select(WorkRow).where(WorkRow.kind == item.kind, WorkRow.key == item.key).with_for_update()
    row = session.execute(query).scalar_one_or_none()
    if row is None:
        insert_new(session, WorkRow, [{"kind": item.kind, "key": item.key}])
        row = session.execute(query).scalar_one()
    return row


def running(session: Session, row: WorkRow) -> AttemptRow | None:
    """Return the attempt that holds the row now."""
    if row.state != "running":
        return None
    return session.execute(
        select(AttemptRow).where(AttemptRow.work_id == row.id, AttemptRow.number == row.attempt)
    ).scalar_one()


def lose(attempt: AttemptRow, failure_class: str, why: str, now: float) -> None:
    """End an attempt that others have to end; all it did until its last sign of life is wasted."""
    wasted = max(0.0, attempt.renewed_at - attempt.started_at)
    _end(attempt, "lost", failure_class, why, now)
    attempt.wasted_seconds = wasted


def _held(session: Session, claim: Claim) -> tuple[WorkRow, AttemptRow]:
    row = lock(session, claim.item)
    attempt = running(session, row)
    if attempt is None or attempt.number != claim.attempt or attempt.token != claim.token:
        raise LeaseLost(str(claim.item), claim.attempt, row.attempt)
    return row, attempt


def _winner(session: Session, row: WorkRow) -> AttemptRow | None:
    query = select(AttemptRow).where(AttemptRow.work_id == row.id, AttemptRow.state == "done")
    return session.execute(query).scalar_one_or_none()


def _win(session: Session, row: WorkRow, attempt: AttemptRow, record: Record, now: float) -> None:
    _end(attempt, "done", "", "", now)
    attempt.useful_seconds, attempt.wasted_seconds, attempt.facts = max(0.0, record.seconds), 0.0, dict(record.facts)
    row.state, row.winner, row.sha256, row.lease_until, row.waived_with = "done", attempt.number, record.sha256, 0.0, ""
    session.flush()
    add_record(session, attempt.id, record, now)
    subject = f"{row.kind} {row.key}"
    audit.append(
        session, now, attempt.worker, "published", subject, {"attempt": attempt.number, "sha256": record.sha256}
    )


def _end(attempt: AttemptRow, state: str, failure_class: str, message: str, now: float) -> None:
    attempt.state, attempt.failure_class, attempt.ended_at = state, failure_class, now
    attempt.message = message.replace("\x00", "")[:MAX_MESSAGE]


def _insert_attempt(
    session: Session, row: WorkRow, number: int, token: str, worker: str, behalf: Behalf, started_at: float
) -> AttemptRow:
    """Bring back an attempt that a restored database has forgotten, under its old number if that is still free."""
    row.attempt = number if number > row.attempt else row.attempt + 1
    attempt = AttemptRow(work_id=row.id, number=row.attempt, token=token, worker=worker, state="lost")
    attempt.started_at = attempt.renewed_at = started_at
    attempt.episode_key, attempt.shot_key = behalf.episode, behalf.shot
    session.add(attempt)
    return attempt
