"""What the event backbone promises, each promise a check that raises AssertionError where it is broken."""

from collections.abc import Awaitable, Callable
from contextlib import suppress

from huleedu.contracts.batch import BatchErasedV1, BatchErasureReportedV1
from huleedu.platform.log import store
from huleedu.platform.log.delivery import Delivery
from tests.service.world import CHANGED, COMPLETED, KINDS, LANES, REJECTED, Killed, Lane, World, X, Y, event, events

Z = "batch-z"
Law = Callable[[World], Awaitable[None]]


async def _happened(world: World, numbers: range, *but: Lane) -> None:
    """Every lane, but these, has had each effect once and in order, and has said what follows from it."""
    for lane in set(LANES) - set(but):
        assert await world.effects(lane) == list(numbers), lane
        assert await world.letters(lane) == [], lane


async def repeated_records_have_their_effects_once(world: World) -> None:
    for lane in LANES:
        await world.say(*events(lane, range(5)))
    await world.drain()
    await world.repeat_everything()
    await world.drain()
    await _happened(world, range(5))
    replies = await world.said(BatchErasureReportedV1)
    assert sorted((reply.batch_id, reply.service) for reply in replies) == [
        (key, str(numbered)) for key in (X, Y) for numbered in range(5) for _ in (CHANGED, REJECTED)
    ]


async def death_at_any_write_loses_and_doubles_nothing(world: World) -> None:
    for numbered in range(12):
        await world.say(*(event(lane, numbered) for lane in LANES))
        world.db.dies_before, world.db.dies_after = (numbered // 2, 0) if numbered % 2 else (0, numbered // 2)
        with suppress(Killed):
            await world.drain()
        world.db.dies_before = world.db.dies_after = 0
    await world.drain()
    await _happened(world, range(12))


async def a_lost_commit_is_as_if_nothing_had_happened(world: World) -> None:
    for lane in LANES:
        world.lost_commits[lane, 1] = 1
        await world.say(*events(lane, range(3)))
    await world.drain()
    await _happened(world, range(3))


async def a_poison_record_holds_up_its_own_key_and_topic_only(world: World) -> None:
    for lane in LANES[::2]:
        world.broken = {(lane, 1)}
        start = len(await world.effects(LANES[1]))
        for other in LANES:
            await world.say(*events(other, range(start, start + 4)))
        world.broken = {(lane, start + 1)}
        told = len(await world.told())
        await world.drain()
        assert (await world.effects(lane))[-1] == start
        assert await world.letters(lane) == [(start + 1, 3), (start + 2, 0), (start + 3, 0)]
        assert (await world.told())[told:] == [1, 2, 3]
        await _happened(world, range(start + 4), lane)
        world.broken.clear()
        await world.redrive()
        await _happened(world, range(start + 4))


async def parked_records_come_back_in_order_and_stop_at_the_next_poison(world: World) -> None:
    lane: Lane = (CHANGED, X)
    world.broken = {(lane, 1), (lane, 3)}
    await world.say(*events(lane, range(6)))
    await world.drain()
    world.broken = {(lane, 3)}
    await world.redrive(X)
    assert await world.effects(lane) == [0, 1, 2]
    assert await world.letters(lane) == [(3, 1), (4, 0), (5, 0)]
    world.broken.clear()
    await world.say(event(lane, 6))
    await world.drain()
    assert await world.effects(lane) == [0, 1, 2]
    await world.redrive()
    assert await world.effects(lane) == list(range(7))
    assert (await world.told())[-1] == 0


async def a_passing_fault_is_waited_out_however_long(world: World) -> None:
    for lane in LANES[::2]:
        await world.say(*events(lane, range(3)))
        world.hiccups[lane, 1] = 4
    await world.drain()
    await world.runner._back_off(10_000)  # many hours
    assert not await world.told()
    for lane in LANES[::2]:
        assert await world.effects(lane) == [0, 1, 2]


async def what_cannot_be_answered_parks_its_key_and_is_asked_again(world: World) -> None:
    world.unanswerable = {X}
    for lane in LANES:
        await world.say(*events(lane, range(3)))
    await world.drain()
    await _happened(world, range(3), *LANES[::2])
    assert await world.letters((REJECTED, X)) == [(0, 3), (1, 0), (2, 0)]
    world.unanswerable.clear()
    await world.redrive()
    await _happened(world, range(3))


async def an_older_assignment_changes_nothing(world: World) -> None:
    await world.say(*events((CHANGED, X), range(3)))
    old = await world.records(fenced=True)
    with suppress(store.Fenced):
        await world.runner._process([Delivery.of(record) for record in old])
    assert not await world.effects((CHANGED, X))
    await world.drain()
    assert await world.effects((CHANGED, X)) == [0, 1, 2]


async def what_is_pushed_has_happened(world: World) -> None:
    lane: Lane = (COMPLETED, X)
    world.lost_commits[lane, 2] = 1
    await world.say(*events(lane, range(4)))
    await world.drain()
    assert world.witness.seen == [(X, numbered, 1) for numbered in range(4)]
    world.broken = {(lane, 4)}
    await world.say(*events(lane, range(4, 7)))
    await world.drain()
    world.broken.clear()
    world.witness.away = True
    await world.redrive()
    assert await world.effects(lane) == [0, 1, 2, 3, 4, 5, 6]


async def nothing_is_heard_after_the_end(world: World) -> None:
    world.broken = {(lane, 0) for lane in LANES}
    for lane in LANES[::2]:
        await world.say(event(lane, 0))
    await world.drain()
    world.broken.clear()
    for key in (Z, "batch-last"):
        await world.say(*(event((kind, key), 1) for kind in KINDS), BatchErasedV1(batch_id=key))
        stretch = [Delivery.of(record) for record in await world.records()]
        await world.runner._process(sorted(stretch, key=lambda record: _is_end(record) != (key == Z)))
    await world.say(BatchErasedV1(batch_id=X))
    await world.drain()
    await world.say(*(event((kind, key), 2) for kind in KINDS for key in (X, Y, Z)))
    await world.drain()
    for kind in KINDS:
        for erased in (X, Z):
            assert not await world.letters((kind, erased))
            assert not await world.effects((kind, erased))
        assert await world.effects((kind, Y)) == [2]
    assert not await world.effects((COMPLETED, "batch-last"))  # a fold comes after all else


def _is_end(delivery: Delivery) -> bool:
    return delivery.envelope is not None and isinstance(delivery.envelope.data, BatchErasedV1)


LAWS: tuple[Law, ...] = (
    repeated_records_have_their_effects_once,
    death_at_any_write_loses_and_doubles_nothing,
    a_lost_commit_is_as_if_nothing_had_happened,
    a_poison_record_holds_up_its_own_key_and_topic_only,
    parked_records_come_back_in_order_and_stop_at_the_next_poison,
    a_passing_fault_is_waited_out_however_long,
    what_cannot_be_answered_parks_its_key_and_is_asked_again,
    an_older_assignment_changes_nothing,
    what_is_pushed_has_happened,
    nothing_is_heard_after_the_end,
)
