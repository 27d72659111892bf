from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert
from structlog.testing import capture_logs

from huleedu.contracts.batch import BatchErasureReportedV1
from huleedu.contracts.envelope import Event, EventEnvelope
from huleedu.contracts.messages import TOPICS
from huleedu.contracts.notice import RecordParkedV1
from huleedu.platform.app import connect, running
from huleedu.platform.clock import Clock
from huleedu.platform.errors import Unavailable
from huleedu.platform.log import parking, store
from tests.service.world import CHANGED, EFFECT, GROUP, REJECTED, Killed, Lane, World, event, events, world_at

X: Lane = (CHANGED, "x")
Y: Lane = (REJECTED, "y")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with world_at(tmp_path) as world:
        yield world


async def parked(world: World, *lanes: Lane) -> None:
    """Have the first of four records of each lane parked, and healed."""
    world.broken = {(lane, 0) for lane in lanes}
    for lane in lanes:
        await world.say(*events(lane, range(4)))
    await world.drain()
    world.broken.clear()


async def test_that_a_key_is_parked_is_told_when_it_is(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_given: object) -> None:
        raise Unavailable("Nobody keeps it.")

    world.broken = {(X, 0)}
    await world.say(event(X, 0))
    with capture_logs() as told:
        with monkeypatch.context() as meanwhile:
            meanwhile.setattr(parking, "give_up", away)
            with pytest.raises(Unavailable):
                await world.drain()
        assert "log.parked" not in [line["event"] for line in told]
        await world.drain()
    assert [line["event"] for line in told].count("log.parked") == len(await world.letters(X)) == 1


async def test_what_joins_a_key_while_it_is_redriven_comes_out_with_it(world: World) -> None:
    await parked(world, X)
    service, more = world.service, [5, 4]

    async def meanwhile(_envelopes: Sequence[EventEnvelope[Any]]) -> Mapping[str, object]:
        world.service = service
        if more:
            await world.say(event(X, more.pop()))
            await world.drain()
        return {}

    world.service = replace(service, gather=meanwhile)
    await world.redrive()
    assert await world.effects(X) == [0, 1, 2, 3, 4, 5]
    assert (await world.told())[-1] == 0


async def test_a_redrive_of_one_key_leaves_the_others_where_they_are(world: World) -> None:
    await parked(world, X, Y)
    await world.redrive("x")
    assert await world.effects(X) == [0, 1, 2, 3]
    assert await world.effects(Y) == []
    assert await world.letters(Y) == [(0, 3), (1, 0), (2, 0), (3, 0)]


@pytest.mark.parametrize("write", range(1, 6))
@pytest.mark.parametrize("when", ["dies_before", "dies_after"])
async def test_death_while_redriving_loses_and_doubles_nothing(world: World, when: str, write: int) -> None:
    await parked(world, X, Y)
    setattr(world.db, when, write)
    with suppress(Killed):
        await world.redrive()
    world.db.dies_before = world.db.dies_after = 0
    await world.drain()
    await world.redrive()
    assert await world.effects(X) == await world.effects(Y) == [0, 1, 2, 3]
    assert await world.letters(X) == await world.letters(Y) == []


async def test_a_passing_fault_while_redriving_is_waited_out(world: World) -> None:
    await parked(world, X)
    world.hiccups = Counter({(X, 0): 3, (X, 2): 3})
    await world.redrive()
    assert await world.effects(X) == [0, 1, 2, 3]


async def test_bytes_that_mean_nothing_are_kept_and_their_key_waits(world: World) -> None:
    secret = '{"data": {"batch_id": "x", "reason": "an essay\'s words"}}'
    row = {"topic": TOPICS[CHANGED], "key": "x", "envelope": secret, "at": world.platform.clock.now()}
    await world.db.write(lambda tx: tx.execute(insert(store.outbox).values(row)))
    await world.say(event(X, 1), event((CHANGED, "y"), 1))
    await world.drain()
    assert await world.effects((CHANGED, "y")) == [1]
    for attempts in (3, 4):
        unreadable, behind = await world.db.read(lambda tx: parking.letters(tx, GROUP))
        assert (unreadable.value.decode(), unreadable.attempts) == (secret, attempts)
        assert unreadable.cause.startswith("does not decode: event_id")
        assert "words" not in unreadable.cause
        assert behind.cause == parking.BEHIND
        await world.redrive()
    assert await world.effects(X) == []


async def test_it_is_told_with_owner_and_cause_but_never_about_the_telling_itself(world: World) -> None:
    def refuse(_tx: object, message: RecordParkedV1) -> list[Any]:
        raise ValueError(message.batch_id)

    world.service = replace(world.service, on={**world.service.on, RecordParkedV1: refuse})
    await parked(world, X)
    await world.drain()
    told = await world.said(RecordParkedV1)
    assert [(one.group, one.topic, one.batch_id, one.parked) for one in told] == [
        (GROUP, TOPICS[CHANGED], "x", count) for count in (1, 2, 3, 4)
    ]
    assert told[0].cause.startswith("ValueError at platform/log/runner.py:")
    rows = await world.db.read(lambda tx: parking.letters(tx, GROUP))
    assert [row.topic for row in rows].count(TOPICS[RecordParkedV1]) == 4


async def test_who_would_say_something_too_large_is_parked_and_says_why(world: World) -> None:
    def heed(_tx: object, message: Event) -> list[Any]:
        large = store.LARGEST_BYTES if message.batch_id == "x" else 0
        return [BatchErasureReportedV1(batch_id=message.batch_id, service="x" * large)]

    world.service = replace(world.service, on={**world.service.on, CHANGED: heed})
    await world.say(event(X, 0), event((CHANGED, "y"), 0))
    await world.drain()
    assert [said.batch_id for said in await world.said(BatchErasureReportedV1)] == ["y"]
    (letter,) = await world.db.read(lambda tx: parking.letters(tx, GROUP))
    assert (letter.key, letter.cause[:40]) == ("x", "TOO_LARGE: BatchErasureReportedV1 has 4,")


async def test_one_without_an_owner_is_for_the_operator_only(world: World) -> None:
    world.broken = {(X, 0)}
    await world.db.write(lambda tx: store.append(tx, [event(X, 0)]))
    await world.drain()
    assert await world.letters(X) == [(0, 3)]
    assert await world.told() == []


async def test_an_operator_sees_what_is_parked_and_has_it_handled_while_the_service_runs(tmp_path: Path) -> None:
    async with world_at(tmp_path, Clock()) as world:  # while the runner stalls, trims would use up a restless one
        connect(world.live, [world.service])
        peer = world.live.peer("world")
        world.broken = {(X, 1)}
        channels = [EFFECT, store.topic_channel(TOPICS[RecordParkedV1])]
        async with running(world.live, [world.service]):
            with world.db.watch(channels) as watch:
                await world.say(*events(X, range(4)), *events(Y, range(4)))
                while len(await world.letters(X)) < 3 or len(await world.effects(Y)) < 4:
                    await watch.take()
                items = (await peer.ask("GET", "/internal/v1/dead-letters"))["items"]
                assert [(item["key"], item["attempts"]) for item in items] == [("x", 3), ("x", 0), ("x", 0)]
                world.broken.clear()
                assert await peer.ask("POST", "/internal/v1/dead-letters", params={"key": "y"}) == {"requested": 0}
                assert await peer.ask("POST", "/internal/v1/dead-letters", params={"key": "x"}) == {"requested": 3}
                while await world.letters(X):
                    await watch.take()
        await peer.aclose()
        assert await world.effects(X) == await world.effects(Y) == [0, 1, 2, 3]
