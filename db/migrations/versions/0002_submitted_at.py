"""When an episode's plan was last asked for: an older plan that is put back is the newest again."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("episodes", sa.Column("submitted_at", sa.Float(precision=53), nullable=False, server_default="0"))
    op.execute("UPDATE episodes SET submitted_at = created_at")


def downgrade() -> None:
    op.drop_column("episodes", "submitted_at")
