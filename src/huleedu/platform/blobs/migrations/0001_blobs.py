"""The tables of blobs, as they were first."""

import sqlalchemy as sa
from alembic import op

revision = "blobs_0001"
down_revision = None
branch_labels = ("blobs",)
depends_on = None


def upgrade() -> None:
    op.create_table(
        "garbage",
        sa.Column("grp", sa.Text(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("due", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("grp", "prefix"),
    )
