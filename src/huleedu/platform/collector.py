"""Spans on their way to a collector, by OTLP over HTTP; where it is, the variables of OpenTelemetry say."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from huleedu.platform.tracing import collected

if TYPE_CHECKING:
    from collections.abc import Iterator

LAST_SECONDS = 1.0
"""What sending the last spans may take when the server stops: a collector that is away must not keep it."""


@contextmanager
def exported(name: str) -> Iterator[None]:
    """Send the spans of this process while the block runs, in a thread of its own; what nobody takes is dropped."""
    resource = Resource({SERVICE_NAME: name}).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    try:
        with collected(provider):
            yield
    finally:
        ending = threading.Thread(target=provider.shutdown, daemon=True)
        ending.start()
        ending.join(LAST_SECONDS)
