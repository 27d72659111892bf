"""What a test collects of the spans and the metrics that a process gives out."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families

from huleedu.platform.tracing import collected

LABELS = {"service", "method", "route", "status", "group", "topic", "handler", "phase", "source", "le"}
"""Every label there is: names of which there are few, and no id."""
Samples = dict[tuple[str, frozenset[str]], float]


@contextmanager
def spans_collected() -> Iterator[InMemorySpanExporter]:
    """Collect the spans of this process while the block runs."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with collected(provider):
        yield exporter


def told(spans: Iterable[ReadableSpan]) -> str:
    """Return everything that spans say."""
    return "".join(span.to_json() for span in spans)


def samples(text: str) -> Samples:
    """Return every value by its name and labels, of a text that is as it should be."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation, family.name
        assert family.type in {"gauge", "histogram", "counter"}, family.name
        assert family.name.startswith(("huleedu_", "process_"))
        for sample in family.samples:
            assert set(sample.labels) <= LABELS, sample
            found[sample.name, frozenset(sample.labels.values())] = sample.value
    return found


def value(found: Samples, name: str, *labels: str) -> float:
    """Return the value of this metric under these labels."""
    return found[f"huleedu_{name}", frozenset(labels)]
