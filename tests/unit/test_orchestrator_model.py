from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from huleedu.contracts.batch import (
    BatchClientStatus,
    BatchPipelineCompletedV1,
    BatchRegistrationRequestV1,
    BatchStateChangedV1,
)
from huleedu.contracts.envelope import Event
from huleedu.contracts.phase import (
    PLAN,
    BatchPhaseCancelCommandV1,
    BatchPhaseInitiateCommandV1,
    ELSBatchPhaseOutcomeV1,
    EssayRef,
    FailedEssay,
    Language,
    PhaseName,
    PipelineExecutionStatus,
    Planned,
)
from huleedu.orchestrator import model
from huleedu.orchestrator.model import TRANSITIONS, Batch, Start, Trigger

Status = PipelineExecutionStatus
SPELLCHECK, NLP = PhaseName.SPELLCHECK, PhaseName.NLP
NOW = datetime(2026, 1, 1, tzinfo=UTC)
APART = {phase: Planned(frozenset(), "essay", frozenset(Language)) for phase in PLAN}
"""A plan in which no phase needs another."""
PLANS = st.sampled_from([PLAN, APART])
ESSAYS = tuple(EssayRef(essay_id=f"e{number}", text_storage_id=f"t{number}") for number in range(3))
FATES = st.lists(st.sampled_from(["done", "failed", "cancelled"]), min_size=3, max_size=3)


def batch() -> Batch:
    registration = BatchRegistrationRequestV1(batch_id="b", teacher_name="Anna", essay_instructions="A place")
    return model.register(registration, "teacher", NOW)[0]


def started(requested: str = "all", plan: model.Plan = PLAN, *, cancelled: bool = False) -> tuple[Batch, list[Event]]:
    return model.start(batch(), Start(run_id="r", requested=requested, essays=ESSAYS, cancelled=cancelled), NOW, plan)


def outcome(command: BatchPhaseInitiateCommandV1, fates: list[str]) -> ELSBatchPhaseOutcomeV1:
    """Return what the lifecycle says of a phase whose essays fared like this."""
    fared = list(zip(command.essays, fates, strict=False))
    done = [essay for essay, fate in fared if fate == "done"]
    failed = [FailedEssay(essay_id=essay.essay_id, code="X", detail="") for essay, fate in fared if fate == "failed"]
    cancelled = [essay.essay_id for essay, fate in fared if fate == "cancelled"]
    partly = Status.COMPLETED_WITH_PARTIAL_SUCCESS if failed else Status.COMPLETED_SUCCESSFULLY
    return ELSBatchPhaseOutcomeV1(
        batch_id="b",
        run_id=command.run_id,
        phase_name=command.phase,
        phase_status=Status.CANCELLED if cancelled else partly if done else Status.FAILED,
        processed_essays=tuple(done),
        failed_essays=tuple(failed),
        cancelled_essays=tuple(cancelled),
    )


def commands(messages: list[Event]) -> list[BatchPhaseInitiateCommandV1]:
    return [message for message in messages if isinstance(message, BatchPhaseInitiateCommandV1)]


def statuses(found: Batch) -> list[Status]:
    return [detail.status for detail in found.state.phases.values()]


def test_a_batch_moves_as_the_table_says_and_says_so() -> None:
    for status, trigger in product(BatchClientStatus, Trigger):
        here = batch().changed(NOW, status=status)
        moved, said = model.move(here, trigger, NOW)
        if (status, trigger) in TRANSITIONS:
            assert moved.state.status is TRANSITIONS[status, trigger]
            assert [message.subject_version for message in said] == [here.state.version + 1] == [moved.state.version]
        else:
            assert (moved, said) == (here, [])


def test_a_pipeline_is_what_is_asked_for_and_what_that_needs() -> None:
    assert model.pipeline("nlp", Language.SV) == model.pipeline("all", Language.EN) == [SPELLCHECK, NLP]
    assert model.pipeline("spellcheck", Language.EN) == [SPELLCHECK]
    with pytest.raises(ValueError, match=r"no phase 'guess'.*spellcheck, nlp, all"):
        model.pipeline("guess", Language.EN)
    english = PLAN | {NLP: Planned(frozenset(), "essay", frozenset({Language.EN}))}
    with pytest.raises(ValueError, match="nlp is not offered for texts in 'sv'"):
        model.pipeline("all", Language.SV, english)


def test_every_status_of_a_phase_is_reached() -> None:
    """But IN_PROGRESS, which only a view can tell: the orchestrator does not count essays."""
    here, said = started()
    reached = {*statuses(started("spellcheck")[0]), *statuses(here), *statuses(started(plan=APART)[0])}
    for fates in (["done"] * 3, ["done", "failed", "failed"], ["failed"] * 3, ["done", "cancelled", "done"]):
        reached.update(statuses(model.conclude(here, outcome(commands(said)[0], fates), NOW)[0]))
    assert reached == set(Status) - {Status.IN_PROGRESS}


@given(plan=PLANS, fates=st.lists(FATES, min_size=2, max_size=2), cancel_at=st.integers(0, 3))
def test_a_run_ends_once_adds_up_and_is_a_full_success_only_if_every_essay_came_through(
    plan: model.Plan, fates: list[list[str]], cancel_at: int
) -> None:
    here, said = started(plan=plan, cancelled=cancel_at == 0)
    ended = [message for message in said if isinstance(message, BatchPipelineCompletedV1)]
    waiting = commands(said)
    for place, fate in enumerate(fates, 1):
        if not waiting:
            break
        if cancel_at == place:
            here, said = model.cancel(here, "r", NOW)
            assert here.processing
            assert [type(message) for message in said] == [BatchPhaseCancelCommandV1, BatchStateChangedV1]
        before = here.state.version
        here, said = model.conclude(here, outcome(waiting.pop(0), fate), NOW, plan)
        assert here.state.version > before
        waiting += commands(said)
        ended += [message for message in said if isinstance(message, BatchPipelineCompletedV1)]
        assert len(waiting) == here.processing
    assert [(end.run_id, end.status) for end in ended] == [("r", here.state.status)]
    assert here.state.status.terminal
    full = all(detail.essay_counts.successful == 3 for detail in here.state.phases.values())
    assert (here.state.status is BatchClientStatus.COMPLETED_SUCCESSFULLY) == full
    assert (here.state.status is BatchClientStatus.CANCELLED) == (Status.CANCELLED in statuses(here))
    assert here.state.status is not BatchClientStatus.COMPLETED_WITH_FAILURES or any(here.processed.values())
    assert not here.cancelling


def test_the_next_phase_gets_what_came_through_in_the_frozen_order() -> None:
    here, said = started()
    here, said = model.conclude(here, outcome(commands(said)[0], ["done", "failed", "done"]), NOW)
    assert commands(said)[0].essays == (ESSAYS[0], ESSAYS[2])
    assert here.state.phases[NLP].essay_counts.total == 2


def test_a_phase_for_which_no_essay_is_left_is_skipped() -> None:
    here, said = started()
    here, said = model.conclude(here, outcome(commands(said)[0], ["failed"] * 3), NOW)
    assert statuses(here) == [Status.FAILED, Status.SKIPPED_DUE_TO_DEPENDENCY_FAILURE]
    assert here.state.status is BatchClientStatus.FAILED
    assert here.state.phases[SPELLCHECK].error_info == "X"


def test_late_repeated_and_foreign_news_change_nothing() -> None:
    here, said = started()
    first = outcome(commands(said)[0], ["done"] * 3)
    assert model.conclude(here, first.model_copy(update={"run_id": "another"}), NOW) == (here, [])
    assert model.conclude(here, first.model_copy(update={"phase_name": NLP}), NOW) == (here, [])
    assert model.cancel(here, "another", NOW) == (here, [])
    after, _ = model.conclude(here, first, NOW)
    assert model.conclude(after, first, NOW) == (after, [])
    cancelled, _ = model.cancel(here, "r", NOW)
    assert model.cancel(cancelled, "r", NOW) == (cancelled, [])
    for idle in (batch(), model.give_up(here, NOW)[0]):
        assert (
            model.cancel(idle, "r", NOW) == model.conclude(idle, first, NOW) == model.give_up(idle, NOW) == (idle, [])
        )


def test_a_cancel_that_comes_too_late_for_the_last_phase_takes_nothing_back() -> None:
    here, said = started("spellcheck")
    here, _ = model.cancel(here, "r", NOW)
    here, _ = model.conclude(here, outcome(commands(said)[0], ["done"] * 3), NOW)
    assert here.state.status is BatchClientStatus.COMPLETED_SUCCESSFULLY


def test_a_run_that_is_given_up_says_why_and_stops_what_is_left_of_it() -> None:
    here, _ = started()
    here, said = model.give_up(here, NOW + timedelta(days=1))
    assert [type(message) for message in said] == [
        BatchPhaseCancelCommandV1,
        BatchStateChangedV1,
        BatchPipelineCompletedV1,
    ]
    assert here.state.status is BatchClientStatus.FAILED
    assert {detail.error_info for detail in here.state.phases.values()} == {"TIMED_OUT"}
