"""Where the outside world meets the platform: ids that are none, privacy on the disk, what is shown in a terminal."""

import asyncio
import io
import re
import stat
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx2
import pytest
import pytest_asyncio
from rich.console import Console
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from huleedu.cli import assess
from huleedu.gateway import store
from huleedu.platform.db import Tx
from huleedu.platform.errors import Unavailable, describe
from huleedu.platform.installation import CONTROL, locked
from huleedu.platform.metrics import REGISTRY
from tests.system.house import House, Teacher, essay, inhabited

pytestmark = pytest.mark.asyncio(loop_scope="module")
IDS = ["x%3Fy", "%2e%2e", "pipeline-states%3Fafter=", "x%23y", "%0d%0a", "%00", "0198C0DE-0000-7000-8000-000000000000"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(engine: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:  # noqa: ARG001 -- one for each
    async with inhabited(tmp_path_factory.mktemp("edges"), without=["phases"]) as house:
        yield house


@pytest_asyncio.fixture(loop_scope="module")
async def anna(house: House) -> Teacher:
    return await house.teacher()


@pytest.mark.parametrize("shown", IDS)
async def test_what_is_no_id_is_not_there(anna: Teacher, shown: str) -> None:
    batch_id = await anna.batch()
    paths = [
        ("GET", shown),
        ("GET", f"{shown}/status"),
        ("GET", f"{shown}/essays"),
        ("DELETE", shown),
        ("POST", f"{shown}/cancel"),
    ]
    for method, path in [*paths, ("GET", f"{batch_id}/essays/{shown}"), ("DELETE", f"{batch_id}/essays/{shown}")]:
        response = await anna.http.request(method, f"/v1/batches/{path}")
        assert (response.status_code, response.json()["code"]) == (404, "NOT_FOUND"), path
    response = await anna.http.post(f"/v1/batches/{batch_id}/cancel", json={"run_id": shown[:8]})
    assert response.status_code == 422


async def test_an_erased_batch_does_not_come_back_under_its_key(anna: Teacher) -> None:
    key = {"Idempotency-Key": "once"}
    batch_id = (await anna.ask("POST", "/batches", 201, json={}, headers=key))["batch_id"]
    await anna.ask("DELETE", f"/batches/{batch_id}", 202)
    again = await anna.http.post("/v1/batches", json={}, headers=key)
    assert (again.status_code, again.json()["code"]) == (422, "KEY_REUSED")


async def test_who_dies_while_a_batch_is_erased_has_kept_no_answer_and_a_refusal_takes_none(
    house: House, anna: Teacher
) -> None:
    batch_id, key = await anna.batch(essay()), {"Idempotency-Key": "Quokka"}
    start, orchestrator = f"/batches/{batch_id}/pipelines", house.platform.peer("orchestrator")
    asked = {"json": {"requested_pipeline": "nlp"}, "headers": key}
    started = await anna.ask("POST", start, 202, **asked)
    await anna.until(batch_id, lambda found: found["status"] == "processing")
    await anna.ask("DELETE", f"/batches/{batch_id}", 409)
    assert await anna.ask("POST", start, 202, **asked) == started
    await anna.ask("POST", f"/batches/{batch_id}/cancel", 202)
    await anna.ended(batch_id, started["run_id"])

    async def dying(scope: Scope, receive: Receive, send: Send) -> None:
        await house.apps["orchestrator"](scope, receive, send if scope["method"] != "DELETE" else unheard)

    orchestrator.connect(dying)
    assert (await anna.http.delete(f"/v1/batches/{batch_id}")).status_code == 500
    orchestrator.connect(house.apps["orchestrator"])
    assert batch_id not in str(await house.platform.db.read(lambda tx: tx.all(store.idempotency.select())))


async def unheard(_message: Message) -> None:
    raise ConnectionError("died while it told")


async def test_ready_means_every_service_and_says_which_is_missing(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huleedu.platform.readiness.ANSWER_SECONDS", 30)
    assert (await house.http().get("/readyz")).status_code == 200
    lost = house.platform.peer("phases")
    lost.connect(Response(status_code=503))
    found = await house.http().get("/readyz")
    lost.connect(house.apps["phases"])
    told = found.json()["detail"]
    assert (found.status_code, "phases" in told, "files" in told) == (503, True, False)


async def test_ready_means_the_database_too(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(_read: object) -> None:
        raise Unavailable("The database does not answer.")

    monkeypatch.setattr(house.platform.db, "read", away)
    found = await house.http().get("/readyz")
    assert (found.status_code, "database" in found.json()["detail"]) == (503, True)


async def test_what_can_be_done_without_is_named_and_not_asked_again_before_it_has_answered(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    let, asked = asyncio.Event(), Counter[str]()

    def hang(name: str) -> Callable[..., Awaitable[None]]:
        async def hanging(*_given: object) -> None:
            asked[name] += 1
            await let.wait()

        return hanging

    for port, act in (("log", "ready"), ("backplane", "publish"), ("blobs", "get")):
        monkeypatch.setattr(getattr(house.platform, port), act, hang(port))
    for found in await asyncio.gather(*(house.http().get("/readyz") for _ in range(2))):
        assert (found.status_code, found.json()["missing"]) == (200, ["log", "backplane", "blobs"])
    assert asked == {"log": 1, "backplane": 1, "blobs": 1}
    let.set()
    monkeypatch.setattr("huleedu.platform.readiness.ANSWER_SECONDS", 30)
    while (await house.http().get("/readyz")).json()["missing"]:
        """The answers come soon."""


async def test_what_is_kept_is_for_this_user_only_and_a_killed_server_is_forgotten(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for _ in range(2):
        with locked(data):
            made = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [data, *data.iterdir()]}
        assert made == {"data": 0o700, "blobs": 0o700, "huleedu.db": 0o600, "lock": 0o600}
        (data / CONTROL).write_text("{}")


async def test_an_error_says_where_in_our_code_and_quotes_nothing(house: House) -> None:
    def insert(tx: Tx) -> None:
        tx.execute(text("INSERT INTO account VALUES (:name)"), name="Anna Ek")

    with pytest.raises(DBAPIError) as raised:
        await house.platform.db.write(insert)
    assert "Anna Ek" not in str(raised.value)
    assert re.fullmatch(r"\w+Error at platform/db/__init__\.py:\d+", describe(raised.value))


async def test_a_terminal_waits_when_it_is_told_to() -> None:
    answers = iter([Response(status_code=429, headers={"retry-after": "0"}), Response(b'"done"')])

    async def busy(scope: Scope, receive: Receive, send: Send) -> None:
        await next(answers)(scope, receive, send)

    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(busy), base_url="http://x") as client:
        assert await assess.Assessment(client, Console())._ask("GET", "/v1/batches") == "done"


async def test_a_file_may_be_called_anything() -> None:
    names = ("[/b]", "[red]x", "\x1b[2Jx")
    essays = [{"file_name": f"{name}.txt", "status": "completed", "results": {}} for name in names]
    report = {"essays": essays, "refused": [{"file_name": "[/c]", "detail": "[/d]"}], "status": "completed"}
    terminal = io.StringIO()
    assess._print(Console(file=terminal, width=120, force_terminal=True), report)
    written = terminal.getvalue()
    assert all(name in written for name in ("[/b].txt", "[red]x.txt", " [2Jx.txt", "[/c]", "refused: [/d]"))
    assert "\x1b[2J" not in written


async def test_what_strangers_make_up_is_no_label_of_a_metric(house: House) -> None:
    for method, path in (("BREW", "/readyz"), ("GET", "/v1/made-up"), ("BREW", "/made-up")):
        await house.http().request(method, path)
    counted = "".join(str(one.labels) for family in REGISTRY.collect() for one in family.samples)
    assert "made-up" not in counted
    assert "BREW" not in counted
    labels = {"service": "gateway", "method": "other", "route": "none", "status": "4xx"}
    assert REGISTRY.get_sample_value("huleedu_http_request_seconds_count", labels)
