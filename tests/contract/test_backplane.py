"""What every backplane does. Those of a real server join the parameters of `backplanes`."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable

import pytest

from huleedu.platform.backplane import Backplane
from huleedu.platform.backplane.memory import MemoryBackplane

ADAPTERS: dict[str, Callable[[str], Backplane]] = {"in process": MemoryBackplane}


@pytest.fixture(params=ADAPTERS)
def stopped(request: pytest.FixtureRequest) -> Backplane:
    return ADAPTERS[request.param]("gateway-7")


@pytest.fixture
async def backplane(stopped: Backplane) -> AsyncIterator[Backplane]:
    await stopped.start()
    yield stopped
    await stopped.aclose()


async def take(messages: AsyncIterator[str], count: int) -> list[str]:
    return [await anext(messages) for _ in range(count)]


async def test_a_subscription_is_in_force_before_its_block_is_entered_and_over_after_it(backplane: Backplane) -> None:
    assert await backplane.publish("ws:ann", "nobody hears") == 0
    async with backplane.subscribe("ws:ann") as messages, backplane.subscribe("ws:ann") as others:
        assert await backplane.publish("ws:ann", "ö 👩‍🏫") == 2
        assert await backplane.publish("ws:bob", "for another") == 0
        assert await backplane.publish("ws:ann", "second") == 2
        assert await take(messages, 2) == await take(others, 2) == ["ö 👩‍🏫", "second"]
    assert await backplane.publish("ws:ann", "too late") == 0


async def test_a_notification_reaches_its_users_channel_as_json(backplane: Backplane) -> None:
    channel = backplane.get_user_channel("user_456")
    assert channel == "ws:user_456"
    async with backplane.subscribe(channel) as messages:
        assert await backplane.publish_user_notification("user_456", {"event": "batch_updated", "batch_id": "1"}) == 1
        assert await backplane.publish_user_notification("user_45", {"event": "batch_updated"}) == 0
        assert json.loads(await anext(messages)) == {"event": "batch_updated", "batch_id": "1"}


async def test_one_that_is_not_running_says_which(stopped: Backplane) -> None:
    for _ in range(2):
        for use in (stopped.publish("c", "m"), stopped.publish_user_notification("u", {}), enter(stopped)):
            with pytest.raises(RuntimeError, match="'gateway-7' is not running"):
                await use
        await stopped.start()
        await stopped.aclose()


async def enter(backplane: Backplane) -> None:
    async with backplane.subscribe("c"):
        pass


async def test_a_thousand_subscriptions_leave_nothing_behind(backplane: Backplane) -> None:
    await enter(backplane)
    tasks = len(asyncio.all_tasks())
    async with backplane.subscribe("c") as messages:
        for number in range(1_000):
            async with backplane.subscribe("c") as passing:
                if number % 2:
                    await backplane.publish("c", str(number))
                    assert await anext(passing) == str(number)
            if number % 100 == 0:
                with pytest.raises(KeyError):
                    await fail_inside(backplane)
        assert await backplane.publish("c", "end") == 1
        assert (await take(messages, 501))[-2:] == ["999", "end"]
    assert await backplane.publish("c", "") == 0
    assert len(asyncio.all_tasks()) == tasks


async def fail_inside(backplane: Backplane) -> None:
    async with backplane.subscribe("c"):
        raise KeyError


async def test_a_listener_that_is_cancelled_lets_go(backplane: Backplane) -> None:
    entered = asyncio.Event()

    async def listen() -> None:
        async with backplane.subscribe("c") as messages:
            entered.set()
            await anext(messages)

    listening = asyncio.create_task(listen())
    await entered.wait()
    assert await backplane.publish("other", "") == 0
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    assert await backplane.publish("c", "") == 0


async def test_a_subscriber_that_never_reads_holds_up_neither_the_others_nor_the_publisher(
    backplane: Backplane,
) -> None:
    async with backplane.subscribe("c"), backplane.subscribe("c") as messages:
        for number in range(0, 25_000, 500):
            for following in range(number, number + 500):
                assert await backplane.publish("c", str(following)) == 2
            assert await take(messages, 500) == [str(following) for following in range(number, number + 500)]
