"""How views are put together from the owners' answers: pure functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from huleedu.contracts.batch import (
    BatchClientStatus,
    EssayCounts,
    PipelineState,
    PipelineStateDetail,
    ProcessingPipelineState,
)
from huleedu.contracts.envelope import Fact
from huleedu.contracts.essay import EssayError, EssayPhaseChangedV1, EssayResultIds, EssayStatus
from huleedu.contracts.phase import PhaseName, PipelineExecutionStatus

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RUNNING = {PipelineExecutionStatus.DISPATCH_INITIATED, PipelineExecutionStatus.IN_PROGRESS}
DECIDED = (EssayStatus.COMPLETED, EssayStatus.FAILED, EssayStatus.CANCELLED)
Counts = dict[PhaseName, dict[EssayStatus, int]]


class PhaseRow(EssayPhaseChangedV1):
    """The last that was heard of one essay in one phase; result and figures stay until newer ones replace them."""


def blank(row: EssayPhaseChangedV1) -> EssayPhaseChangedV1:
    """Return what is left of a removed essay: that it was there, so that the counts of its run still add up."""
    return row.model_copy(update={"code": None, "detail": None, "result_id": None, "metrics": {}})


class EssayRow(Fact):
    """An essay as files told of it."""

    batch_id: str
    essay_id: str
    user_id: str
    file_name: str
    text_storage_id: str


def live(state: ProcessingPipelineState, counts: Mapping[PhaseName, Mapping[EssayStatus, int]]) -> PipelineState:
    """Return the state as clients see it, with counts from the essays of this very run.

    The orchestrator may be ahead of what was heard of the essays. A phase is shown as ended only when all of its essays
    that were decided have been heard of, and a run only when all of its phases are.
    """
    phases = {
        phase: detail if _heard_all(detail, counts.get(phase, {})) else _counted(detail, counts.get(phase, {}))
        for phase, detail in state.phases.items()
    }
    ahead = any(detail.status is PipelineExecutionStatus.IN_PROGRESS for detail in phases.values())
    status = BatchClientStatus.PROCESSING if ahead and state.status.terminal else state.status
    kept = {name: getattr(state, name) for name in PipelineState.model_fields}
    return PipelineState.model_construct(**{**kept, "phases": phases, "status": status})


def _heard_all(detail: PipelineStateDetail, heard: Mapping[EssayStatus, int]) -> bool:
    counts = detail.essay_counts
    decided = counts.total - counts.pending_dispatch_or_processing
    return detail.status not in RUNNING and sum(heard.get(status, 0) for status in DECIDED) >= decided


def _counted(detail: PipelineStateDetail, heard: Mapping[EssayStatus, int]) -> PipelineStateDetail:
    total = detail.essay_counts.total
    done, failed, cancelled = (heard.get(status, 0) for status in DECIDED)
    decided = done + failed + cancelled
    counts = EssayCounts(
        total=total,
        pending_dispatch_or_processing=total - decided,
        successful=done,
        failed=failed,
        cancelled=cancelled,
    )
    dispatched = not heard and detail.status in RUNNING
    changes = {
        "status": detail.status if dispatched else PipelineExecutionStatus.IN_PROGRESS,
        "essay_counts": counts,
        "progress_percentage": round(100 * decided / total, 1) if total else 0.0,
        "completed_at": None,
    }
    return detail.model_copy(update=changes)


def essay_view(essay: EssayRow, phases: Sequence[PhaseRow], state: PipelineState) -> EssayResultIds:
    """Return one essay as its teacher sees it."""
    status, error = _standing(phases, state)
    return EssayResultIds(
        essay_id=essay.essay_id,
        file_name=essay.file_name,
        status=status,
        error=error,
        metrics={row.phase: row.metrics for row in phases if row.result_id},
        text_storage_id=essay.text_storage_id,
        result_ids={row.phase: row.result_id for row in phases if row.result_id},
    )


def _standing(phases: Sequence[PhaseRow], state: PipelineState) -> tuple[EssayStatus, EssayError | None]:
    """Return where an essay stands, over all phases of the latest run that it is part of."""
    if not phases:
        return EssayStatus.ACCEPTED, None
    latest = max(phases, key=lambda row: row.version)
    current = [row for row in phases if row.run_id == latest.run_id]
    for row in current:
        if row.status is EssayStatus.FAILED:
            return EssayStatus.FAILED, EssayError(code=row.code or "FAILED", detail=row.detail or "")
    for status in (EssayStatus.CANCELLED, EssayStatus.PROCESSING):
        if any(row.status is status for row in current):
            return status, None
    still = set(state.requested_pipelines) - {row.phase for row in current}
    more_to_come = still and latest.run_id == state.run_id and not state.status.terminal
    return EssayStatus.PROCESSING if more_to_come else EssayStatus.COMPLETED, None
