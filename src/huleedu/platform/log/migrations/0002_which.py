"""A position says of which log it is."""

import sqlalchemy as sa
from alembic import op

revision = "log_0002"
down_revision = "log_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("position", sa.Column("log", sa.Text(), nullable=True))
