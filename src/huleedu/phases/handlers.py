"""What phases does on each message: queue work, drop it, let go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from huleedu.contracts.batch import BatchErasedV1, BatchErasureReportedV1
from huleedu.contracts.essay import EssayRemovedV1
from huleedu.contracts.phase import BatchPhaseCancelCommandV1, PhaseWorkRequestedV1
from huleedu.phases import store
from huleedu.phases.work import PATIENCE
from huleedu.platform.blobs import store as garbage
from huleedu.platform.context import current

if TYPE_CHECKING:
    from collections.abc import Iterable

    from huleedu.contracts.envelope import Event
    from huleedu.platform.db import Tx


class Phases:
    """Owns the work queue and the results that can be used again."""

    def on_work_requested(self, tx: Tx, request: PhaseWorkRequestedV1) -> Iterable[Event]:
        """Queue the work for whoever it is for: the log goes on at its own speed."""
        context = current()
        asked_by = {
            "user_id": context.user_id,
            "correlation_id": str(context.correlation_id),
            "traceparent": context.traceparent,
        }
        store.enqueue(tx, request, asked_by, tx.now + PATIENCE)
        return []

    def on_cancel(self, tx: Tx, command: BatchPhaseCancelCommandV1) -> Iterable[Event]:
        """Drop the run's work; the lifecycle has said already what that means."""
        store.drop_run(tx, command.batch_id, command.run_id)
        return []

    def on_essay_removed(self, tx: Tx, message: EssayRemovedV1) -> Iterable[Event]:
        """Let go of an essay."""
        store.remove_essay(tx, message.batch_id, message.essay_id)
        return []

    def on_batch_erased(self, tx: Tx, message: BatchErasedV1) -> Iterable[Event]:
        """Let go of a batch, and report it; what is being put for it is swept first."""
        store.erase(tx, message.batch_id)
        return [] if garbage.remains(tx, store.GROUP, message.batch_id) else [gone(message.batch_id)]


def gone(batch_id: str) -> BatchErasureReportedV1:
    """Return what is said when nothing of an erased batch is left here, and none is on its way."""
    return BatchErasureReportedV1(batch_id=batch_id, service="phases")
