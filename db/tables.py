"""The tables. Work is generic: a segment, a shot picture, a film and a condition are claimed and published alike."""

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

KEY = String(128)
SHA = String(64)
NAME = String(255)
DONE = text("state = 'done'")
ROW = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts rows up only in a plain INTEGER


class Table(DeclarativeBase):
    """Base of all tables; dictionaries are JSON."""

    type_annotation_map = {dict[str, Any]: JSON}


class EpisodeRow(Table):
    """One planned episode."""

    __tablename__ = "episodes"

    key: Mapped[str] = mapped_column(KEY, primary_key=True)
    name: Mapped[str] = mapped_column(NAME, index=True)
    title: Mapped[str] = mapped_column(Text)
    show: Mapped[str] = mapped_column(NAME, index=True)
    profile: Mapped[str] = mapped_column(NAME)
    fps: Mapped[float] = mapped_column(Float(53))
    num_frames: Mapped[int]
    plan_sha256: Mapped[str] = mapped_column(SHA)
    manifest_sha256: Mapped[str] = mapped_column(SHA)
    created_at: Mapped[float] = mapped_column(Float(53))
    submitted_at: Mapped[float] = mapped_column(Float(53), server_default="0")  # when it was last asked for
    breaker_from: Mapped[int] = mapped_column(BigInteger, default=0)  # attempts up to this row id no longer count


class ShotRow(Table):
    """One shot in one episode, in film order; its key is shared by every episode that shows the same pixels."""

    __tablename__ = "shots"

    episode_key: Mapped[str] = mapped_column(ForeignKey("episodes.key"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(NAME)
    key: Mapped[str] = mapped_column(KEY, index=True)
    start_frame: Mapped[int]
    num_frames: Mapped[int]


class SegmentRow(Table):
    """One segment of a shot."""

    __tablename__ = "segments"

    key: Mapped[str] = mapped_column(KEY, primary_key=True)
    shot_key: Mapped[str] = mapped_column(KEY, index=True)
    position: Mapped[int]
    first_window: Mapped[int]
    num_windows: Mapped[int]


class WorkRow(Table):
    """Where one work item stands. `attempt` is the newest number given out: the fencing token."""

    __tablename__ = "work"
    __table_args__ = (
        UniqueConstraint("kind", "key"),
        Index("work_by_digest", "sha256"),
        Index("work_by_state", "state"),
    )

    id: Mapped[int] = mapped_column(ROW, primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    key: Mapped[str] = mapped_column(KEY)
    state: Mapped[str] = mapped_column(String(16), default="pending")
    attempt: Mapped[int] = mapped_column(default=0)
    lease_until: Mapped[float] = mapped_column(Float(53), default=0.0)
    sha256: Mapped[str] = mapped_column(SHA, default="")
    winner: Mapped[int] = mapped_column(default=0)
    waived_with: Mapped[str] = mapped_column(String(16), default="")
    forgiven: Mapped[int] = mapped_column(default=0)


class AttemptRow(Table):
    """One try at a work item; what it cost is useful if it won and wasted if not."""

    __tablename__ = "attempts"
    __table_args__ = (
        UniqueConstraint("work_id", "number"),
        Index("one_winner", "work_id", unique=True, sqlite_where=DONE, postgresql_where=DONE),
        CheckConstraint("useful_seconds >= 0 and wasted_seconds >= 0", name="attempt_seconds"),
    )

    id: Mapped[int] = mapped_column(ROW, primary_key=True)
    work_id: Mapped[int] = mapped_column(ForeignKey("work.id"))
    number: Mapped[int]
    token: Mapped[str] = mapped_column(String(32))
    worker: Mapped[str] = mapped_column(NAME)
    state: Mapped[str] = mapped_column(String(16))
    failure_class: Mapped[str] = mapped_column(String(32), default="")
    message: Mapped[str] = mapped_column(Text, default="")
    started_at: Mapped[float] = mapped_column(Float(53))
    renewed_at: Mapped[float] = mapped_column(Float(53))
    ended_at: Mapped[float | None] = mapped_column(Float(53))
    useful_seconds: Mapped[float] = mapped_column(Float(53), default=0.0)
    wasted_seconds: Mapped[float] = mapped_column(Float(53), default=0.0)
    num_gpus: Mapped[int] = mapped_column(default=0)
    episode_key: Mapped[str] = mapped_column(KEY, index=True, default="")
    shot_key: Mapped[str] = mapped_column(KEY, index=True, default="")
    facts: Mapped[dict[str, Any]] = mapped_column(default=dict)


class ArtifactRow(Table):
    """Bytes that exist, named by their digest."""

    __tablename__ = "artifacts"

    sha256: Mapped[str] = mapped_column(SHA, primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger)
    kind: Mapped[str] = mapped_column(String(64))
    object_key: Mapped[str] = mapped_column(NAME)
    name: Mapped[str] = mapped_column(Text)
    created_at: Mapped[float] = mapped_column(Float(53))


class DerivationRow(Table):
    """One arrow of the data flow, drawn by the attempt that made the child."""

    __tablename__ = "derivations"
    __table_args__ = (
        UniqueConstraint("attempt_id", "position"),
        Index("derivations_by_child", "child_sha256"),
        Index("derivations_by_parent", "parent_sha256"),
    )

    id: Mapped[int] = mapped_column(ROW, primary_key=True)
    attempt_id: Mapped[int] = mapped_column(ForeignKey("attempts.id"))
    position: Mapped[int]
    child_sha256: Mapped[str] = mapped_column(SHA)
    parent_sha256: Mapped[str] = mapped_column(SHA)
    role: Mapped[str] = mapped_column(String(64))
    source_kind: Mapped[str] = mapped_column(String(16), default="")
    source_key: Mapped[str] = mapped_column(KEY, default="")
    start_seconds: Mapped[float | None] = mapped_column(Float(53))
    end_seconds: Mapped[float | None] = mapped_column(Float(53))


class WeightsRow(Table):
    """A weights file that outputs derive from; the file itself is not in the store."""

    __tablename__ = "weights"

    sha256: Mapped[str] = mapped_column(SHA, primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    profile: Mapped[str] = mapped_column(NAME)
    size: Mapped[int] = mapped_column(BigInteger)
    licence: Mapped[str] = mapped_column(Text)


class MetricRow(Table):
    """One measured number of the attempt that won."""

    __tablename__ = "metrics"

    attempt_id: Mapped[int] = mapped_column(ForeignKey("attempts.id"), primary_key=True)
    name: Mapped[str] = mapped_column(NAME, primary_key=True)
    value: Mapped[float] = mapped_column(Float(53))


class AuditRow(Table):
    """What was decided, by whom; rows are only added (a trigger refuses the rest) and each hashes the one before."""

    __tablename__ = "audit"

    position: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    at: Mapped[float] = mapped_column(Float(53))
    actor: Mapped[str] = mapped_column(NAME)
    action: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str] = mapped_column(NAME)
    detail: Mapped[str] = mapped_column(Text)
    previous: Mapped[str] = mapped_column(SHA)
    digest: Mapped[str] = mapped_column(SHA)
