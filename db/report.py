"""Questions to the ledger: where work stands, what was tried, what it cost."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, CompoundSelect, Select, func, literal, select, union
from sqlalchemy.orm import Session

from db.records import Attempt, Behalf, EpisodeEntry, ItemStatus, WorkItem
from db.tables import ArtifactRow, AttemptRow, EpisodeRow, ShotRow, WorkRow

MANY = 500  # keys in one question; SQLite takes no more than some thousands


@dataclass(frozen=True)
class Usage:
    """What work cost: worker seconds, and GPU seconds (seconds x GPUs held), useful if the attempt won."""

    num_attempts: int
    useful_seconds: float
    wasted_seconds: float
    useful_gpu_seconds: float
    wasted_gpu_seconds: float

    @property
    def gpu_seconds(self) -> float:
        return self.useful_gpu_seconds + self.wasted_gpu_seconds


NOTHING = Usage(0, 0.0, 0.0, 0.0, 0.0)


def item_statuses(session: Session, items: Sequence[WorkItem]) -> dict[WorkItem, ItemStatus]:
    """Return where each known item stands; unknown ones are left out."""
    found: dict[WorkItem, ItemStatus] = {}
    for these in _batches(items):
        found |= {status.item: status for status in _read_statuses(session, _statuses().where(these))}
    return found


def all_statuses(session: Session, kind: str = "", state: str = "") -> list[ItemStatus]:
    """Return every item, or those of a kind or state, in the order of their keys."""
    query = _statuses().order_by(WorkRow.kind, WorkRow.key)
    if kind:
        query = query.where(WorkRow.kind == kind)
    if state:
        query = query.where(WorkRow.state == state)
    return _read_statuses(session, query)


def attempts_of(session: Session, items: Sequence[WorkItem]) -> dict[WorkItem, list[Attempt]]:
    """Return the attempts at each item in the order of their numbers; items without any are left out."""
    found: dict[WorkItem, list[Attempt]] = {}
    for these in _batches(items):
        for row in session.execute(_attempts().where(these).order_by(AttemptRow.work_id, AttemptRow.number)):
            attempt = _attempt(*row)
            found.setdefault(attempt.item, []).append(attempt)
    return found


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


def usage(session: Session, *, episode: str = "", shot: str = "", show: str = "", name_of: str = "") -> Usage:
    """Add up the attempts made for an episode's plan, a shot, both, a show, or every plan of the name that one has.

    None of them given: all attempts.
    """
    query = select(*_sums())
    if episode:
        query = query.where(AttemptRow.episode_key == episode)
    if shot:
        query = query.where(AttemptRow.shot_key == shot)
    if show:
        query = query.where(AttemptRow.episode_key.in_(select(EpisodeRow.key).where(EpisodeRow.show == show)))
    if name_of:
        query = query.where(AttemptRow.episode_key.in_(_plans_like(name_of)))
    return _usage(*session.execute(query).one())


def usage_by_shot(session: Session, episode: str) -> dict[str, Usage]:
    """Add up by shot id what every plan of the name that this one has has cost; what is the film's is left out."""
    same = (ShotRow.episode_key == AttemptRow.episode_key) & (ShotRow.key == AttemptRow.shot_key)
    query = select(ShotRow.id, *_sums()).select_from(AttemptRow).join(ShotRow, same).group_by(ShotRow.id)
    query = query.where(AttemptRow.episode_key.in_(_plans_like(episode)))
    return {shot: _usage(*sums) for shot, *sums in session.execute(query)}


def usage_by_name(session: Session) -> dict[str, Usage]:
    """Add up what every episode has cost, by its name."""
    same = EpisodeRow.key == AttemptRow.episode_key
    query = select(EpisodeRow.name, *_sums()).select_from(AttemptRow).join(EpisodeRow, same).group_by(EpisodeRow.name)
    return {name: _usage(*sums) for name, *sums in session.execute(query)}


def _sums() -> list[ColumnElement[Any]]:
    useful, wasted, gpus = AttemptRow.useful_seconds, AttemptRow.wasted_seconds, AttemptRow.num_gpus
    sums = [func.coalesce(func.sum(column), 0.0) for column in (useful, wasted, useful * gpus, wasted * gpus)]
    return [func.count(AttemptRow.id), *sums]


def _usage(num_attempts: int, *seconds: float) -> Usage:
    return Usage(num_attempts, *map(float, seconds))


def _plans_like(episode: str) -> "CompoundSelect[str]":
    """Return the keys of all plans of an episode's name, edited or waived, by the key of one; itself if it is new."""
    name = select(EpisodeRow.name).where(EpisodeRow.key == episode).scalar_subquery()
    return union(select(EpisodeRow.key).where(EpisodeRow.name == name), select(literal(episode)))


def _batches(items: Sequence[WorkItem]) -> Iterator[ColumnElement[bool]]:
    """Yield conditions that name all the items, so many in one question as a database takes."""
    for kind in sorted({item.kind for item in items}):
        keys = sorted({item.key for item in items if item.kind == kind})
        for start in range(0, len(keys), MANY):
            yield (WorkRow.kind == kind) & WorkRow.key.in_(keys[start : start + MANY])


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
