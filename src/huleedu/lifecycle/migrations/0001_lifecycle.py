"""The tables of lifecycle, as they were first."""

import sqlalchemy as sa
from alembic import op

from huleedu.platform.db import Big

revision = "lifecycle_0001"
down_revision = None
branch_labels = ("lifecycle",)
depends_on = None


def upgrade() -> None:
    op.create_table(
        "essay_phase",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("phase", sa.Text(), nullable=False),
        sa.Column("essay_id", sa.Text(), nullable=False),
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("text_storage_id", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("result_id", sa.Text(), nullable=True),
        sa.Column("metrics", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "phase", "essay_id"),
    )
    op.create_index("essay_phase_batch", "essay_phase", ["batch_id"], unique=False)
    op.create_index("essay_phase_essay", "essay_phase", ["essay_id", "version"], unique=False)
    op.create_table(
        "late_result",
        sa.Column("id", Big, nullable=False),
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("phase", sa.Text(), nullable=False),
        sa.Column("essay_id", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "phase_run",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("phase", sa.Text(), nullable=False),
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("concluded", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "phase"),
    )
    op.create_index("phase_run_batch", "phase_run", ["batch_id"], unique=False)
    op.create_table(
        "stopped_run",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("run_id"),
    )
