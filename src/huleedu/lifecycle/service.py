"""The lifecycle, wired."""

from __future__ import annotations

from typing import TYPE_CHECKING

from huleedu.contracts.batch import BatchErasedV1
from huleedu.contracts.essay import EssayRemovedV1
from huleedu.contracts.phase import BatchPhaseCancelCommandV1, BatchPhaseInitiateCommandV1, PhaseWorkCompletedV1
from huleedu.lifecycle.handlers import Lifecycle
from huleedu.lifecycle.routes import routes
from huleedu.platform.service import Service

if TYPE_CHECKING:
    from huleedu.platform.app import Platform


def build(platform: Platform) -> Service:
    """Wire the lifecycle."""
    lifecycle = Lifecycle(platform.db)
    return Service(
        name="lifecycle",
        group="essay-lifecycle-service",
        on={
            BatchPhaseInitiateCommandV1: lifecycle.on_initiate,
            BatchPhaseCancelCommandV1: lifecycle.on_cancel,
            PhaseWorkCompletedV1: lifecycle.on_work_completed,
            EssayRemovedV1: lifecycle.on_essay_removed,
            BatchErasedV1: lifecycle.on_batch_erased,
        },
        ends=BatchErasedV1,
        routes=[routes(lifecycle)],
    )
