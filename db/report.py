"""Questions to the ledger: where work stands, what was tried, what it cost."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from db.records import Attempt, Behalf, EpisodeEntry, ItemStatus, WorkItem
from db.tables import ArtifactRow, AttemptRow, EpisodeRow, SegmentRow, ShotRow, WorkRow

MANY = 500  # keys in one question; SQLite takes no more than some thousands


@dataclass(frozen=True)
class Usage:
    """What work cost: worker seconds, and GPU seconds (seconds x GPUs held), useful if the attempt won."""

    num_attempts: int
    useful_seconds: float
    wasted_seconds: float
    useful_gpu_seconds: float
    wasted_gpu_seconds: float


@dataclass(frozen=True)
class SegmentStatus:
    """One line of an episode's table: a segment in one of its shots."""

    shot_id: str
    shot_position: int
    segment_position: int
    status: ItemStatus
    failure_class: str  # of the newest attempt
    message: str


def item_statuses(session: Session, items: Sequence[WorkItem]) -> dict[WorkItem, ItemStatus]:
    """Return where each known item stands; unknown ones are left out."""
    found: dict[WorkItem, ItemStatus] = {}
    for kind in sorted({item.kind for item in items}):
        keys = sorted({item.key for item in items if item.kind == kind})
        for start in range(0, len(keys), MANY):
            query = _statuses().where(WorkRow.kind == kind, WorkRow.key.in_(keys[start : start + MANY]))
            found |= {status.item: status for status in _read_statuses(session, query)}
    return found


def all_statuses(session: Session, kind: str = "", state: str = "") -> list[ItemStatus]:
    """Return every item, or those of a kind or state, in the order of their keys."""
    query = _statuses().order_by(WorkRow.kind, WorkRow.key)
    if kind:
        query = query.where(WorkRow.kind == kind)
    if state:
        query = query.where(WorkRow.state == state)
    return _read_statuses(session, query)


def episode_segments(session: Session, episode_key: str) -> list[SegmentStatus]:
    """Return the episode's segments in film order."""
    query = (
        _statuses()
        .add_columns(ShotRow.id, ShotRow.position, SegmentRow.position, AttemptRow.failure_class, AttemptRow.message)
        .join(SegmentRow, (WorkRow.kind == "segment") & (SegmentRow.key == WorkRow.key))
        .join(ShotRow, ShotRow.key == SegmentRow.shot_key)
        .where(ShotRow.episode_key == episode_key)
        .order_by(ShotRow.position, SegmentRow.position)
    )
    return [
        SegmentStatus(shot_id, shot, segment, _status(work, attempt, object_key), failure_class or "", message or "")
        for work, attempt, object_key, shot_id, shot, segment, failure_class, message in session.execute(query)
    ]


def attempts_of(session: Session, item: WorkItem) -> list[Attempt]:
    """Return the item's attempts in the order of their numbers."""
    query = _attempts().where(WorkRow.kind == item.kind, WorkRow.key == item.key).order_by(AttemptRow.number)
    return [_attempt(*row) for row in session.execute(query)]


def episodes(session: Session, name: str = "") -> list[EpisodeEntry]:
    """Return the episodes of a name, or all, the plan that was asked for last first."""
    query = select(EpisodeRow).order_by(EpisodeRow.submitted_at.desc(), EpisodeRow.created_at.desc(), EpisodeRow.key)
    if name:
        query = query.where(EpisodeRow.name == name)
    fields = [field.name for field in dataclasses.fields(EpisodeEntry)]
    return [EpisodeEntry(**{f: getattr(row, f) for f in fields}) for row in session.execute(query).scalars()]


def episode_attempts(session: Session, episode_key: str, newest: int = 100) -> list[Attempt]:
    """Return the newest attempts that count against the episode's breaker, oldest first."""
    since = select(EpisodeRow.breaker_from).where(EpisodeRow.key == episode_key).scalar_subquery()
    query = (
        _attempts()
        .where(AttemptRow.episode_key == episode_key, AttemptRow.id > func.coalesce(since, 0))
        .order_by(AttemptRow.id.desc())
        .limit(newest)
    )
    return [_attempt(*row) for row in reversed(list(session.execute(query)))]


def usage(session: Session, *, episode: str = "", shot: str = "", show: str = "") -> Usage:
    """Add up the attempts made on behalf of an episode, a shot, both, or a show; of everything when none is named."""
    useful, wasted, gpus = AttemptRow.useful_seconds, AttemptRow.wasted_seconds, AttemptRow.num_gpus
    sums = [func.coalesce(func.sum(column), 0.0) for column in (useful, wasted, useful * gpus, wasted * gpus)]
    query = select(func.count(AttemptRow.id), *sums)
    if episode:
        query = query.where(AttemptRow.episode_key == episode)
    if shot:
        query = query.where(AttemptRow.shot_key == shot)
    if show:
        query = query.where(AttemptRow.episode_key.in_(select(EpisodeRow.key).where(EpisodeRow.show == show)))
    num_attempts, *seconds = session.execute(query).one()
    return Usage(num_attempts, *map(float, seconds))


def _statuses() -> "Select[WorkRow, AttemptRow, str]":
    return (
        select(WorkRow, AttemptRow, ArtifactRow.object_key)
        .join(AttemptRow, (AttemptRow.work_id == WorkRow.id) & (AttemptRow.number == WorkRow.attempt), isouter=True)
        .join(ArtifactRow, ArtifactRow.sha256 == WorkRow.sha256, isouter=True)
    )


def _read_statuses(session: Session, query: "Select[WorkRow, AttemptRow, str]") -> list[ItemStatus]:
    return [_status(*row) for row in session.execute(query)]


def _status(work: WorkRow, attempt: AttemptRow | None, object_key: str | None) -> ItemStatus:
    return ItemStatus(
        item=WorkItem(work.kind, work.key),
        state=work.state,  # type: ignore[arg-type]  # only db.claims and db.decisions write it
        attempt=work.attempt,
        worker=attempt.worker if attempt else "",
        lease_until=work.lease_until,
        sha256=work.sha256,
        object_key=object_key or "",
        winner=work.winner,
        waived_with=work.waived_with,
        forgiven=work.forgiven,
    )


def _attempts() -> "Select[str, str, AttemptRow]":
    return select(WorkRow.kind, WorkRow.key, AttemptRow).join(AttemptRow, AttemptRow.work_id == WorkRow.id)


def _attempt(kind: str, key: str, row: AttemptRow) -> Attempt:
    return Attempt(
        item=WorkItem(kind, key),
        number=row.number,
        worker=row.worker,
        state=row.state,  # type: ignore[arg-type]  # only db.claims writes it
        failure_class=row.failure_class,
        message=row.message,
        started_at=row.started_at,
        ended_at=row.ended_at,
        useful_seconds=row.useful_seconds,
        wasted_seconds=row.wasted_seconds,
        num_gpus=row.num_gpus,
        behalf=Behalf(row.episode_key, row.shot_key),
        facts=row.facts,
    )
