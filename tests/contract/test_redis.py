"""What the backplane on Redis does when the server goes, hangs and comes back, and what it leaves behind there."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from huleedu.gateway import rates
from huleedu.gateway.rates import Rates
from huleedu.platform.backplane.redis import RedisClient
from huleedu.platform.context import new_id
from huleedu.platform.errors import TooMany, Unavailable
from huleedu.services import ROSTER
from tests.given import heard, patient_with_redis
from tests.servers import ENGINE, Servers
from tests.system.house import inhabited

pytestmark = list(ENGINE)


@pytest.fixture
def patient() -> Iterator[None]:
    """Not where Redis hangs, or is away until somebody has joined: that takes as long as one waits for it."""
    with patient_with_redis():
        yield


@pytest.fixture
def url(servers: Servers) -> str:
    return servers.env("redis")["HULEEDU_BACKPLANE_URL"]


@asynccontextmanager
async def client(url: str, client_id: str = "gateway-7") -> AsyncIterator[RedisClient]:
    backplane = RedisClient(client_id, url)
    await backplane.start()
    try:
        yield backplane
    finally:
        await backplane.aclose()


async def connected(url: str) -> list[dict[str, Any]]:
    """Return the connections that the server has, without the one that asks."""
    async with Redis.from_url(url, client_name="observer", protocol=2) as asking:
        return [one for one in await asking.client_list() if one["name"] != "observer"]


async def only(url: str, count: int) -> list[dict[str, Any]]:
    """Wait until the server has no more than so many connections: it may not have seen yet that one was closed."""
    while len(found := await connected(url)) > count:
        """Ask again."""
    return found


async def sends(backplane: RedisClient) -> bool:
    try:
        await backplane.publish("c", "lost")
    except Unavailable:
        return False
    return True


async def restart(servers: Servers) -> None:
    servers.kill("redis")
    await asyncio.to_thread(servers.up, "redis")


@pytest.mark.usefixtures("patient")
async def test_one_connection_brings_all_messages_whatever_the_number_of_subscribers(url: str) -> None:
    async with client(url) as backplane, client(url, "gateway-8") as other, AsyncExitStack() as stack:
        subscriptions = [
            (user, await stack.enter_async_context(heard(backplane, f"ws:{user}"))) for user in list(range(200)) * 3
        ]
        (listening,) = [one for one in await connected(url) if int(one["sub"])]
        assert (listening["name"], listening["sub"], listening["resp"]) == ("gateway-7", "200", "2")
        async with heard(other, "ws:7"):
            assert [await backplane.publish(f"ws:{user}", str(user)) for user in range(8)] == [1] * 7 + [2]
        assert [await messages.get() for user, messages in subscriptions if user < 8] == [str(n) for n in range(8)] * 3


@pytest.mark.usefixtures("patient")
async def test_restarts_and_comings_and_goings_leave_nothing_behind(url: str, servers: Servers) -> None:
    tasks = asyncio.all_tasks()
    async with client(url) as backplane, heard(backplane, "staying") as staying:
        await backplane.restored()
        for number in range(20):
            passing = [asyncio.create_task(come_and_go(backplane, range(25))) for _ in range(2)]
            await restart(servers)
            await asyncio.gather(*passing)
            await backplane.restored()
            assert await backplane.publish("staying", str(number)) == 1
            assert await staying.get() == str(number)
        (listening,) = [one for one in await only(url, 2) if int(one["sub"])]
        assert (listening["name"], listening["sub"]) == ("gateway-7", "1")
        assert len(asyncio.all_tasks() - tasks) == 1
    assert asyncio.all_tasks() == tasks
    assert await only(url, 0) == []


async def come_and_go(backplane: RedisClient, numbers: Sequence[int]) -> None:
    for number in numbers:
        async with heard(backplane, f"passing {number % 3}"), heard(backplane, "staying"):
            await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (b"-ERR as it may be\r\n", "ResponseError as it may be"),
        (b"!nonsense\r\n", 'InvalidResponse Protocol error, got "!" as reply type byte'),
    ],
)
@pytest.mark.usefixtures("patient")
async def test_what_came_before_an_error_is_heard_together_and_one_begins_anew(
    url: str, error: bytes, cause: str
) -> None:
    told: list[tuple[str, Sequence[str]]] = []

    def hear(channel: str, messages: Sequence[str]) -> None:
        told.append((channel, messages))

    async with client(url) as backplane, backplane.subscribe("c", hear), heard(backplane, "d") as messages:
        await backplane.restored()
        listening: Any = backplane._connection
        said = [b"*3\r\n$7\r\nmessage\r\n$1\r\n%b\r\n$1\r\n%d\r\n" % (b"cdc"[at : at + 1], at) for at in range(3)]
        listening._reader.feed_data(b"".join(said) + error)
        with capture_logs() as logs:
            while not (causes := [one["cause"] for one in logs if one["event"] == "backplane.lost"]):
                await backplane.restored()  # it may be so of an earlier connection, on a machine that is very busy
        assert causes == [cause]
        await backplane.publish("d", "3")
        assert [await messages.get() for _ in range(2)] == ["1", "3"]
    assert told == [("c", ["0", "2"])]


async def test_while_the_server_is_away_one_joins_and_hears_when_it_is_back(url: str, servers: Servers) -> None:
    async with client(url) as backplane:
        await backplane.restored()
        servers.kill("redis")
        while await sends(backplane):
            """It is about to die."""
        async with heard(backplane, "c") as messages:
            await asyncio.to_thread(servers.up, "redis")
            await backplane.restored()
            assert await backplane.publish("c", "heard") == 1
            assert await messages.get() == "heard"


async def test_it_starts_before_its_server_does(url: str, servers: Servers) -> None:
    servers.kill("redis")
    async with client(url) as backplane, heard(backplane, "c") as messages:
        await asyncio.to_thread(servers.up, "redis")
        await backplane.restored()
        assert await backplane.publish("c", "heard") == 1
        assert await messages.get() == "heard"


async def test_a_server_that_hangs_holds_up_nobody_for_long(url: str, servers: Servers) -> None:
    async with client(url) as backplane:
        await backplane.restored()
        os.kill(servers.pid("redis"), signal.SIGSTOP)
        try:
            async with heard(backplane, "c") as messages:
                with pytest.raises(Unavailable):
                    await backplane.publish("c", "lost")
                os.kill(servers.pid("redis"), signal.SIGCONT)
                await backplane.restored()
                assert await backplane.publish("c", "heard") == 1
                while await messages.get() != "heard":
                    """What was sent to the one that hung may come late."""
        finally:
            os.kill(servers.pid("redis"), signal.SIGCONT)


@pytest.mark.usefixtures("patient")
async def test_a_subscriber_that_leaves_before_its_subscription_is_in_force_leaves_nothing(url: str) -> None:
    async with client(url) as backplane:
        await backplane.restored()
        for number in range(200):
            joining = asyncio.create_task(come_and_go(backplane, range(9)))
            for _ in range(number % 7):
                await asyncio.sleep(0)
            joining.cancel()
            await asyncio.gather(joining, return_exceptions=True)
            async with heard(backplane, "staying") as messages:
                assert await backplane.publish("staying", str(number)) == 1
                assert await messages.get() == str(number)
        async with heard(backplane, "c"):
            (listening,) = [one for one in await connected(url) if int(one["sub"])]
            assert listening["sub"] == "1"


@pytest.mark.usefixtures("patient")
async def test_processes_count_together_and_each_alone_while_the_server_is_away(url: str, servers: Servers) -> None:
    async with client(url) as backplane, client(url) as other:
        here, there, key = Rates(backplane.counters), Rates(other.counters), str(new_id())
        for counting in (here, there, here, there, here):
            await counting.spend(rates.ACCOUNT, key)
        with pytest.raises(TooMany) as refused:
            await there.require(rates.ACCOUNT, key)
        assert 0 < (refused.value.retry_after_s or 0) <= 15 * 60
        servers.kill("redis")
        for _ in range(5):
            await here.spend(rates.ACCOUNT, key)
        with pytest.raises(TooMany):
            await here.spend(rates.ACCOUNT, key)
        await there.require(rates.ACCOUNT, key)
        await asyncio.to_thread(servers.up, "redis")


@pytest.mark.usefixtures("patient")
async def test_a_password_can_be_tried_at_two_gateways_no_oftener_than_at_one(url: str, tmp_path: Path) -> None:
    wrong = {"email": f"{new_id()}@school.se", "password": "a wrong password"}
    places = [inhabited(tmp_path / name, without=ROSTER, backplane_url=url) for name in ("one", "other")]
    async with places[0] as one, places[1] as other:
        tried = [(await house.browser().post("/v1/session", json=wrong)).status_code for house in (one, other) * 5]
    assert set(tried) == {401, 429}, "each by itself would let all of them through"
