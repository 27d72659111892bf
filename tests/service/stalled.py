"""What no timer and no lease keeps alive: the watchdogs' invariant is that there is none."""

from datetime import timedelta

from sqlalchemy import select

from huleedu.contracts.batch import BatchClientStatus
from huleedu.orchestrator.store import batch
from huleedu.phases.store import RUNNING, work
from huleedu.phases.work import LEASE
from huleedu.platform.db import ReadTx


def stalled(tx: ReadTx, grace: timedelta = LEASE) -> list[str]:
    """Return batches and work that nothing will ever move."""
    long_ago = tx.now - grace
    untimed = (batch.c.status == BatchClientStatus.PROCESSING.value) & batch.c.due.is_(None)
    lost = ((work.c.state == RUNNING) & (work.c.lease_until < long_ago)) | (work.c.due < long_ago)
    return [*tx.scalars(select(batch.c.batch_id).where(untimed)), *tx.scalars(select(work.c.work_id).where(lost))]
