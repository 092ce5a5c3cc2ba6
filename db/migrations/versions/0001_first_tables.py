"""First tables: episodes, shots, segments, work, attempts, artifacts, derivations, weights, metrics, audit."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ROW = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
REAL = sa.Float(precision=53)
DONE = sa.text("state = 'done'")
REFUSAL = "the audit trail is only added to"


def upgrade() -> None:
    for create in (
        _artifacts,
        _audit,
        _episodes,
        _segments,
        _weights,
        _work,
        _attempts,
        _shots,
        _derivations,
        _metrics,
    ):
        create()
    _protect_audit()


def downgrade() -> None:
    for table in (
        "metrics",
        "derivations",
        "shots",
        "attempts",
        "work",
        "weights",
        "segments",
        "episodes",
        "audit",
        "artifacts",
    ):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION refuse_audit_change()")


def _protect_audit() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION '{REFUSAL}'; END $$"
        )
        op.execute(
            "CREATE TRIGGER audit_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change()"
        )
        return
    for verb in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER audit_refuses_{verb.lower()} BEFORE {verb} ON audit "
            f"BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END"
        )


def _artifacts() -> None:
    op.create_table(
        "artifacts",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("object_key", sa.String(length=255), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", REAL, nullable=False),
        sa.PrimaryKeyConstraint("sha256"),
    )


def _audit() -> None:
    op.create_table(
        "audit",
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", REAL, nullable=False),
        sa.Column("actor", sa.String(length=255), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("previous", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("position"),
    )


def _episodes() -> None:
    op.create_table(
        "episodes",
        sa.Column("key", sa.String(length=128), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("show", sa.String(length=255), nullable=False),
        sa.Column("profile", sa.String(length=255), nullable=False),
        sa.Column("fps", REAL, nullable=False),
        sa.Column("num_frames", sa.Integer(), nullable=False),
        sa.Column("plan_sha256", sa.String(length=64), nullable=False),
        sa.Column("manifest_sha256", sa.String(length=64), nullable=False),
        sa.Column("created_at", REAL, nullable=False),
        sa.Column("breaker_from", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_index("ix_episodes_name", "episodes", ["name"], unique=False)
    op.create_index("ix_episodes_show", "episodes", ["show"], unique=False)


def _segments() -> None:
    op.create_table(
        "segments",
        sa.Column("key", sa.String(length=128), nullable=False),
        sa.Column("shot_key", sa.String(length=128), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("first_window", sa.Integer(), nullable=False),
        sa.Column("num_windows", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_index("ix_segments_shot_key", "segments", ["shot_key"], unique=False)


def _weights() -> None:
    op.create_table(
        "weights",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("profile", sa.String(length=255), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("licence", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("sha256"),
    )


def _work() -> None:
    op.create_table(
        "work",
        sa.Column("id", ROW, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("key", sa.String(length=128), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("lease_until", REAL, nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("winner", sa.Integer(), nullable=False),
        sa.Column("waived_with", sa.String(length=16), nullable=False),
        sa.Column("forgiven", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("kind", "key"),
    )
    op.create_index("work_by_digest", "work", ["sha256"], unique=False)
    op.create_index("work_by_state", "work", ["state"], unique=False)


def _attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("id", ROW, nullable=False),
        sa.Column("work_id", ROW, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("token", sa.String(length=32), nullable=False),
        sa.Column("worker", sa.String(length=255), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("failure_class", sa.String(length=32), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("started_at", REAL, nullable=False),
        sa.Column("renewed_at", REAL, nullable=False),
        sa.Column("ended_at", REAL, nullable=True),
        sa.Column("useful_seconds", REAL, nullable=False),
        sa.Column("wasted_seconds", REAL, nullable=False),
        sa.Column("num_gpus", sa.Integer(), nullable=False),
        sa.Column("episode_key", sa.String(length=128), nullable=False),
        sa.Column("shot_key", sa.String(length=128), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.CheckConstraint("useful_seconds >= 0 and wasted_seconds >= 0", name="attempt_seconds"),
        sa.ForeignKeyConstraint(
            ["work_id"],
            ["work.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("work_id", "number"),
    )
    op.create_index("ix_attempts_episode_key", "attempts", ["episode_key"], unique=False)
    op.create_index("ix_attempts_shot_key", "attempts", ["shot_key"], unique=False)
    op.create_index("one_winner", "attempts", ["work_id"], unique=True, sqlite_where=DONE, postgresql_where=DONE)


def _shots() -> None:
    op.create_table(
        "shots",
        sa.Column("episode_key", sa.String(length=128), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("id", sa.String(length=255), nullable=False),
        sa.Column("key", sa.String(length=128), nullable=False),
        sa.Column("start_frame", sa.Integer(), nullable=False),
        sa.Column("num_frames", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["episode_key"],
            ["episodes.key"],
        ),
        sa.PrimaryKeyConstraint("episode_key", "position"),
    )
    op.create_index("ix_shots_key", "shots", ["key"], unique=False)


def _derivations() -> None:
    op.create_table(
        "derivations",
        sa.Column("id", ROW, nullable=False),
        sa.Column("attempt_id", ROW, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("child_sha256", sa.String(length=64), nullable=False),
        sa.Column("parent_sha256", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=64), nullable=False),
        sa.Column("source_kind", sa.String(length=16), nullable=False),
        sa.Column("source_key", sa.String(length=128), nullable=False),
        sa.Column("start_seconds", REAL, nullable=True),
        sa.Column("end_seconds", REAL, nullable=True),
        sa.ForeignKeyConstraint(
            ["attempt_id"],
            ["attempts.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("attempt_id", "position"),
    )
    op.create_index("derivations_by_child", "derivations", ["child_sha256"], unique=False)
    op.create_index("derivations_by_parent", "derivations", ["parent_sha256"], unique=False)


def _metrics() -> None:
    op.create_table(
        "metrics",
        sa.Column("attempt_id", ROW, nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("value", REAL, nullable=False),
        sa.ForeignKeyConstraint(
            ["attempt_id"],
            ["attempts.id"],
        ),
        sa.PrimaryKeyConstraint("attempt_id", "name"),
    )
