"""The trace goes on from step to step, collected or not."""

import pytest

from huleedu.platform.context import bound, current
from huleedu.platform.tracing import span
from tests.seeing import spans_collected, told

GIVEN = f"00-{'a1' * 16}-{'b2' * 8}-01"
CANARY = "Zanzibarquokka"


def test_without_a_collector_a_trace_goes_on_as_it_came_and_one_begins_where_there_is_none() -> None:
    with bound(traceparent=GIVEN), span("step"):
        assert current().traceparent == GIVEN
    with span("step"):
        begun = current().traceparent
        with span("next"):
            assert current().traceparent == begun != GIVEN


def test_each_step_is_a_span_below_the_one_before() -> None:
    with spans_collected() as spans, bound(traceparent=GIVEN, service="files", batch_id="b1"):
        with span("outer"):
            outside = current().traceparent
            with span("inner", event_id="e1"):
                inside = current().traceparent
        inner, outer = spans.get_finished_spans()
    for step, parent, here in ((outer, GIVEN, outside), (inner, outside, inside)):
        assert step.context is not None
        assert step.parent is not None
        assert here == f"00-{'a1' * 16}-{step.context.span_id:016x}-01"
        assert f"{step.parent.span_id:016x}" == str(parent).split("-")[2]
    assert inner.attributes == {"huleedu.service": "files", "huleedu.batch_id": "b1", "huleedu.event_id": "e1"}


def test_a_step_that_fails_says_so_but_not_what_was_said() -> None:
    with spans_collected() as spans:
        with pytest.raises(ValueError, match=CANARY), span("step"):
            raise ValueError(CANARY)
        (step,) = spans.get_finished_spans()
    assert step.status.description == "ValueError"
    assert not step.status.is_ok
    assert CANARY not in told([step])
