"""The orchestrator, wired."""

from __future__ import annotations

from typing import TYPE_CHECKING

from huleedu.contracts.batch import BatchErasureReportedV1, BatchPipelineCancelRequestedV1, ClientBatchPipelineRequestV1
from huleedu.contracts.essay import EssayContentProvisionedV1, EssayRemovedV1
from huleedu.contracts.notice import RecordParkedV1
from huleedu.contracts.phase import ELSBatchPhaseOutcomeV1
from huleedu.orchestrator.handlers import GROUP, Orchestrator
from huleedu.orchestrator.routes import routes
from huleedu.platform.service import Service

if TYPE_CHECKING:
    from huleedu.platform.app import Platform


def build(platform: Platform) -> Service:
    """Wire the orchestrator."""
    orchestrator = Orchestrator(platform.db, platform.clock, platform.peer("files"))
    return Service(
        name="orchestrator",
        group=GROUP,
        on={
            BatchPipelineCancelRequestedV1: orchestrator.on_cancel,
            EssayContentProvisionedV1: orchestrator.on_essay_stored,
            EssayRemovedV1: orchestrator.on_essay_removed,
            ELSBatchPhaseOutcomeV1: orchestrator.on_phase_outcome,
            RecordParkedV1: orchestrator.on_parked,
            BatchErasureReportedV1: orchestrator.on_erasure_reported,
        },
        informed={ClientBatchPipelineRequestV1: orchestrator.on_pipeline_request},
        gather=orchestrator.close_intakes,
        prepare=orchestrator.rearm,
        routes=[routes(orchestrator)],
        tasks=[orchestrator.watch],
    )
