"""The aggregator, wired."""

from __future__ import annotations

from typing import TYPE_CHECKING

from huleedu.aggregator import store
from huleedu.aggregator.handlers import Aggregator
from huleedu.aggregator.rebuild import GROUP, Rebuild
from huleedu.aggregator.routes import routes
from huleedu.contracts.batch import (
    BatchErasedV1,
    BatchPipelineCompletedV1,
    BatchPipelineRejectedV1,
    BatchStateChangedV1,
)
from huleedu.contracts.essay import (
    EssayContentProvisionedV1,
    EssayPhaseChangedV1,
    EssayRemovedV1,
    EssayValidationFailedV1,
)
from huleedu.contracts.notice import RecordParkedV1
from huleedu.contracts.phase import ELSBatchPhaseOutcomeV1
from huleedu.platform.service import Service

if TYPE_CHECKING:
    from huleedu.platform.app import Platform


def build(platform: Platform) -> Service:
    """Wire the aggregator."""
    aggregator = Aggregator(platform)
    return Service(
        name="aggregator",
        group=GROUP,
        folds=frozenset(
            {
                BatchErasedV1,
                BatchPipelineCompletedV1,
                BatchPipelineRejectedV1,
                BatchStateChangedV1,
                ELSBatchPhaseOutcomeV1,
                EssayContentProvisionedV1,
                EssayPhaseChangedV1,
                EssayRemovedV1,
                EssayValidationFailedV1,
                RecordParkedV1,
            }
        ),
        fold=aggregator.fold,
        gather=aggregator.ask_owners,
        ends=BatchErasedV1,
        routes=[routes(aggregator, Rebuild(platform))],
        prepare=store.abandon_generation,  # no rebuild outlives its process
        tasks=[aggregator.trim],
    )
