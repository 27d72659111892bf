"""One table for every credential; passwords; accounts that are shut off. The signed tokens of before end here."""

import sqlalchemy as sa
from alembic import op

revision = "gateway_0002"
down_revision = "gateway_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("token_user", "token")
    op.drop_table("token")
    op.add_column("account", sa.Column("password", sa.Text(), nullable=True))
    op.add_column("account", sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True))
    op.create_table(
        "credential",
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("made_of", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("hash"),
    )
    op.create_index("credential_user", "credential", ["user_id"], unique=False)
    op.create_index("credential_expiry", "credential", ["expires_at"], unique=False)
