"""Phases of assessment: their names and plan, the work that they are, and what came of it."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import Field

from huleedu.contracts.envelope import Event, Fact

if TYPE_CHECKING:
    from collections.abc import Iterable


class Language(StrEnum):
    """A language that essays are written in."""

    EN = "en"
    SV = "sv"


class Engine(Fact):
    """Who made a figure: the same engine, given the same input, gives the same result.

    `dictionaries` maps each word list or set of rules to its version or a hash of its content.
    """

    name: str
    version: str
    language: Language
    dictionaries: dict[str, str] = Field(default_factory=dict)


class PhaseName(StrEnum):
    """One kind of assessment. Each has a folder of this name under `huleedu.phases`."""

    SPELLCHECK = "spellcheck"
    NLP = "nlp"


class Planned(NamedTuple):
    """What a phase needs before it, what it works on, and for which languages it is offered."""

    needs: frozenset[PhaseName]
    unit: Literal["essay", "batch"]
    languages: frozenset[Language]


ALL_PHASES = "all"
PLAN: dict[PhaseName, Planned] = {
    PhaseName.SPELLCHECK: Planned(frozenset(), "essay", frozenset(Language)),
    PhaseName.NLP: Planned(frozenset({PhaseName.SPELLCHECK}), "essay", frozenset(Language)),
}
"""The phases in the order in which they run when several could."""


def closure(wanted: Iterable[PhaseName], plan: dict[PhaseName, Planned] = PLAN) -> list[PhaseName]:
    """Return the wanted phases and all that they need, in the plan's order."""
    found: set[PhaseName] = set()
    todo = list(wanted)
    while todo:
        phase = todo.pop()
        if phase not in found:
            found.add(phase)
            todo.extend(plan[phase].needs)
    return [phase for phase in plan if phase in found]


class PipelineExecutionStatus(StrEnum):
    """Where one phase of a batch stands. A partial success is never reported as a full one."""

    REQUESTED_BY_USER = "requested_by_user"
    PENDING_DEPENDENCIES = "pending_dependencies"
    DISPATCH_INITIATED = "dispatch_initiated"
    IN_PROGRESS = "in_progress"
    COMPLETED_SUCCESSFULLY = "completed_successfully"
    COMPLETED_WITH_PARTIAL_SUCCESS = "completed_with_partial_success"
    FAILED = "failed"
    SKIPPED_DUE_TO_DEPENDENCY_FAILURE = "skipped_due_to_dependency_failure"
    SKIPPED_BY_USER_CONFIG = "skipped_by_user_config"
    CANCELLED = "cancelled"


class PhaseContext(Fact):
    """What a phase may know besides the text: the language, the task, and words (names) that are never wrong."""

    language: Language
    essay_instructions: str = ""
    known_words: tuple[str, ...] = ()


class EssayRef(Fact):
    """An essay and the blob that holds its extracted text."""

    essay_id: str
    text_storage_id: str


class BatchPhaseInitiateCommandV1(Event):
    """Run one phase of one run on these essays; the list is frozen when the run starts."""

    run_id: str
    phase: PhaseName
    essays: tuple[EssayRef, ...]
    context: PhaseContext


class BatchPhaseCancelCommandV1(Event):
    """Stop the run: what is not decided yet is cancelled, also what arrives later."""

    run_id: str


class PhaseWorkRequestedV1(Event):
    """One unit of work. `inputs` maps each essay to the results of the phases this one needs."""

    work_id: str
    run_id: str
    phase: PhaseName
    essays: tuple[EssayRef, ...]
    inputs: dict[str, dict[PhaseName, str]] = Field(default_factory=dict)
    context: PhaseContext


class WorkOutcome(StrEnum):
    """How one essay came out of one unit of work."""

    COMPLETED = "completed"
    FAILED = "failed"


class EssayOutcome(Fact):
    """What came of one essay: a result with its figures, or a code and a sentence that says why not."""

    essay_id: str
    outcome: WorkOutcome
    code: str | None = None
    detail: str | None = None
    result_id: str | None = None
    metrics: dict[str, float] = Field(default_factory=dict)


class PhaseWorkCompletedV1(Event):
    """The work is done, well or badly. `attempt` is the work queue's own count."""

    work_id: str
    run_id: str
    phase: PhaseName
    attempt: int
    essays: tuple[EssayOutcome, ...]
    engine: Engine | None = None


class FailedEssay(Fact):
    """An essay that a phase could not do, and why."""

    essay_id: str
    code: str
    detail: str


class ELSBatchPhaseOutcomeV1(Event):
    """All essays of one phase and run are decided; said exactly once for each phase and run."""

    run_id: str
    phase_name: PhaseName
    phase_status: PipelineExecutionStatus
    processed_essays: tuple[EssayRef, ...]
    failed_essays: tuple[FailedEssay, ...] = ()
    cancelled_essays: tuple[str, ...] = ()
    correlation_id: str | None = None
