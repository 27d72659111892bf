"""The batch and its pipeline: pure decisions, (batch, what happened) -> (batch, messages)."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

from pydantic import Field

from huleedu.contracts.batch import (
    BatchClientStatus,
    BatchDetail,
    BatchPipelineCompletedV1,
    BatchRegistrationRequestV1,
    BatchStateChangedV1,
    EssayCounts,
    PipelineStateDetail,
    ProcessingPipelineState,
)
from huleedu.contracts.envelope import Event, Fact
from huleedu.contracts.phase import (
    ALL_PHASES,
    PLAN,
    BatchPhaseCancelCommandV1,
    BatchPhaseInitiateCommandV1,
    ELSBatchPhaseOutcomeV1,
    EssayRef,
    Language,
    PhaseContext,
    PhaseName,
    PipelineExecutionStatus,
    Planned,
    closure,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

Status = PipelineExecutionStatus
WAITING = frozenset({Status.REQUESTED_BY_USER, Status.PENDING_DEPENDENCIES})
RUNNING = frozenset({Status.DISPATCH_INITIATED, Status.IN_PROGRESS})
DONE = frozenset({Status.COMPLETED_SUCCESSFULLY, Status.COMPLETED_WITH_PARTIAL_SUCCESS})
Plan = dict[PhaseName, Planned]
Decision = tuple["Batch", list[Event]]


class Trigger(StrEnum):
    """What moves a batch's status."""

    ESSAY_STORED = "the first essay is stored"
    EMPTIED = "the last essay is removed"
    STARTED = "a start is accepted"
    SUCCEEDED = "every essay came through every phase"
    PARTLY = "some essays did not come through"
    FAILED = "no essay came through, or the time was up"
    CANCELLED = "the run is cancelled"


_STARTABLE = [status for status in BatchClientStatus if status is not BatchClientStatus.PROCESSING]
TRANSITIONS: dict[tuple[BatchClientStatus, Trigger], BatchClientStatus] = {
    (BatchClientStatus.PENDING_CONTENT, Trigger.ESSAY_STORED): BatchClientStatus.READY,
    (BatchClientStatus.READY, Trigger.EMPTIED): BatchClientStatus.PENDING_CONTENT,
    **{(status, Trigger.STARTED): BatchClientStatus.PROCESSING for status in _STARTABLE},
    (BatchClientStatus.PROCESSING, Trigger.SUCCEEDED): BatchClientStatus.COMPLETED_SUCCESSFULLY,
    (BatchClientStatus.PROCESSING, Trigger.PARTLY): BatchClientStatus.COMPLETED_WITH_FAILURES,
    (BatchClientStatus.PROCESSING, Trigger.FAILED): BatchClientStatus.FAILED,
    (BatchClientStatus.PROCESSING, Trigger.CANCELLED): BatchClientStatus.CANCELLED,
}
"""The batch's status machine; what is not in it changes nothing."""


class Batch(Fact):
    """A batch with its plan. `essays` is the list frozen at the start, `processed` what each phase handed on."""

    state: ProcessingPipelineState
    registration: BatchRegistrationRequestV1
    essays: tuple[EssayRef, ...] = ()
    processed: dict[PhaseName, tuple[EssayRef, ...]] = Field(default_factory=dict)
    cancelling: bool = False

    @property
    def processing(self) -> bool:
        """Whether a run is under way."""
        return self.state.status is BatchClientStatus.PROCESSING

    @property
    def editable(self) -> bool:
        """Whether what the teacher entered may be changed: until the first start."""
        return self.state.run_id is None

    def changed(self, now: datetime, **changes: Any) -> Batch:  # noqa: ANN401 -- fields of the state
        """Return the batch with a state of the next version."""
        changes |= {"version": self.state.version + 1, "last_updated": now}
        return self.model_copy(update={"state": self.state.model_copy(update=changes)})


def changed(batch: Batch, reason: str) -> BatchStateChangedV1:
    """Say that the batch has a new version, in the transaction that raised it."""
    state = batch.state
    return BatchStateChangedV1(batch_id=state.batch_id, version=state.version, status=state.status, reason=reason)


def register(registration: BatchRegistrationRequestV1, owner: str, now: datetime) -> Decision:
    """Return a new batch, which waits for essays."""
    state = ProcessingPipelineState(
        batch_id=registration.batch_id,
        user_id=owner,
        title=registration.title,
        language=registration.language,
        version=1,
        status=BatchClientStatus.PENDING_CONTENT,
        created_at=now,
        last_updated=now,
    )
    batch = Batch(state=state, registration=registration)
    return batch, [changed(batch, "registered")]


def detail(batch: Batch) -> BatchDetail:
    """Return what the batch's teacher entered."""
    entered = batch.registration
    return BatchDetail(
        batch_id=entered.batch_id,
        title=entered.title,
        essay_instructions=entered.essay_instructions,
        course_code=entered.course_code,
        language=entered.language,
        created_at=batch.state.created_at,
        editable=batch.editable,
    )


def amend(batch: Batch, changes: Mapping[str, Any], now: datetime) -> Decision:
    """Change title, task or language."""
    registration = batch.registration.model_copy(update=dict(changes))
    amended = batch.changed(now, title=registration.title, language=registration.language)
    amended = amended.model_copy(update={"registration": registration})
    return amended, [changed(amended, "amended")]


def move(batch: Batch, trigger: Trigger, now: datetime, **changes: Any) -> Decision:  # noqa: ANN401 -- as changed()
    """Move the status as the table says, with other changes of the state; what is not in the table moves nothing."""
    status = TRANSITIONS.get((batch.state.status, trigger))
    if status is None:
        return batch, []
    moved = batch.changed(now, status=status, **changes)
    return moved, [changed(moved, trigger.value)]


def pipeline(requested: str, language: Language, plan: Plan = PLAN) -> list[PhaseName]:
    """Return the phases that a request means, with what they need.

    Raises:
        ValueError: with the reason, for a phase that does not exist or is not offered for the language.
    """
    if requested != ALL_PHASES and requested not in set(plan):
        raise ValueError(f"There is no phase '{requested}'. Ask for one of: {', '.join([*plan, ALL_PHASES])}.")
    wanted = list(plan) if requested == ALL_PHASES else [PhaseName(requested)]
    phases = closure(wanted, plan)
    if refused := [phase for phase in phases if language not in plan[phase].languages]:
        raise ValueError(f"{', '.join(refused)} is not offered for texts in '{language.value}'.")
    return phases


class Start(Fact):
    """An accepted start: which run, of what, on which essays; `cancelled` if a cancel came before it."""

    run_id: str
    requested: str
    essays: tuple[EssayRef, ...]
    cancelled: bool = False


def start(batch: Batch, order: Start, now: datetime, plan: Plan = PLAN) -> Decision:
    """Begin a run: plan the phases and dispatch the first."""
    phases = pipeline(order.requested, batch.state.language, plan)
    details = {
        phase: PipelineStateDetail(
            status=Status.PENDING_DEPENDENCIES if phase in phases else Status.SKIPPED_BY_USER_CONFIG
        )
        for phase in plan
    }
    batch = batch.model_copy(update={"essays": order.essays, "processed": {}, "cancelling": order.cancelled})
    batch, _ = move(
        batch,
        Trigger.STARTED,
        now,
        run_id=order.run_id,
        requested_pipeline=order.requested,
        requested_pipelines=tuple(phases),
        phases=details,
    )
    return _proceed(batch, now, plan)


def conclude(batch: Batch, outcome: ELSBatchPhaseOutcomeV1, now: datetime, plan: Plan = PLAN) -> Decision:
    """Take in the outcome of one phase: dispatch the next, or end the run. An outcome of another run is late."""
    detail = batch.state.phases.get(outcome.phase_name)
    if not batch.processing or batch.state.run_id != outcome.run_id or detail is None or detail.status not in RUNNING:
        return batch, []
    counts = EssayCounts(
        total=len(outcome.processed_essays) + len(outcome.failed_essays) + len(outcome.cancelled_essays),
        successful=len(outcome.processed_essays),
        failed=len(outcome.failed_essays),
        cancelled=len(outcome.cancelled_essays),
    )
    update = {
        "status": outcome.phase_status,
        "essay_counts": counts,
        "completed_at": now,
        "progress_percentage": 100.0,
        "error_info": outcome.failed_essays[0].code if outcome.phase_status is Status.FAILED else None,
    }
    batch = batch.model_copy(
        update={"processed": batch.processed | {outcome.phase_name: outcome.processed_essays}}
    ).changed(now, phases=batch.state.phases | {outcome.phase_name: detail.model_copy(update=update)})
    return _proceed(batch, now, plan)


def cancel(batch: Batch, run_id: str, now: datetime) -> Decision:
    """Ask for the run to be stopped; the batch stays `processing` until the lifecycle has said what became of it."""
    if not batch.processing or batch.state.run_id != run_id or batch.cancelling:
        return batch, []
    batch = batch.changed(now).model_copy(update={"cancelling": True})
    stop = BatchPhaseCancelCommandV1(batch_id=batch.state.batch_id, run_id=run_id)
    return batch, [stop, changed(batch, "cancel_requested")]


def give_up(batch: Batch, now: datetime) -> Decision:
    """End a run that has not moved for too long, with a reason; what still comes of it is late."""
    run_id = batch.state.run_id
    if not batch.processing or run_id is None:
        return batch, []
    phases = {
        phase: detail.model_copy(update={"status": Status.FAILED, "error_info": "TIMED_OUT"})
        if detail.status in RUNNING | WAITING
        else detail
        for phase, detail in batch.state.phases.items()
    }
    stop = BatchPhaseCancelCommandV1(batch_id=batch.state.batch_id, run_id=run_id)
    batch, messages = _end(batch.changed(now, phases=phases), Trigger.FAILED, now)
    return batch, [stop, *messages]


def _proceed(batch: Batch, now: datetime, plan: Plan) -> Decision:
    """Dispatch the next phase whose needs are met, one at a time; end the run when none is left."""
    phases = _settle_waiting(batch, plan)
    ready = [phase for phase, detail in phases.items() if detail.status is Status.REQUESTED_BY_USER]
    if not ready:
        return _end(batch.model_copy(update={"state": _with(batch, phases)}), _verdict(batch, phases), now)
    phase = ready[0]
    handed = _handed(batch, phase, plan)
    counts = EssayCounts(total=len(handed), pending_dispatch_or_processing=len(handed))
    phases[phase] = PipelineStateDetail(status=Status.DISPATCH_INITIATED, essay_counts=counts, started_at=now)
    batch = batch.model_copy(update={"state": _with(batch, phases)})
    registration = batch.registration
    context = PhaseContext(language=registration.language, essay_instructions=registration.essay_instructions)
    command = BatchPhaseInitiateCommandV1(
        batch_id=batch.state.batch_id,
        run_id=str(batch.state.run_id),
        phase=phase,
        essays=handed,
        context=context,
    )
    return batch, [command, changed(batch, f"{phase.value} dispatched")]


def _settle_waiting(batch: Batch, plan: Plan) -> dict[PhaseName, PipelineStateDetail]:
    """Say of each waiting phase whether it could run now, still waits, or never will."""
    phases = dict(batch.state.phases)
    for phase, detail in phases.items():
        if detail.status in WAITING:
            needs = {phases[need].status for need in plan[phase].needs}
            status = _settled(needs, cancelling=batch.cancelling)
            if status is Status.REQUESTED_BY_USER and not _handed(batch, phase, plan):
                status = Status.SKIPPED_DUE_TO_DEPENDENCY_FAILURE  # no essay came through all that it needs
            phases[phase] = detail.model_copy(update={"status": status})
    return phases


def _settled(needs: set[Status], *, cancelling: bool) -> Status:
    if cancelling:
        return Status.CANCELLED
    if needs <= DONE:
        return Status.REQUESTED_BY_USER
    if needs <= DONE | RUNNING | WAITING:
        return Status.PENDING_DEPENDENCIES
    return Status.SKIPPED_DUE_TO_DEPENDENCY_FAILURE


def _handed(batch: Batch, phase: PhaseName, plan: Plan) -> tuple[EssayRef, ...]:
    """Return the essays that all needed phases handed on, in the frozen order."""
    kept = [set(batch.processed[need]) for need in plan[phase].needs]
    return tuple(essay for essay in batch.essays if all(essay in some for some in kept))


def _verdict(batch: Batch, phases: Mapping[PhaseName, PipelineStateDetail]) -> Trigger:
    ran = [detail for detail in phases.values() if detail.status is not Status.SKIPPED_BY_USER_CONFIG]
    if any(detail.status is Status.CANCELLED for detail in ran):
        return Trigger.CANCELLED
    if all(detail.status is Status.COMPLETED_SUCCESSFULLY for detail in ran):
        return Trigger.SUCCEEDED
    return Trigger.PARTLY if any(batch.processed.values()) else Trigger.FAILED


def _end(batch: Batch, trigger: Trigger, now: datetime) -> Decision:
    batch, messages = move(batch.model_copy(update={"cancelling": False}), trigger, now)
    ended = BatchPipelineCompletedV1(
        batch_id=batch.state.batch_id, run_id=str(batch.state.run_id), status=batch.state.status
    )
    return batch, [*messages, ended]


def _with(batch: Batch, phases: Mapping[PhaseName, PipelineStateDetail]) -> ProcessingPipelineState:
    return batch.state.model_copy(update={"phases": dict(phases)})
