"""What every backplane does: the same tests in one process and on a real Redis."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence

import pytest
from limits import RateLimitItemPerMinute
from limits.aio.strategies import FixedWindowRateLimiter

from huleedu.platform.backplane import Backplane
from huleedu.platform.backplane.memory import MemoryBackplane
from huleedu.platform.backplane.redis import RedisClient
from huleedu.platform.context import new_id
from tests.given import heard, patient_with_redis
from tests.servers import ENGINE


@pytest.fixture(params=["in process", pytest.param("redis", marks=ENGINE)])
def stopped(request: pytest.FixtureRequest) -> Iterator[Backplane]:
    if request.param == "in process":
        yield MemoryBackplane("gateway-7")
        return
    with patient_with_redis():
        yield RedisClient("gateway-7", request.getfixturevalue("servers").env("redis")["HULEEDU_BACKPLANE_URL"])


@pytest.fixture
async def backplane(stopped: Backplane) -> AsyncIterator[Backplane]:
    await stopped.start()
    yield stopped
    await stopped.aclose()


async def take(messages: asyncio.Queue[str], count: int) -> list[str]:
    return [await messages.get() for _ in range(count)]


async def over(backplane: Backplane, channel: str) -> None:
    """Wait until nobody hears what is said there."""
    while await backplane.publish(channel, ""):
        """A server may not have heard yet that the last has left."""


async def test_a_subscription_is_in_force_before_its_block_is_entered_and_over_after_it(backplane: Backplane) -> None:
    assert await backplane.publish("ws:ann", "nobody hears") == 0
    async with heard(backplane, "ws:ann") as messages, heard(backplane, "ws:ann") as others:
        assert await backplane.publish("ws:ann", "ö 👩‍🏫") == 1, "one process"
        assert await backplane.publish("ws:bob", "for another") == 0
        assert await backplane.publish("ws:ann", "second") == 1
        assert await take(messages, 2) == await take(others, 2) == ["ö 👩‍🏫", "second"]
    await over(backplane, "ws:ann")


async def test_who_subscribes_again_hears_once_and_until_the_last_block_ends(backplane: Backplane) -> None:
    messages: asyncio.Queue[tuple[str, list[str]]] = asyncio.Queue()

    def hear(channel: str, together: Sequence[str]) -> None:
        messages.put_nowait((channel, list(together)))

    async with backplane.subscribe("ws:ann", hear):
        async with backplane.subscribe("ws:ann", hear), backplane.subscribe("ws:bob", hear):
            await backplane.publish_user_notifications([("ann", "1"), ("bob", "2"), ("ann", "1")])
            assert [await messages.get() for _ in range(2)] == [("ws:ann", ["1", "1"]), ("ws:bob", ["2"])]
        await over(backplane, "ws:bob")
        assert await backplane.publish("ws:ann", "3") == 1
        assert await messages.get() == ("ws:ann", ["3"])
    await over(backplane, "ws:ann")
    assert messages.empty()


async def test_a_notification_reaches_its_users_channel_as_json(backplane: Backplane) -> None:
    channel = backplane.get_user_channel("user_456")
    assert channel == "ws:user_456"
    async with heard(backplane, channel) as messages:
        assert await backplane.publish_user_notification("user_456", {"event": "batch_updated", "batch_id": "1"}) == 1
        assert await backplane.publish_user_notification("user_45", {"event": "batch_updated"}) == 0
        assert json.loads(await messages.get()) == {"event": "batch_updated", "batch_id": "1"}


async def test_many_notifications_come_each_to_its_user_and_in_their_order(backplane: Backplane) -> None:
    async with heard(backplane, "ws:ann") as anns, heard(backplane, "ws:bob") as bobs:
        many = [(user_id, json.dumps({"number": number})) for number in range(250) for user_id in ("ann", "bob")]
        await backplane.publish_user_notifications(many)
        for messages in (anns, bobs):
            assert [json.loads(message)["number"] for message in await take(messages, 250)] == list(range(250))


async def test_one_that_is_not_running_says_which(stopped: Backplane) -> None:
    for _ in range(2):
        told = stopped.publish_user_notification("u", {}), stopped.publish_user_notifications([("u", "")])
        for use in (stopped.publish("c", "m"), *told, enter(stopped)):
            with pytest.raises(RuntimeError, match="'gateway-7' is not running"):
                await use
        await stopped.start()
        await stopped.aclose()


async def enter(backplane: Backplane) -> None:
    async with heard(backplane, "c"):
        pass


async def test_a_thousand_subscriptions_leave_nothing_behind(backplane: Backplane) -> None:
    await enter(backplane)
    tasks = len(asyncio.all_tasks())
    async with heard(backplane, "c") as messages:
        for number in range(1_000):
            async with heard(backplane, "c") as passing:
                if number % 2:
                    await backplane.publish("c", str(number))
                    assert await passing.get() == str(number)
            if number % 100 == 0:
                with pytest.raises(KeyError):
                    await fail_inside(backplane)
        assert await backplane.publish("c", "end") == 1
        assert (await take(messages, 501))[-2:] == ["999", "end"]
    await over(backplane, "c")
    assert len(asyncio.all_tasks()) == tasks


async def fail_inside(backplane: Backplane) -> None:
    async with heard(backplane, "c"):
        raise KeyError


async def test_a_listener_that_is_cancelled_lets_go(backplane: Backplane) -> None:
    entered = asyncio.Event()

    async def listen() -> None:
        async with heard(backplane, "c") as messages:
            entered.set()
            await messages.get()

    listening = asyncio.create_task(listen())
    await entered.wait()
    assert await backplane.publish("other", "") == 0
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    await over(backplane, "c")


async def test_one_who_has_read_nothing_yet_holds_up_neither_the_others_nor_the_publisher(backplane: Backplane) -> None:
    async with heard(backplane, "c") as later, heard(backplane, "c") as messages:
        for number in range(0, 12_000, 500):
            following = [str(place) for place in range(number, number + 500)]
            assert [await backplane.publish("c", message) for message in following] == [1] * 500
            assert await take(messages, 500) == following
        assert await take(later, 12_000) == [str(place) for place in range(12_000)]


async def test_what_is_counted_is_counted_up_to_a_limit(backplane: Backplane) -> None:
    key, limiter = str(new_id()), FixedWindowRateLimiter(backplane.counters)
    assert [await limiter.hit(RateLimitItemPerMinute(3), key) for _ in range(5)] == [True] * 3 + [False] * 2
    assert await limiter.hit(RateLimitItemPerMinute(3), f"{key}, another's")
    assert not await limiter.test(RateLimitItemPerMinute(3), key)
