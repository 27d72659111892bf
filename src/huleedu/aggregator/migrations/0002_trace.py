"""What is told a teacher says which trace it belongs to."""

import sqlalchemy as sa
from alembic import op

revision = "aggregator_0002"
down_revision = "aggregator_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("feed", sa.Column("traceparent", sa.Text(), nullable=True))
