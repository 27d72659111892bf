"""One essay in one phase of one run, and what a phase has come to: pure decisions."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

from pydantic import Field

from huleedu.contracts.envelope import Fact
from huleedu.contracts.essay import EssayPhaseChangedV1, EssayStatus
from huleedu.contracts.phase import (
    ELSBatchPhaseOutcomeV1,
    EssayRef,
    FailedEssay,
    PhaseName,
    PipelineExecutionStatus,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


class Trigger(StrEnum):
    """What moves an essay within a phase."""

    DISPATCHED = "its work is handed out"
    SUCCEEDED = "a result has come"
    FAILED = "the work has failed for good"
    CANCELLED = "the run is cancelled"


TRANSITIONS: dict[tuple[EssayStatus, Trigger], EssayStatus] = {
    (EssayStatus.ACCEPTED, Trigger.DISPATCHED): EssayStatus.PROCESSING,
    (EssayStatus.ACCEPTED, Trigger.CANCELLED): EssayStatus.CANCELLED,
    (EssayStatus.PROCESSING, Trigger.SUCCEEDED): EssayStatus.COMPLETED,
    (EssayStatus.PROCESSING, Trigger.FAILED): EssayStatus.FAILED,
    (EssayStatus.PROCESSING, Trigger.CANCELLED): EssayStatus.CANCELLED,
}
"""The machine of essay x phase x run. What is not in it comes late and changes nothing."""


class EssayPhase(Fact):
    """One essay in one phase of one run; `version` grows with every change of the essay, over all phases and runs."""

    batch_id: str
    run_id: str
    phase: PhaseName
    essay_id: str
    place: int
    text_storage_id: str
    status: EssayStatus = EssayStatus.ACCEPTED
    version: int = 0
    code: str | None = None
    detail: str | None = None
    result_id: str | None = None
    metrics: dict[str, float] = Field(default_factory=dict)

    @property
    def ref(self) -> EssayRef:
        """The essay with its text."""
        return EssayRef(essay_id=self.essay_id, text_storage_id=self.text_storage_id)


def move(essay: EssayPhase, trigger: Trigger, latest: int, **found: Any) -> EssayPhase | None:  # noqa: ANN401 -- fields of EssayPhase
    """Return the essay moved as the table says, with what was found; None: it comes late.

    `latest` is the essay's version so far, which another phase or run may have raised.
    """
    status = TRANSITIONS.get((essay.status, trigger))
    if status is None:
        return None
    return essay.model_copy(update={"status": status, "version": latest + 1, **found})


def changed(essay: EssayPhase) -> EssayPhaseChangedV1:
    """Say how the essay stands now."""
    return EssayPhaseChangedV1.model_validate(essay.model_dump())


def outcome(essays: Sequence[EssayPhase], correlation_id: str | None) -> ELSBatchPhaseOutcomeV1:
    """Return what the phase has come to; every one of its essays is decided."""
    done = tuple(essay.ref for essay in essays if essay.status is EssayStatus.COMPLETED)
    cancelled = tuple(essay.essay_id for essay in essays if essay.status is EssayStatus.CANCELLED)
    failed = tuple(
        FailedEssay(essay_id=essay.essay_id, code=essay.code or "FAILED", detail=essay.detail or "")
        for essay in essays
        if essay.status is EssayStatus.FAILED
    )
    first = essays[0]
    return ELSBatchPhaseOutcomeV1(
        batch_id=first.batch_id,
        run_id=first.run_id,
        phase_name=first.phase,
        phase_status=_verdict(len(done), len(failed), len(cancelled)),
        processed_essays=done,
        failed_essays=failed,
        cancelled_essays=cancelled,
        correlation_id=correlation_id,
    )


def _verdict(done: int, failed: int, cancelled: int) -> PipelineExecutionStatus:
    if cancelled:
        return PipelineExecutionStatus.CANCELLED
    if not done:
        return PipelineExecutionStatus.FAILED
    return (
        PipelineExecutionStatus.COMPLETED_WITH_PARTIAL_SUCCESS
        if failed
        else PipelineExecutionStatus.COMPLETED_SUCCESSFULLY
    )
