from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from huleedu.contracts.essay import EssayStatus
from huleedu.contracts.phase import PhaseName, PipelineExecutionStatus
from huleedu.lifecycle.model import TRANSITIONS, EssayPhase, Trigger, changed, move, outcome

DECIDED = (EssayStatus.COMPLETED, EssayStatus.FAILED, EssayStatus.CANCELLED)


def essay(status: EssayStatus, place: int = 0) -> EssayPhase:
    return EssayPhase(
        batch_id="b",
        run_id="r",
        phase=PhaseName.NLP,
        essay_id=f"e{place}",
        place=place,
        text_storage_id=f"t{place}",
        status=status,
        code="CODE" if status is EssayStatus.FAILED else None,
    )


def test_what_is_decided_stays_and_everything_else_can_be_decided() -> None:
    for status, trigger in product(EssayStatus, Trigger):
        moved = move(essay(status), trigger, 4)
        assert (moved is None) == ((status, trigger) not in TRANSITIONS)
        assert moved is None or (status not in DECIDED and moved.version == 5)
    for status in set(EssayStatus) - set(DECIDED):
        assert move(essay(status), Trigger.CANCELLED, 0)


@given(statuses=st.lists(st.sampled_from(DECIDED), min_size=1))
def test_an_outcome_names_every_essay_once_and_a_partial_success_is_never_a_full_one(
    statuses: list[EssayStatus],
) -> None:
    said = outcome([essay(status, place) for place, status in enumerate(statuses)], "c")
    parts = [
        [item.essay_id for item in said.processed_essays],
        [item.essay_id for item in said.failed_essays],
        list(said.cancelled_essays),
    ]
    assert parts == [[f"e{place}" for place, status in enumerate(statuses) if status is part] for part in DECIDED]
    assert {item.code for item in said.failed_essays} <= {"CODE"}
    kinds = {status for status in DECIDED if status in statuses}
    expected = {
        frozenset({EssayStatus.COMPLETED}): PipelineExecutionStatus.COMPLETED_SUCCESSFULLY,
        frozenset({EssayStatus.FAILED}): PipelineExecutionStatus.FAILED,
        frozenset({EssayStatus.COMPLETED, EssayStatus.FAILED}): PipelineExecutionStatus.COMPLETED_WITH_PARTIAL_SUCCESS,
    }
    assert said.phase_status is expected.get(frozenset(kinds), PipelineExecutionStatus.CANCELLED)


def test_a_change_says_all_that_was_found() -> None:
    moved = move(essay(EssayStatus.PROCESSING), Trigger.SUCCEEDED, 2, result_id="r1", metrics={"words": 3.0})
    assert moved
    said = changed(moved)
    assert (said.status, said.version, said.result_id, said.metrics) == (EssayStatus.COMPLETED, 3, "r1", {"words": 3.0})
