"""The tables of phases, as they were first."""

import sqlalchemy as sa
from alembic import op

from huleedu.platform.db import Big

revision = "phases_0001"
down_revision = None
branch_labels = ("phases",)
depends_on = None


def upgrade() -> None:
    op.create_table(
        "dropped_run",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("run_id"),
    )
    op.create_table(
        "phase_result",
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("essay_id", sa.Text(), nullable=False),
        sa.Column("input_hash", sa.Text(), nullable=False),
        sa.Column("phase", sa.Text(), nullable=False),
        sa.Column("engine", sa.Text(), nullable=False),
        sa.Column("result_id", sa.Text(), nullable=False),
        sa.Column("metrics", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("batch_id", "input_hash", "phase", "engine"),
    )
    op.create_table(
        "work",
        sa.Column("place", Big, autoincrement=True, nullable=False),
        sa.Column("work_id", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("correlation_id", sa.Text(), nullable=False),
        sa.Column("traceparent", sa.Text(), nullable=True),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("lease", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("due", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("place"),
        sa.UniqueConstraint("work_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("work_queue", "work", ["state", "user_id", "batch_id", "place"], unique=False)
    op.create_index("work_run", "work", ["run_id"], unique=False)
