"""What people decide: waive a segment, take that back, try again, close the breaker. Each leaves an audit row."""

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from db import audit
from db.claims import RELEASED, lock, lose, running
from db.errors import AlreadyDone
from db.records import WAIVERS, WorkItem
from db.tables import AttemptRow, EpisodeRow


def waive(session: Session, item: WorkItem, how: str, who: str, why: str, now: float) -> bool:
    """Let the film be made without the item; a worker that is at it will not be able to publish.

    False when it was waived so before. Raises: AlreadyDone when it has a winner, ValueError when `how` is unknown.
    """
    if how not in WAIVERS:
        raise ValueError(f"waive {item} with {how!r}: not one of {', '.join(WAIVERS)}")
    row = lock(session, item)
    if row.state == "done":
        raise AlreadyDone(str(item), row.sha256)
    if row.waived_with == how:
        return False
    current = running(session, row)
    if current:
        lose(current, RELEASED, f"waived by {who}", now)
    row.state, row.waived_with, row.lease_until = "waived", how, 0.0
    session.flush()
    audit.append(session, now, who, "waived", str(item), {"with": how, "why": why})
    return True


def retry(session: Session, item: WorkItem, who: str, why: str, now: float) -> bool:
    """Forgive what failed so far, and the waiver, so that the farm tries again; False when it is running or done."""
    row = lock(session, item)
    if row.state in ("running", "done"):
        return False
    before = {"state": row.state, "attempts": row.attempt, "waived_with": row.waived_with, "why": why}
    row.state, row.forgiven, row.waived_with = "pending", row.attempt, ""
    session.flush()
    audit.append(session, now, who, "retried", str(item), before)
    return True


def close_breaker(session: Session, episode_key: str, who: str, why: str, now: float) -> None:
    """Count only attempts that begin from now on against the episode's breaker."""
    newest = session.execute(select(func.coalesce(func.max(AttemptRow.id), 0))).scalar_one()
    session.execute(update(EpisodeRow).where(EpisodeRow.key == episode_key).values(breaker_from=newest))
    audit.append(session, now, who, "breaker closed", f"episode {episode_key}", {"why": why})
