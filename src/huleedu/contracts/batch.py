"""Batches: registration, start and cancel, and the state of the pipeline."""

from __future__ import annotations

from enum import StrEnum
from typing import Self
from uuid import UUID

from pydantic import Field, model_validator
from typing_extensions import override

from huleedu.contracts.envelope import Event, Fact, Moment, Request
from huleedu.contracts.phase import Language, PhaseName, PipelineExecutionStatus

MAX_INSTRUCTIONS = 20_000
"""Characters of task text: several pages, and still small enough to travel in a message."""


class CourseCode(StrEnum):
    """The Swedish courses that essays are written in."""

    ENG5 = "ENG5"
    ENG6 = "ENG6"
    ENG7 = "ENG7"
    SV1 = "SV1"
    SV2 = "SV2"
    SV3 = "SV3"


class BatchClientStatus(StrEnum):
    """The one vocabulary for a batch in HTTP, events and push."""

    PENDING_CONTENT = "pending_content"
    READY = "ready"
    PROCESSING = "processing"
    COMPLETED_SUCCESSFULLY = "completed_successfully"
    COMPLETED_WITH_FAILURES = "completed_with_failures"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """Whether a run has ended with this status."""
        return self not in {self.PENDING_CONTENT, self.READY, self.PROCESSING}


class BatchDraft(Request):
    """What a teacher says of a new batch. Nothing in it names a user: the owner comes from the verified token."""

    title: str | None = Field(default=None, max_length=200)
    essay_instructions: str = Field(default="", max_length=MAX_INSTRUCTIONS)
    course_code: CourseCode | None = None
    language: Language = Language.EN
    class_id: str | None = Field(default=None, max_length=100)


class BatchPatch(Request):
    """What may be changed of a batch until its first start; a field left out stays as it is."""

    title: str | None = Field(default=None, max_length=200)
    essay_instructions: str | None = Field(default=None, max_length=MAX_INSTRUCTIONS)
    language: Language | None = None


class BatchDetail(Fact):
    """What its teacher entered of a batch; `editable` until the first start."""

    batch_id: str
    title: str | None
    essay_instructions: str
    course_code: CourseCode | None
    language: Language
    created_at: Moment
    editable: bool


class BatchIds(Fact):
    """Which batches a service is asked about."""

    batch_ids: tuple[str, ...]


class BatchRegistrationRequestV1(Fact):
    """A batch as the gateway hands it to the orchestrator, which refuses one without an owner."""

    batch_id: str
    title: str | None = None
    teacher_name: str
    essay_instructions: str
    course_code: CourseCode | None = None
    language: Language = Language.EN
    class_id: str | None = None
    user_id: str | None = None


class ClientBatchPipelineRequestV1(Event):
    """Start a pipeline. The event's own id is the run's id. `user_id` is from the verified token, never from a body."""

    requested_pipeline: str
    client_correlation_id: UUID
    user_id: str
    is_retry: bool = False


class BatchPipelineCancelRequestedV1(Event):
    """The teacher wants this run stopped."""

    run_id: str
    user_id: str


class BatchStateChangedV1(Event):
    """The orchestrator's state has a new version: ask me."""

    version: int
    status: BatchClientStatus
    reason: str

    @property
    @override
    def subject_version(self) -> int:
        """The batch's version: the orchestrator is its single writer."""
        return self.version


class BatchPipelineCompletedV1(Event):
    """A run has ended, well, badly or by cancellation; the intake opens again."""

    run_id: str
    status: BatchClientStatus


class BatchPipelineRejectedV1(Event):
    """A start was accepted by the gateway and lost a race later; nothing of it ran."""

    run_id: str
    code: str
    detail: str


class BatchErasedV1(Event):
    """Every service deletes what it holds of the batch; a tombstone stays."""


class BatchErasureReportedV1(Event):
    """One service has deleted all that it held of the batch."""

    service: str


class EssayCounts(Fact):
    """Essays of one phase by outcome; they always add up to the total."""

    total: int = 0
    pending_dispatch_or_processing: int = 0
    successful: int = 0
    failed: int = 0
    cancelled: int = 0

    @model_validator(mode="after")
    def adds_up(self) -> Self:
        """Refuse counts that hide or invent an essay."""
        if self.total != self.pending_dispatch_or_processing + self.successful + self.failed + self.cancelled:
            msg = "essay counts do not add up to their total"
            raise ValueError(msg)
        return self


class PipelineStateDetail(Fact):
    """One phase of the run: `progress_percentage` is of decided essays, 0 to 100."""

    status: PipelineExecutionStatus
    essay_counts: EssayCounts = EssayCounts()
    started_at: Moment | None = None
    completed_at: Moment | None = None
    error_info: str | None = None
    progress_percentage: float = 0.0


class PipelineState(Fact):
    """The state of a batch's pipeline as clients see it; `run_id` is None before the first start."""

    batch_id: str
    version: int
    run_id: str | None = None
    status: BatchClientStatus
    requested_pipelines: tuple[PhaseName, ...] = ()
    phases: dict[PhaseName, PipelineStateDetail] = Field(default_factory=dict)
    last_updated: Moment


class ProcessingPipelineState(PipelineState):
    """The orchestrator's state with its owner: the single source of truth."""

    user_id: str = Field(min_length=1)
    title: str | None = None
    language: Language = Language.EN
    created_at: Moment
    requested_pipeline: str | None = None


class Attention(Fact):
    """Something of this batch is parked and waits for an operator: how many records, and the cause of the first."""

    parked: int
    cause: str


class BatchStatus(Fact):
    """A batch as its teacher sees it.

    `unassessed` counts essays that no run has taken in yet; `live_cursor` is the feed position this answer is valid
    at: listen from there and nothing is missed. `version` 0 means: answered by the orchestrator, no view yet.
    """

    batch_id: str
    title: str | None = None
    language: Language = Language.EN
    status: BatchClientStatus
    pipeline_state: PipelineState
    essays: int = 0
    unassessed: int = 0
    attention: Attention | None = None
    version: int
    live_cursor: str
    created_at: Moment
    last_updated: Moment


class AggregatedBatchStatus(BatchStatus):
    """The aggregator's answer to the gateway: with the owner, so that the gateway can refuse everybody else."""

    user_id: str
