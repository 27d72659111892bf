import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from huleedu.contracts.batch import BatchClientStatus, BatchDraft, BatchPatch, EssayCounts
from huleedu.contracts.messages import ENVELOPES, MESSAGES, TOPICS
from huleedu.contracts.phase import PLAN, Language, PhaseName, Planned, closure

COUNT = st.integers(0, 3)


@given(total=st.integers(0, 8), parts=st.tuples(COUNT, COUNT, COUNT, COUNT))
def test_counts_that_hide_or_invent_an_essay_are_refused(total: int, parts: tuple[int, int, int, int]) -> None:
    names = ("pending_dispatch_or_processing", "successful", "failed", "cancelled")
    found = {"total": total, **dict(zip(names, parts, strict=True))}
    if total == sum(parts):
        assert EssayCounts.model_validate(found).model_dump() == found
    else:
        with pytest.raises(ValidationError, match="do not add up"):
            EssayCounts.model_validate(found)


@pytest.mark.parametrize("model", [BatchDraft, BatchPatch])
def test_a_client_cannot_say_whose_a_batch_is(model: type[BatchDraft | BatchPatch]) -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        model.model_validate({"title": "A place", "user_id": "somebody else"})


def test_a_plan_is_followed_to_the_end_of_its_needs_in_its_order() -> None:
    chain = {
        PhaseName.NLP: Planned(frozenset(), "essay", frozenset(Language)),
        PhaseName.SPELLCHECK: Planned(frozenset({PhaseName.NLP}), "essay", frozenset(Language)),
    }
    assert closure([PhaseName.SPELLCHECK], chain) == [PhaseName.NLP, PhaseName.SPELLCHECK]
    assert closure([PhaseName.NLP, PhaseName.SPELLCHECK, PhaseName.NLP]) == list(PLAN)
    assert closure([]) == []


def test_a_run_has_ended_or_not() -> None:
    going_on = {BatchClientStatus.PENDING_CONTENT, BatchClientStatus.READY, BatchClientStatus.PROCESSING}
    assert {status for status in BatchClientStatus if not status.terminal} == going_on


def test_every_message_has_a_topic_of_its_own() -> None:
    assert len(ENVELOPES) == len(TOPICS) == len(MESSAGES)
