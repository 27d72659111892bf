"""Every line says whose work it is about; nothing that is told says what a pupil wrote or is called."""

import io
import json
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import httpx2
import pytest
import pytest_asyncio
import structlog
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.util.re import parse_env_headers
from starlette.types import ASGIApp, Receive, Scope, Send
from typing_extensions import override
from websockets.asyncio.client import connect

from huleedu.gateway import store
from huleedu.gateway.handlers import Gateway
from huleedu.platform import http, telemetry
from huleedu.platform.context import bound
from huleedu.platform.db import Tx
from huleedu.platform.log import parking
from huleedu.platform.log import store as log_store
from huleedu.platform.metrics import scraped
from tests.seeing import spans_collected, told
from tests.system.house import House, Teacher, essay, inhabited, listening, parts

CANARY = "Zanzibarquokka"
log = structlog.get_logger()
Line = dict[str, Any]


@pytest.fixture
def stderr(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What is logged in the test, at the lowest level."""
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    telemetry.configure("debug")
    return written


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """What is told a collector of traces."""
    with spans_collected() as spans:
        yield spans


@pytest.fixture
def addresses(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked for, also by one service of another."""
    asked: list[str] = []
    observed = http._observed

    def noted(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        asked.append(unquote_plus(f"{scope['path']}?{scope['query_string'].decode()}"))
        return observed(app, scope, receive, send)

    monkeypatch.setattr(http, "_observed", noted)
    return asked


@pytest_asyncio.fixture
async def house(tmp_path: Path, stderr: io.StringIO, spans: InMemorySpanExporter) -> AsyncIterator[House]:
    del stderr, spans
    async with inhabited(tmp_path) as house:
        yield house


async def seen(house: House, spans: InMemorySpanExporter) -> str:
    """Return all that monitoring is told: metrics, and spans with their names and attributes."""
    shown = (await scraped(house.platform, list(house.services.values()))).decode()
    found = told(spans.get_finished_spans())
    assert "http_request_seconds_count{" in shown
    assert "GET /v1/" in found + shown or "POST /v1/" in found
    return shown + found


def lines(stderr: io.StringIO) -> list[Line]:
    return [json.loads(line) for line in stderr.getvalue().splitlines()]


async def poison(house: House, batch_id: str) -> None:
    """Put on the log what nobody can read, and wait until it is parked."""
    topic, envelope = "huleedu.essay.phase.changed.v1", json.dumps({"data": CANARY})

    def say(tx: Tx) -> None:
        tx.execute(log_store.outbox.insert().values(topic=topic, key=batch_id, envelope=envelope, at=tx.now))
        tx.announce(log_store.topic_channel(topic))

    await house.platform.db.write(say)
    while not await house.platform.db.read(lambda tx: parking.letters(tx, "result-aggregator-service")):
        pass


def fault(*_: object) -> None:
    raise ValueError(CANARY) from KeyError(CANARY)


async def troubled_run(house: House, anna: Teacher) -> list[str]:
    """Let everything happen, good and bad, to essays and files with telling content; return all errors told."""
    batch_id = await anna.batch(essay(f"I am {CANARY}. " * 5), title=CANARY, essay_instructions=CANARY)
    hostile = [
        ("files", (f"{CANARY}.docx", f"PK{CANARY}".encode(), "application/zip")),
        ("files", (f"{CANARY}.pdf", f"%PDF-1.4 {CANARY}".encode(), "application/pdf")),
        ("files", (f"{CANARY}.txt", CANARY.encode(), "text/plain")),
    ]
    await anna.ask("POST", f"/batches/{batch_id}/essays", 201, files=hostile)
    run_id = await anna.start(batch_id)
    assert (await anna.ended(batch_id, run_id))["status"] == "completed_successfully"
    await poison(house, batch_id)

    with pytest.MonkeyPatch.context() as broken:
        broken.setattr(Gateway, "essays", fault)
        faulty = await anna.http.get(f"/v1/batches/{batch_id}/essays")
        assert faulty.status_code == 500
    refused = [
        await anna.http.post(f"/v1/batches/{batch_id}/pipelines", json={CANARY: 1}),
        await anna.http.post(f"/v1/batches/{batch_id}/essays", files=parts("x", name=CANARY), params={"x": CANARY}),
        await house.http(f"{anna.token}x").get("/v1/me"),
        await anna.http.get(f"/v1/batches/{batch_id}/essays/{CANARY}"),
    ]
    return [response.text for response in (faulty, refused[0], *refused[2:])]


async def test_a_canary_is_in_no_line_no_error_no_address_no_metric_and_no_trace(
    house: House,
    stderr: io.StringIO,
    spans: InMemorySpanExporter,
    addresses: list[str],
    capfd: pytest.CaptureFixture[str],
) -> None:
    anna = await house.teacher(f"Anna {CANARY}")
    errors = await troubled_run(house, anna)
    parked = [line for line in lines(stderr) if line["event"] == "log.parked"]
    assert [(line["service"], line["level"], "batch_id" in line) for line in parked] == [("aggregator", "error", True)]
    asked = [one.replace(f"/essays/{CANARY}", "").replace(f"x={CANARY}", "") for one in addresses]
    assert [one for one in asked if one.startswith("/internal/")]
    written = stderr.getvalue() + "".join(capfd.readouterr()) + await seen(house, spans)
    for secret in (CANARY, anna.token, anna.token[-64:], house.platform.keys.service, "small house"):
        assert secret not in written
        assert all(secret not in error.replace(f"{CANARY}: ", "") for error in errors)
        assert not [one for one in asked if secret in one]
    assert '"correlation_id":"None"' not in "".join(errors)
    faults = [line for line in lines(stderr) if line["event"] == "http.fault"]
    assert [(line["cause"], line["user_id"]) for line in faults] == [("ValueError", anna.user_id)]
    assert "in fault" in faults[0]["exception"]
    assert "KeyError" in faults[0]["exception"]


async def test_no_credential_is_in_any_line_error_address_metric_or_trace(
    house: House,
    stderr: io.StringIO,
    spans: InMemorySpanExporter,
    addresses: list[str],
    capfd: pytest.CaptureFixture[str],
) -> None:
    anna = await house.teacher()
    links = [await anna.link() for _ in range(3)]
    client = logging.getLogger("of.a.client")
    client.propagate = False  # it shares our process, and what it logs is not ours
    async with listening(house) as url, httpx2.AsyncClient(base_url=url, headers={"origin": url}, timeout=60) as page:

        async def signed_in_by(**body: object) -> httpx2.Response:
            return await page.post("/v1/session", json=body)

        errors = [await signed_in_by(link=links[0]) for _ in range(2)]
        errors += [await signed_in_by(link=links[1], **{CANARY: 1}), await signed_in_by(link=[links[1]])]
        for password in ("short", CANARY * 2):
            errors += [await page.put("/v1/me/password", json={"password": password})]
        errors += [await signed_in_by(email=anna.email, password=f"{CANARY} ")]
        cookie = page.cookies["huleedu"]
        ticket = (await page.post("/v1/live/ticket")).json()["ticket"]
        for shown in ({"cookie": f"huleedu={cookie}", "origin": url}, {"authorization": f"Bearer {anna.token}"}, {}):
            address = url.replace("http", "ws") + "/ws"
            async with connect(address, additional_headers=shown, logger=client) as socket:
                await socket.send(json.dumps({"event": "hello", "ticket": "" if shown else ticket}))
                assert "welcome" in str(await socket.recv())
        links.append(await anna.link())
        with pytest.MonkeyPatch.context() as broken:
            broken.setattr(store, "take", fault)
            errors += [await signed_in_by(link=links[3])]
        assert [error.status_code for error in errors] == [201, 401, 422, 422, 422, 204, 401, 500]
    written = stderr.getvalue() + "".join(capfd.readouterr()) + await seen(house, spans)
    assert "account.signed_in" in written
    assert "account.wrong_password" in written
    answered = "".join(error.text.replace(f"{CANARY}: ", "") for error in errors)
    assert "127.0.0.1" not in written, "who is where is nobody's business"
    for secret in (CANARY, *links, cookie, ticket, anna.token):
        assert secret not in written
        assert not [one for one in addresses if secret in one]
        assert secret not in answered.replace(f'"email":"{anna.email}"', "")
    assert anna.email not in written
    assert not [one for one in addresses if anna.email in one]


async def test_every_line_says_whose_work_it_is(house: House, stderr: io.StringIO) -> None:
    anna, berit = await house.teacher(), await house.teacher()
    owners, commands = {}, {}
    for teacher in (anna, berit):
        batch_id = await teacher.batch(essay())
        owners[batch_id] = teacher.user_id
        started = await teacher.ask("POST", f"/batches/{batch_id}/pipelines", 202, json={"requested_pipeline": "all"})
        commands[batch_id] = started["correlation_id"]
        await teacher.ended(batch_id, started["run_id"])
    written = [line for line in lines(stderr) if "service" in line]
    of_batches = [line for line in written if "batch_id" in line]
    assert {line["service"] for line in of_batches} >= {"orchestrator", "aggregator"}
    for line in of_batches:
        assert (line["user_id"], line["level"]) == (owners[line["batch_id"]], "info")
    views = [line for line in written if line["service"] == "aggregator"]
    assert all({"batch_id", "user_id", "correlation_id", "timestamp"} <= set(line) for line in views)
    for batch_id, correlation_id in commands.items():
        caused = [line for line in of_batches if line["correlation_id"] == correlation_id]
        assert {line["batch_id"] for line in caused} == {batch_id}
        assert caused[-1]["service"] == "aggregator"
        assert "completed_successfully" in {line.get("status") for line in caused}, (
            "a request can be followed to its end"
        )


def test_a_terminal_is_for_people_and_anything_else_for_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        @override
        def isatty(self) -> bool:
            return True

    told = []
    for stream in (Terminal(), io.StringIO()):
        monkeypatch.setattr(sys, "stderr", stream)
        telemetry.configure("info")
        with bound(batch_id="b1"):
            log.info("it.happened")
            log.debug("too.much")
            error = ExceptionGroup(CANARY, [ValueError(CANARY)])
            logging.getLogger("uvicorn.error").error("It failed", exc_info=error)
        told.append(stream.getvalue())
    assert "it.happened" in told[0]
    assert not told[0].startswith("{")
    ours, theirs = map(json.loads, told[1].splitlines())
    assert (ours["event"], ours["batch_id"]) == ("it.happened", "b1")
    assert (theirs["event"], theirs["batch_id"], theirs["exception"][-15:]) == ("It failed", "b1", "ExceptionGroup\n")
    assert CANARY not in "".join(told)
    assert "ValueError" in theirs["exception"]


def test_a_collectors_credential_that_is_written_wrongly_is_not_quoted(stderr: io.StringIO) -> None:
    assert parse_env_headers(f"Authorization: Bearer {CANARY}", liberal=True) == {}
    assert CANARY not in stderr.getvalue()
