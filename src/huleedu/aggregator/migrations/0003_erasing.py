"""What is held of a batch is found by the batch alone, in whichever generation, so that erasing reads nothing else."""

from alembic import op

revision = "aggregator_0003"
down_revision = "aggregator_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("batch_status_view_batch", "batch_status_view", ["batch_id"])
    for view in ("essay_view", "essay_phase_view"):
        op.drop_index(f"{view}_batch", view)
        op.create_index(f"{view}_batch", view, ["batch_id", "generation"])
