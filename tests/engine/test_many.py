"""Two processes of each service at once."""

import asyncio
import itertools
import signal
from collections.abc import AsyncIterator

import psutil
import pytest
import pytest_asyncio
from sqlalchemy import text

from tests.engine.apart import (
    Place,
    Town,
    check,
    fences,
    fleet,
    town_of,
    until_in_work,
    until_nothing_is_left_to_do,
    until_shared,
)
from tests.engine.listener import Listener
from tests.engine.whole import second_engine
from tests.servers import ENGINE, Servers
from tests.system.house import Teacher, essay

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300), *ENGINE]
CLASS, LONG = 8, "We was hapy in the sommer. " * 60
ELECTED = text("""
    SELECT client_port FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND datname = current_database()
      AND (classid::bigint << 32 | objid::bigint) = hashtextextended('relay', 0)
""")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def many(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    async with second_engine(servers) as settings:
        with fleet(settings, tmp_path_factory.mktemp("many"), copies=2) as found:
            await asyncio.to_thread(found.start, [("files", 0)])  # which is elected: it has no rival yet
            await asyncio.to_thread(found.start, [place for place in found.places if place != ("files", 0)])
            async with town_of(found) as here:
                yield here


@pytest_asyncio.fixture(loop_scope="module")
async def anna(many: Town) -> Teacher:
    return await many.teacher()


async def elected(many: Town) -> Place:
    """Return which process relays."""
    (port,) = await many.platform.db.read(lambda tx: tx.scalars(ELECTED))
    ports = {
        place: {connection.laddr.port for connection in psutil.Process(served.process.pid).net_connections("tcp")}
        for place, served in many.fleet.running.items()
    }
    return next(place for place, its in ports.items() if port in its)


async def test_processes_that_sleep_longer_than_their_sessions_change_nothing_when_they_wake(
    many: Town, anna: Teacher
) -> None:
    asleep = [(name, 0) for name in ("files", "orchestrator", "lifecycle", "phases", "aggregator")]
    assert await elected(many) in asleep
    await until_shared(many, 2)
    batch_id = await anna.batch(*(essay(LONG) for _ in range(CLASS)))
    run_id = await anna.start(batch_id)
    await until_in_work(many, batch_id)
    before = await fences(many)
    for place in asleep:
        many.fleet.running[place].process.send_signal(signal.SIGSTOP)
    assert (await anna.ended(batch_id, run_id))["status"] == "completed_successfully"
    assert await elected(many) not in asleep
    groups = {group for group, *_ in before}
    while {place[0] for place, fence in (await fences(many)).items() if fence > before[place]} != groups:
        """Some group has partitions that nobody has taken over yet."""
    said = await check(many, anna, batch_id)
    for place in asleep:
        many.fleet.running[place].process.send_signal(signal.SIGCONT)
    for _ in range(3):
        following = await anna.batch(*(essay() for _ in range(CLASS)))
        assert (await anna.ended(following, await anna.start(following)))["status"] == "completed_successfully"
        await check(many, anna, following)
    assert await check(many, anna, batch_id) == said


async def test_two_gateways_tell_a_teacher_the_same_and_one_that_is_killed_takes_nothing_with_it(
    many: Town, anna: Teacher
) -> None:
    ports = [many.fleet.public["gateway", copy] for copy in range(2)]
    hers = ports.index(anna.http.base_url.port or 0)
    urls = [f"http://127.0.0.1:{ports[copy]}" for copy in (hers, 1 - hers)]
    stays, goes = pages = [Listener(many, anna, itertools.cycle(order)) for order in (urls, urls[::-1])]

    async def told_the_same() -> None:
        await until_nothing_is_left_to_do(many)
        fresh = await stays.page.fresh()
        for each in pages:
            await each.until(lambda shown: shown == fresh)
        assert stays.page.heard == goes.page.heard

    async with asyncio.TaskGroup() as tasks:
        staying = [tasks.create_task(each.stay()) for each in pages]
        for each in pages:
            await each.until(lambda _shown: each.connections == 1)  # noqa: B023 -- awaited at once
        first = await anna.batch(essay())
        await anna.ended(first, await anna.start(first))
        await told_the_same()
        batch_id = await anna.batch(*(essay(LONG) for _ in range(CLASS)))
        run_id = await anna.start(batch_id)
        await until_in_work(many, batch_id)
        killed = ("gateway", 1 - hers)
        assert await asyncio.to_thread(many.fleet.stop, [killed], signal.SIGKILL) == [-signal.SIGKILL]
        await anna.ended(batch_id, run_id)
        await goes.until(lambda _shown: goes.connections == 2)
        await told_the_same()
        for stay in staying:
            stay.cancel()
    assert stays.connections == 1
    await asyncio.to_thread(many.fleet.start, [killed])
