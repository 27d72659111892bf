"""What a process tells Prometheus: what it has counted, and what the database and the log answer when it is asked.

Names and labels are the same on both engines. A label is one of a few names (service, group, topic, handler, phase,
route), never an id. What several processes can see, each of them tells: take the maximum.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NamedTuple

import structlog
from opentelemetry.trace import SpanKind
from prometheus_client import CollectorRegistry, Gauge, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import generate_latest

from huleedu.contracts.messages import TOPICS
from huleedu.platform.context import caused_by
from huleedu.platform.log import parking, store
from huleedu.platform.tracing import collecting, span

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime
    from typing import Any

    from prometheus_client.metrics_core import Metric

    from huleedu.contracts.envelope import EventEnvelope
    from huleedu.platform.app import Platform
    from huleedu.platform.db import ReadTx
    from huleedu.platform.log import Backlog
    from huleedu.platform.service import Service

ANSWER_SECONDS = 2.0
"""What is asked may take so long; then the rest is told without it. Prometheus waits for ten seconds."""
QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds, from a transaction of one record to what nobody waits for any more."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""Of requests; a client may send any word."""

disable_created_metrics()  # type: ignore[no-untyped-call]  # when a series began: for each another series, which nobody asks for
REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
HTTP_SECONDS = Histogram(
    "huleedu_http_request_seconds",
    "Time from a request to its answer, by route and by the class of its status.",
    ("service", "method", "route", "status"),
    registry=REGISTRY,
)
HANDLER_SECONDS = Histogram(
    "huleedu_handler_seconds",
    "Time in a handler of the log, by message; a service that folds takes all messages of a transaction at once.",
    ("group", "handler"),
    registry=REGISTRY,
    buckets=QUICK,
)
PUSH_SECONDS = Histogram(
    "huleedu_push_seconds",
    "Time from a view's transaction to the frame that tells a page; what is told in one go counts once, its oldest."
    " Frames by which a page catches up, when it connects or has missed one, are not in it.",
    registry=REGISTRY,
    buckets=QUICK,
)
OPEN_SOCKETS = Gauge("huleedu_sockets", "Live connections of this process.", registry=REGISTRY)
COUNTED = (HTTP_SECONDS, HANDLER_SECONDS, PUSH_SECONDS, OPEN_SOCKETS)


class Asked(NamedTuple):
    """A gauge whose value is asked for when somebody looks."""

    name: str
    meaning: str
    labels: tuple[str, ...] = ()


LAG = Asked("huleedu_lag_events", f"Events that a group has not handled yet, up to {store.MOST:,}.", ("group", "topic"))
LAG_SECONDS = Asked(
    "huleedu_lag_seconds",
    "Time since the oldest event that a group has not handled came to the log.",
    ("group", "topic"),
)
OUTBOX = Asked("huleedu_outbox_events", f"Events that are not in the log yet, up to {store.MOST:,}; 0 in one process.")
OUTBOX_SECONDS = Asked("huleedu_outbox_seconds", "Age of the oldest event that is not in the log yet.")
LETTERS = Asked("huleedu_dead_letters", f"Records that are parked, up to {store.MOST:,}.", ("group",))
KEYS = Asked("huleedu_parked_keys", "Keys (topic and batch) of which nothing is handled any more.", ("group",))
WORK = Asked("huleedu_work_units", f"Work that waits for a worker, up to {store.MOST:,}.", ("phase",))
WORK_SECONDS = Asked("huleedu_work_seconds", "Age of the oldest of the work that is counted.", ("phase",))
VIEW_SECONDS = Asked("huleedu_view_seconds", "Time since the newest event that is in a view was said.", ("group",))
MEASURED = Asked(
    "huleedu_measured", "Whether what is asked for could be measured; 0 if it did not answer.", ("source",)
)
ASKED = (
    LAG, LAG_SECONDS, OUTBOX, OUTBOX_SECONDS, LETTERS, KEYS, WORK, WORK_SECONDS, VIEW_SECONDS, MEASURED,
)  # fmt: skip
log = structlog.get_logger()
Sample = tuple[Asked, tuple[str, ...], float]


@contextmanager
def handling(group: str, handler: str, envelopes: Sequence[EventEnvelope[Any]]) -> Iterator[None]:
    """Time what a group does about these events; it is a step of the trace of each."""
    with HANDLER_SECONDS.labels(group, handler).time(), ExitStack() as steps:
        for envelope in envelopes if collecting() else ():
            steps.enter_context(caused_by(envelope))
            told = {"event_id": str(envelope.event_id), "event_type": envelope.event_type}
            steps.enter_context(span(f"{group} {handler}", SpanKind.CONSUMER, **told))
        yield


class Scrape:
    """All there is to tell at one moment."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self._families = {asked: GaugeMetricFamily(asked.name, asked.meaning, labels=asked.labels) for asked in ASKED}
        for asked, labels, value in samples:
            self._families[asked].add_metric(labels, value)

    def collect(self) -> Iterator[Metric]:
        """Return what was counted and what was asked."""
        yield from REGISTRY.collect()
        yield from self._families.values()


async def scraped(platform: Platform, services: Sequence[Service]) -> bytes:
    """Return what there is to tell in Prometheus' text format. What does not answer is left out, and that is told."""
    questions = {
        "database": _database(platform, services),
        "outbox": _outbox(platform),
        "log": _log(platform, services),
    }
    asked = (asyncio.wait_for(question, ANSWER_SECONDS) for question in questions.values())
    answers = dict(zip(questions, await asyncio.gather(*asked, return_exceptions=True), strict=True))
    samples: list[Sample] = []
    for source, answer in answers.items():
        if isinstance(answer, BaseException):
            log.warning("metrics.not_measured", source=source, cause=type(answer).__name__)
            samples.append((MEASURED, (source,), 0))
        else:
            samples += [(MEASURED, (source,), 1), *answer]
    return generate_latest(Scrape(samples))


async def _database(platform: Platform, services: Sequence[Service]) -> list[Sample]:
    def samples(tx: ReadTx) -> Iterator[Sample]:
        for service in services:
            letters, keys = parking.counts(tx, service.group)
            yield LETTERS, (service.group,), letters
            yield KEYS, (service.group,), keys
            for phase, waiting in (service.queue(tx) if service.queue else {}).items():
                yield from _backlog((WORK, WORK_SECONDS), (phase,), waiting, tx.now)
            if service.fold and (newest := store.newest(tx, service.group)):
                yield VIEW_SECONDS, (service.group,), _age(newest, tx.now)

    return await platform.db.read(lambda tx: list(samples(tx)))


async def _outbox(platform: Platform) -> list[Sample]:
    return [*_backlog((OUTBOX, OUTBOX_SECONDS), (), await platform.log.unsent(), platform.clock.now())]


async def _log(platform: Platform, services: Sequence[Service]) -> list[Sample]:
    now, log = platform.clock.now(), platform.log
    samples: list[Sample] = []
    heard = {service.group: {TOPICS[message] for message in service.hears} for service in services}
    lags = await asyncio.gather(*(log.lag(group, topics) for group, topics in heard.items()))
    for group, lag in zip(heard, lags, strict=True):
        for topic, behind in lag.items():
            samples += _backlog((LAG, LAG_SECONDS), (group, topic), behind, now)
    return samples


def _backlog(told: tuple[Asked, Asked], labels: tuple[str, ...], waiting: Backlog, now: datetime) -> Iterator[Sample]:
    yield told[0], labels, waiting.size
    if waiting.since or not waiting.size:  # of an age that is not known nothing is said
        yield told[1], labels, _age(waiting.since, now)


def _age(since: datetime | None, now: datetime) -> float:
    return max(0.0, (now - since).total_seconds()) if since else 0.0
