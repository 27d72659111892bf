"""What can be seen of services in processes of their own: one trace through all of them, and nothing that is secret."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from sqlalchemy import select
from typing_extensions import override
from websockets.asyncio.client import connect

from huleedu.platform.log import store
from huleedu.services import ROSTER
from tests.engine.apart import Town, fleet, town_of
from tests.engine.kafka import messages
from tests.engine.whole import second_engine
from tests.given import PATIENT
from tests.seeing import Samples, samples
from tests.servers import ENGINE, Servers
from tests.system.house import essay, parts

pytestmark = [pytest.mark.asyncio(loop_scope="module"), *ENGINE]
CANARY = "Zanzibarquokka"
OUTBOX = "huleedu_outbox_events", frozenset[Any]()
TRACE, ASKED_BY = "a1" * 16, "b2" * 8
HEADERS = {"traceparent": f"00-{TRACE}-{ASKED_BY}-01"}


class Collector:
    """A collector of spans on loopback: what comes is kept, as it came and as it reads."""

    def __init__(self) -> None:
        self.url, self.bodies = "", b""
        self.spans: dict[str, Span] = {}
        self._news = threading.Condition()

    def take(self, body: bytes) -> None:
        with self._news:
            self.bodies += body
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                spans = [span for scope in resource.scope_spans for span in scope.spans]
                self.spans |= {span.span_id.hex(): span for span in spans if span.trace_id.hex() == TRACE}
            self._news.notify_all()

    def wait(self, until: Callable[[], bool]) -> bool:
        with self._news:
            return self._news.wait_for(until, 60)

    def missing(self) -> set[str]:
        """Return the steps that others name and that have not come."""
        return {span.parent_span_id.hex() for span in self.spans.values()} - self.spans.keys()

    def handled(self) -> set[tuple[str, str]]:
        """Return which group has handled which event."""
        return {
            (span.name.split()[0], one.value.string_value)
            for span in self.spans.values()
            for one in span.attributes
            if one.key == "huleedu.event_id"
        }


@contextmanager
def collecting() -> Iterator[Collector]:
    found = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.take(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.end_headers()

        @override
        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found.url = f"http://127.0.0.1:{server.server_port}"
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield found
        server.shutdown()
        serving.join()


@dataclass
class Seen:
    """What was seen of a class from outside, and what nobody may see."""

    collector: Collector
    frames: list[dict[str, Any]] = field(default_factory=list)
    records: list[Any] = field(default_factory=list)
    inbox: set[tuple[str, str]] = field(default_factory=set)
    metrics: dict[str, str] = field(default_factory=dict)
    errors: str = ""
    lines: str = ""
    secrets: set[str] = field(default_factory=set)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def seen(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Seen]:
    """Let a class go through six processes, and look."""
    directory = tmp_path_factory.mktemp("seen")
    async with second_engine(servers) as settings:
        with collecting() as collector, pytest.MonkeyPatch.context() as environment:
            environment.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
            environment.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
            seen = Seen(collector)
            with fleet(settings | PATIENT | {"log_level": "debug"}, directory) as found:
                await asyncio.to_thread(found.start, found.places)
                async with town_of(found) as town:
                    await live(seen, town)
                    seen.records = await asyncio.to_thread(messages, settings["log_url"])
                    said = {dict(record.headers())["event_id"].decode() for record in seen.records}
                    inbox = select(store.inbox.c.grp, store.inbox.c.event_id)
                    rows = await town.platform.db.read(lambda tx: tx.all(inbox))
                    seen.inbox = {(row.grp, row.event_id) for row in rows if row.event_id in said}
                await asyncio.to_thread(collector.wait, lambda: complete(seen))
                printed = [served.printed for served in found.started]
                await asyncio.to_thread(found.stop, found.places)
                seen.lines = found.lines + "".join(printed)
                seen.secrets |= found.secrets
        yield seen


def complete(seen: Seen) -> bool:
    return seen.collector.missing() == {ASKED_BY} and seen.collector.handled() >= seen.inbox


async def live(seen: Seen, town: Town) -> None:
    """Let a class go through, all of it for one trace, and let some things go wrong."""
    anna = await town.teacher(f"Anna {CANARY}")
    link = await anna.link()
    errors = [await anna.http.post("/v1/session", json={"link": link}) for _ in range(2)]
    ticket = (await anna.http.post("/v1/live/ticket")).json()["ticket"]
    url = str(anna.http.base_url).replace("http", "ws").rstrip("/") + "/ws"
    async with connect(url) as page:
        await page.send(json.dumps({"event": "hello", "cursor": None, "ticket": ticket}))
        assert "welcome" in str(await page.recv())
        made = await anna.ask("POST", "/batches", 201, json={"title": CANARY}, headers=HEADERS)
        batch = f"/batches/{made['batch_id']}"
        files = parts(essay(f"I am {CANARY}. " * 3), name=CANARY)
        await anna.ask("POST", f"{batch}/essays", 201, files=files, headers=HEADERS)
        await anna.ask("POST", f"{batch}/pipelines", 202, json={"requested_pipeline": "all"}, headers=HEADERS)
        while not seen.frames or seen.frames[-1]["event"] != "batch_pipeline_completed":
            frame = json.loads(await page.recv())
            seen.frames += [frame] if "seq" in frame else []
        errors += [await anna.http.get(f"/v1{batch}/essays/{CANARY}", params={"x": CANARY})]
        seen.metrics = await scraped(town)
        while not settled(seen.metrics):
            seen.metrics = await scraped(town)
    seen.errors = "".join(error.text for error in errors if error.is_error)
    seen.secrets |= {CANARY, anna.token, link, ticket, "small house"}


async def scraped(town: Town) -> dict[str, str]:
    """Return the metrics of each service."""
    async with httpx2.AsyncClient(trust_env=False, timeout=60) as prometheus:
        places = town.fleet.internal.items()
        return {name: (await prometheus.get(f"http://127.0.0.1:{port}/metrics")).text for (name, _), port in places}


def settled(metrics: dict[str, str]) -> bool:
    """Return whether everything could be measured, and nobody is behind."""
    found = [samples(text) for text in metrics.values()]
    answers = [answered for one in found for (name, _), answered in one.items() if name == "huleedu_measured"]
    return all(answers) and not any(lags(metrics).values()) and not any(one[OUTBOX] for one in found)


def lags(metrics: dict[str, str]) -> Samples:
    found = {key: size for text in metrics.values() for key, size in samples(text).items()}
    return {key: size for key, size in found.items() if key[0] == "huleedu_lag_events"}


async def test_one_trace_joins_request_header_inbox_and_frame(seen: Seen) -> None:
    assert seen.collector.missing() == {ASKED_BY}, "no step is missing in between"
    assert seen.inbox
    assert seen.collector.handled() == seen.inbox
    headers = [dict(record.headers())["traceparent"].decode() for record in seen.records]
    assert {header.split("-")[1] for header in headers} == {TRACE}
    assert {header.split("-")[2] for header in headers} <= seen.collector.spans.keys()
    assert {frame["traceparent"].split("-")[1] for frame in seen.frames} == {TRACE}
    assert {span.name for span in seen.collector.spans.values()} >= {
        "POST /v1/batches/{batch_id}/essays",
        "POST /internal/v1/batches/{batch_id}/essays",
        "POST /v1/batches/{batch_id}/pipelines",
        "orchestrator-service ClientBatchPipelineRequestV1",
        "work spellcheck",
        "result-aggregator-service fold",
        "push",
    }


async def test_each_process_tells_what_it_can_see(seen: Seen) -> None:
    found = {name: samples(text) for name, text in seen.metrics.items()}
    assert found.keys() == ROSTER.keys()
    for told in found.values():
        assert told[OUTBOX] == 0
    assert all(lags({name: text}) for name, text in seen.metrics.items() if name != "gateway")
    assert found["phases"]["huleedu_work_units", frozenset({"nlp"})] == 0
    assert found["gateway"]["huleedu_sockets", frozenset()] == 1
    assert found["gateway"]["huleedu_push_seconds_count", frozenset()] >= 1


async def test_nothing_secret_is_in_any_line_error_metric_or_trace(seen: Seen) -> None:
    assert "serve.listening" in seen.lines
    shown = seen.lines + "".join(seen.metrics.values()) + seen.collector.bodies.decode(errors="replace")
    for secret in seen.secrets:
        assert secret not in shown
        assert secret not in seen.errors
