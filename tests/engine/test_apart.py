"""Each service in a process of its own."""

import asyncio
import itertools
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest
import pytest_asyncio

from huleedu.aggregator.rebuild import GROUP
from huleedu.cli.doctor import diagnose
from huleedu.contracts.batch import BatchClientStatus, BatchStateChangedV1
from huleedu.platform.context import bound
from huleedu.platform.log import store as log_store
from huleedu.services import ROSTER
from tests.engine.apart import Fleet, Town, check, fleet, in_work, town_of, until_in_work
from tests.engine.kafka import topics_at
from tests.engine.listener import Listener
from tests.engine.whole import second_engine
from tests.given import Databases
from tests.servers import ENGINE, Servers
from tests.system.house import Teacher, essay

pytestmark = [pytest.mark.asyncio(loop_scope="module"), *ENGINE]
CLASS, MANY, BACKLOG, LONG = 8, 40, 20_000, "We was hapy in the sommer. " * 60


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def apart(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    """Every service with a database of its own, the gateway first: what it asks of the others is not there yet."""
    async with second_engine(servers) as settings:
        databases = Databases()
        databases.server = servers.env("postgres")["HULEEDU_DATABASE_URL"]
        own = {name: await databases.create() for name in ROSTER}
        here = settings | {"database_url": own["orchestrator"]}
        with fleet(here, tmp_path_factory.mktemp("apart"), databases=own) as found:
            for places in ([("gateway", 0)], [place for place in found.places if place[0] != "gateway"]):
                await asyncio.to_thread(found.start, places)
            async with town_of(found) as town:
                yield town


@pytest_asyncio.fixture(loop_scope="module")
async def anna(apart: Town) -> Teacher:
    return await apart.teacher()


async def get(port: int, path: str) -> httpx2.Response:
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60) as client:
        return await client.get(path)


async def until_ready(found: Fleet) -> None:
    while (await get(found.public["gateway", 0], "/readyz")).status_code != 200:
        pass


async def restart(found: Fleet, name: str, number: signal.Signals) -> int:
    (code,) = await asyncio.to_thread(found.stop, [(name, 0)], number)
    await asyncio.to_thread(found.start, [(name, 0)])
    return code


async def test_a_class_goes_through_all_of_them(anna: Teacher) -> None:
    batch_id = await anna.batch(*(essay() for _ in range(CLASS)))
    await anna.start(batch_id)
    # Files are another topic than states: on a broker it may be read a moment later.
    await anna.until(batch_id, lambda found: (found["status"], found["essays"]) == ("completed_successfully", CLASS))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_gateway_without_its_aggregator_says_so_and_when_to_come_again(
    apart: Town, anna: Teacher, number: signal.Signals
) -> None:
    aggregator = apart.fleet.running["aggregator", 0].process
    aggregator.send_signal(number)
    for _ in range(8):
        answer = await anna.http.get("/v1/batches")
        assert (answer.status_code, answer.headers.get("retry-after")) == (503, "2"), answer.text
        assert answer.json()["code"] == "UNAVAILABLE"
    ready = await get(apart.fleet.public["gateway", 0], "/readyz")
    assert ready.status_code == 503, ready.text
    told = ready.json()["detail"]
    assert ("aggregator" in told, "files" in told) == (True, False)
    if number is signal.SIGSTOP:
        aggregator.send_signal(signal.SIGCONT)
    else:
        await restart(apart.fleet, "aggregator", signal.SIGKILL)
    await until_ready(apart.fleet)
    await anna.ask("GET", "/batches", 200)


async def test_ready_names_the_servers_that_hang_and_goes_on_without_them(apart: Town, servers: Servers) -> None:
    with servers.hanging("kafka", "redis", "s3"):
        for port in (apart.fleet.public["gateway", 0], apart.fleet.internal["phases", 0]):
            found = await get(port, "/readyz")
            assert (found.status_code, found.json()["missing"]) == (200, ["log", "backplane", "blobs"])
    while (await get(apart.fleet.public["gateway", 0], "/readyz")).json().get("missing") != []:
        """They come back."""


async def test_doctor_tells_which_service_answers_in_the_place_of_another(apart: Town) -> None:
    settings, there = apart.fleet.settings, apart.fleet.internal
    files, orchestrator = (f"http://127.0.0.1:{there[name, 0]}" for name in ("files", "orchestrator"))
    peers = settings.peers.replace(files, orchestrator)
    checks = await diagnose(settings.model_copy(update={"peers": peers}))
    told = {check.what: check.found for check in checks if not check.sound}
    assert told == {"files": f"The service orchestrator answers at {orchestrator}: mend HULEEDU_PEERS."}


async def read(found: Fleet, name: str, query: str) -> Any:  # noqa: ANN401 -- as the column
    connection = await asyncpg.connect(found.databases[name])
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def test_a_service_with_a_backlog_stops_in_the_middle_of_it_and_reads_the_rest_when_it_is_back(
    apart: Town, anna: Teacher
) -> None:
    batch_id = await anna.batch(essay())
    await anna.settled(batch_id, 1)
    await asyncio.to_thread(apart.fleet.stop, [("aggregator", 0)])
    said = [
        BatchStateChangedV1(batch_id=batch_id, version=version, status=BatchClientStatus.READY, reason="")
        for version in range(1_000, 1_000 + BACKLOG)
    ]
    with bound(user_id=anna.user_id):
        await apart.platform.db.write(lambda tx: log_store.append(tx, said))
    while await read(apart.fleet, "orchestrator", "SELECT count(*) FROM outbox"):
        """The relay brings them to Kafka."""
    heard = f"SELECT count(*) FROM inbox WHERE grp = '{GROUP}'"
    before = await read(apart.fleet, "aggregator", heard)
    await asyncio.to_thread(apart.fleet.start, [("aggregator", 0)])
    while await read(apart.fleet, "aggregator", heard) == before:
        """It joins its group."""
    assert await asyncio.to_thread(apart.fleet.stop, [("aggregator", 0)]) == [0]
    assert before < await read(apart.fleet, "aggregator", heard) < before + BACKLOG
    await asyncio.to_thread(apart.fleet.start, [("aggregator", 0)])
    while await read(apart.fleet, "aggregator", heard) < before + BACKLOG:
        """It reads the rest."""
    await until_ready(apart.fleet)


async def test_a_service_says_that_it_waits_for_its_database_and_serves_when_it_is_there(
    apart: Town, servers: Servers
) -> None:
    place = ("gateway", 0)
    assert await asyncio.to_thread(apart.fleet.stop, [place]) == [0]
    async with asyncio.TaskGroup() as tasks:
        with servers.hanging("postgres"):
            tasks.create_task(asyncio.to_thread(apart.fleet.start, [place]))
            ready = None
            while ready is None:
                with suppress(httpx2.ConnectError):
                    ready = await get(apart.fleet.internal[place], "/readyz")
            assert (ready.status_code, ready.json()["code"]) == (503, "NOT_READY")
            assert "database" in ready.json()["detail"]
            assert (await get(apart.fleet.internal[place], "/healthz")).json() == {"status": "alive"}
    assert (await get(apart.fleet.internal[place], "/healthz")).json() == {"status": "alive"}
    while (await get(apart.fleet.internal[place], "/readyz")).status_code != 200:
        """The others find their database again."""


async def test_services_that_start_without_kafka_serve_and_do_what_was_said_when_it_comes(
    servers: Servers, tmp_path: Path
) -> None:
    kafka = servers.env("kafka")["SERVERS_KAFKA_SASL_URL"]
    async with second_engine(servers) as settings, topics_at(kafka, ()) as log_url:
        with fleet(settings | {"log_url": log_url}, tmp_path) as found:
            async with town_of(found) as town:
                servers.kill("kafka")
                try:
                    await asyncio.to_thread(found.start, found.places)
                    await until_ready(found)
                    for port in (found.public["gateway", 0], found.internal["phases", 0]):
                        assert (await get(port, "/readyz")).json()["missing"] == ["log"]
                    assert await restart(found, "aggregator", signal.SIGTERM) == 0
                    await until_ready(found)
                    bo = await town.teacher()
                    batch_id = await bo.batch(*(essay() for _ in range(CLASS)))
                finally:
                    await asyncio.to_thread(servers.up, "kafka")
                await bo.settled(batch_id, CLASS)
                await bo.ended(batch_id, await bo.start(batch_id))
                await check(town, bo, batch_id)


async def test_a_service_stops_also_while_its_database_hangs(apart: Town, servers: Servers) -> None:
    places = [(name, 0) for name in ROSTER]
    with servers.hanging("postgres"):
        codes = await asyncio.to_thread(apart.fleet.stop, places)
    assert {*codes} <= {0, 1}
    assert 1 in codes, "none was forced to end"
    await asyncio.to_thread(apart.fleet.start, places)
    await until_ready(apart.fleet)


async def test_what_is_for_services_is_on_a_listener_of_its_own_and_asks_for_a_key(apart: Town) -> None:
    path = "/internal/v1/batches/x/pipeline-state"
    public, internal = apart.fleet.public["gateway", 0], apart.fleet.internal["orchestrator", 0]
    assert (await get(public, path)).status_code == 404
    assert (await get(internal, path)).status_code == 401
    assert [(await get(internal, path)).status_code for path in ("/healthz", "/readyz")] == [200, 200]


@pytest.mark.timeout(240)
async def test_each_service_restarted_after_another_while_a_class_is_in_work_loses_nothing_and_doubles_nothing(
    apart: Town, anna: Teacher
) -> None:
    listener = Listener(apart, anna, itertools.repeat(f"http://127.0.0.1:{apart.fleet.public['gateway', 0]}"))
    runs: dict[str, str] = {}
    async with asyncio.TaskGroup() as tasks:
        staying = tasks.create_task(listener.stay())
        await listener.until(lambda _shown: listener.connections == 1)
        for name in ROSTER:
            if not runs or not await in_work(apart, list(runs)[-1]):
                await until_ready(apart.fleet)
                batch_id = await anna.batch(*(essay(LONG) for _ in range(MANY)))
                runs[batch_id] = await anna.start(batch_id)
                await until_in_work(apart, batch_id)
            assert await restart(apart.fleet, name, signal.SIGTERM) == 0
        await until_ready(apart.fleet)
        for batch_id, run_id in runs.items():
            assert (await anna.ended(batch_id, run_id))["status"] == "completed_successfully"
            # The essays are said elsewhere than the end, and may come later.
            await anna.until(batch_id, lambda found: found["essays"] == MANY)
        await check(apart, anna, *runs)
        while await listener.page.fresh() != listener.page.shown:
            """The last frames are on their way."""
        staying.cancel()
    assert listener.connections > 1
