"""The tables of aggregator, as they were first."""

import sqlalchemy as sa
from alembic import op

revision = "aggregator_0001"
down_revision = None
branch_labels = ("aggregator",)
depends_on = None


def upgrade() -> None:
    op.create_table(
        "attention",
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("grp", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("parked", sa.Integer(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("batch_id", "grp", "topic"),
    )
    op.create_table(
        "batch_status_view",
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("pipeline_state", sa.Text(), nullable=False),
        sa.Column("source_version", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("ended_run", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_updated", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("generation", "batch_id"),
    )
    op.create_index("batch_status_view_user", "batch_status_view", ["generation", "user_id", "batch_id"], unique=False)
    op.create_table(
        "essay_phase_view",
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("essay_id", sa.Text(), nullable=False),
        sa.Column("phase", sa.Text(), nullable=False),
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("result_id", sa.Text(), nullable=True),
        sa.Column("metrics", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("generation", "essay_id", "phase"),
    )
    op.create_index("essay_phase_view_batch", "essay_phase_view", ["generation", "batch_id"], unique=False)
    op.create_table(
        "essay_view",
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("essay_id", sa.Text(), nullable=False),
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("file_name", sa.Text(), nullable=False),
        sa.Column("text_storage_id", sa.Text(), nullable=False),
        sa.Column("removed", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("generation", "essay_id"),
    )
    op.create_index("essay_view_batch", "essay_view", ["generation", "batch_id"], unique=False)
    op.create_table(
        "feed",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "seq"),
    )
    op.create_index("feed_batch", "feed", ["batch_id"], unique=False)
    op.create_index("feed_subject", "feed", ["subject"], unique=False)
    op.create_table(
        "feed_head",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("trimmed", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("user_id"),
    )
    op.create_table(
        "generation",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("current", sa.Integer(), nullable=False),
        sa.Column("next", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
