"""What can be seen of the whole from outside: one trace from the request to the frame, and what is measured."""

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import func, select
from websockets.asyncio.client import connect

from huleedu.cli import serve
from huleedu.contracts.messages import TOPICS
from huleedu.platform.log import store
from tests.seeing import samples, spans_collected, value
from tests.system.house import House, Teacher, essay, inhabited, listening, parts

TRACE, ASKED_BY = "a1" * 16, "b2" * 8
HEADERS = {"traceparent": f"00-{TRACE}-{ASKED_BY}-01"}


async def assessed(house: House, anna: Teacher) -> list[dict[str, Any]]:
    """Let a class go through, all of it for one trace; return the frames that a page was sent meanwhile."""
    frames: list[dict[str, Any]] = []
    async with listening(house) as url:
        shown = {"authorization": f"Bearer {anna.token}"}
        async with connect(url.replace("http", "ws") + "/ws", additional_headers=shown) as page:
            await page.send('{"event":"hello","cursor":null}')
            assert "welcome" in str(await page.recv())
            made = await anna.ask("POST", "/batches", 201, json={}, headers=HEADERS)
            batch = f"/batches/{made['batch_id']}"
            await anna.ask("POST", f"{batch}/essays", 201, files=parts(essay()), headers=HEADERS)
            body = {"requested_pipeline": "nlp"}
            await anna.ask("POST", f"{batch}/pipelines", 202, json=body, headers=HEADERS)
            while not frames or frames[-1]["event"] != "batch_pipeline_completed":
                if "seq" in (frame := json.loads(await page.recv())):  # a ping is of no trace
                    frames.append(frame)
    return frames


async def heard_out(house: House) -> None:
    """Wait until every service has handled all that has been said, and has said nothing more because of it."""
    last = select(func.max(store.outbox.c.pos))
    quiet = False
    while not quiet:
        before = await house.platform.db.read(lambda tx: tx.scalar(last))
        lags = [
            await house.platform.log.lag(service.group, {TOPICS[message] for message in service.hears})
            for service in house.services.values()
        ]
        said = await house.platform.db.read(lambda tx: tx.scalar(last)) != before
        quiet = not said and not any(behind.size for lag in lags for behind in lag.values())


async def test_one_trace_joins_request_outbox_inbox_and_frame(tmp_path: Path) -> None:
    with spans_collected() as collected:
        async with inhabited(tmp_path) as house:
            frames = await assessed(house, await house.teacher())
            await heard_out(house)
            rows = await house.platform.db.read(lambda tx: tx.scalars(select(store.outbox.c.envelope)))
            inbox = await house.platform.db.read(lambda tx: tx.all(select(store.inbox.c.grp, store.inbox.c.event_id)))
    assert {frame["traceparent"].split("-")[1] for frame in frames} == {TRACE}
    assert {json.loads(row)["traceparent"].split("-")[1] for row in rows} == {TRACE}
    spans = {span.context.span_id: span for span in collected.get_finished_spans() if span.context}
    traced = {number: span for number, span in spans.items() if f"{span.context.trace_id:032x}" == TRACE}
    parents = {span.parent.span_id for span in traced.values() if span.parent}
    assert all(span.parent for span in traced.values())
    assert {f"{number:016x}" for number in parents - traced.keys()} == {ASKED_BY}, "no step is missing in between"
    handled = {
        (str(span.attributes["huleedu.event_id"]), span.name.split()[0])
        for span in traced.values()
        if span.attributes and "huleedu.event_id" in span.attributes
    }
    assert {(row.event_id, row.grp) for row in inbox} == handled
    assert {span.name for span in traced.values()} >= {
        "POST /v1/batches/{batch_id}/essays",
        "POST files",
        "POST /internal/v1/batches/{batch_id}/essays",
        "POST /v1/batches/{batch_id}/pipelines",
        "orchestrator-service ClientBatchPipelineRequestV1",
        "work nlp",
        "result-aggregator-service fold",
        "push",
    }


async def test_the_metrics_of_a_class_are_told_on_the_internal_listener_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huleedu.platform.metrics.ANSWER_SECONDS", 30)
    async with inhabited(tmp_path) as house:
        internal = serve._internal(house.platform, list(house.services.values()))
        await assessed(house, await house.teacher())
        transport = httpx2.ASGITransport(internal)

        async with httpx2.AsyncClient(transport=transport, base_url="http://huleedu") as prometheus:

            async def scraped() -> dict[tuple[str, frozenset[str]], float]:
                answer = await prometheus.get("/metrics")
                assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
                return samples(answer.text)

            found = await scraped()
            while any(size for (name, _), size in found.items() if name == "huleedu_lag_events"):
                found = await scraped()
        public = await house.http().get("/metrics")
    assert "huleedu_" not in public.text
    for service in house.services.values():
        assert value(found, "dead_letters", service.group) == 0
        for message in service.hears:
            assert value(found, "lag_seconds", service.group, TOPICS[message]) == 0
    assert value(found, "measured", "database") == value(found, "measured", "log") == 1
    assert value(found, "work_units", "nlp") == value(found, "outbox_events") == value(found, "sockets") == 0
    assert 0 < value(found, "view_seconds", "result-aggregator-service") < 60
    started = ("gateway", "POST", "/v1/batches/{batch_id}/pipelines", "2xx")
    assert value(found, "http_request_seconds_count", *started) >= 1
    for handler in ("phase-service", "PhaseWorkRequestedV1"), ("result-aggregator-service", "fold"):
        assert value(found, "handler_seconds_count", *handler) >= 1
    assert value(found, "push_seconds_count") >= 1
