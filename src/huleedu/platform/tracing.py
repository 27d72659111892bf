"""Traces: what was done because of one request, step by step, wherever it was done.

The trace goes along as the `traceparent` of the bound context: into the outbox with what is said, over the log with the
record, into the work queue, into the feed and to the frame. While spans are collected each step is one, and what it
leads to names it; otherwise the trace goes on as it came. A span holds ids and names, never what somebody wrote, nor
what an exception said.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from huleedu.platform.context import bound, current, new_trace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.trace import Span, Tracer, TracerProvider

_tracers: list[Tracer] = []
"""The last one collects. The library's own, for the whole process, is left alone: others quote addresses there."""
_w3c = TraceContextTextMapPropagator()


@contextmanager
def collected(provider: TracerProvider) -> Iterator[None]:
    """Collect spans while the block runs."""
    tracer = provider.get_tracer("huleedu")
    _tracers.append(tracer)
    try:
        yield
    finally:
        _tracers.remove(tracer)


def collecting() -> bool:
    """Whether spans are collected."""
    return bool(_tracers)


@contextmanager
def span(name: str, kind: SpanKind = SpanKind.INTERNAL, **attributes: str) -> Iterator[Span]:
    """Be the next step of the bound trace while the block runs; without a trace, the first one of a new one."""
    context = current()
    if not _tracers:
        with bound(traceparent=context.traceparent or new_trace()):
            yield INVALID_SPAN
        return
    known = {"service": context.service, "batch_id": context.batch_id, "correlation_id": context.correlation_id}
    told = {f"huleedu.{key}": str(value) for key, value in (known | attributes).items() if value}
    parent = _w3c.extract({"traceparent": context.traceparent or ""}, Context())
    step = _tracers[-1].start_span(name, parent, kind, told)
    here: dict[str, str] = {}
    _w3c.inject(here, set_span_in_context(step))
    try:
        with bound(**here):
            yield step
    except Exception as error:
        step.set_status(StatusCode.ERROR, type(error).__name__)
        raise
    finally:
        step.end()
