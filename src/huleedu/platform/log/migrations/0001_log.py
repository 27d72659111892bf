"""The tables of log, as they were first."""

import sqlalchemy as sa
from alembic import op

from huleedu.platform.db import Big

revision = "log_0001"
down_revision = None
branch_labels = ("log",)
depends_on = None


def upgrade() -> None:
    op.create_table(
        "dead_letter",
        sa.Column("id", Big, autoincrement=True, nullable=False),
        sa.Column("grp", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("traceparent", sa.Text(), nullable=True),
        sa.Column("redrive", sa.Integer(), nullable=False),
        sa.Column("told", sa.Boolean(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("grp", "event_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("dead_letter_key", "dead_letter", ["grp", "topic", "key"], unique=False)
    op.create_table(
        "inbox",
        sa.Column("grp", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("grp", "event_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "outbox",
        sa.Column("pos", Big, autoincrement=True, nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("envelope", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("pos"),
        sqlite_autoincrement=True,
    )
    op.create_index("outbox_topic", "outbox", ["topic"], unique=False)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE outbox ADD COLUMN xid xid8 NOT NULL DEFAULT pg_current_xact_id()")
    op.create_table(
        "position",
        sa.Column("grp", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("position", Big, nullable=False),
        sa.PrimaryKeyConstraint("grp", "topic", "part"),
    )
    op.create_table(
        "tombstone",
        sa.Column("grp", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("grp", "key"),
    )
