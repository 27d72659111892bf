"""What every adapter of the log does: the same tests for the outbox itself and for a real broker.

Order is per (topic, key) and nothing more is asserted, so an adapter may mix topics and partitions as it likes.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence

import pytest
from sqlalchemy import update

from huleedu.contracts.batch import BatchErasureReportedV1, BatchPipelineCompletedV1, BatchStateChangedV1
from huleedu.contracts.envelope import Event
from huleedu.contracts.messages import TOPICS, decode
from huleedu.platform.context import bound, new_id
from huleedu.platform.db import Db, Tx
from huleedu.platform.errors import TooLarge
from huleedu.platform.log import Backlog, Consumer, Log, Record, store
from huleedu.platform.log.embedded import EmbeddedLog
from tests.engine.kafka import kafka_log
from tests.servers import ENGINE
from tests.service.world import CHANGED, COMPLETED, REJECTED, Lane, event, events, number

HEARD = [TOPICS[BatchStateChangedV1], TOPICS[BatchPipelineCompletedV1]]
LANES: tuple[Lane, ...] = tuple((kind, key) for kind in (CHANGED, COMPLETED) for key in ("x", "y", "z"))


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=ENGINE)])
async def log(request: pytest.FixtureRequest, db: Db) -> AsyncIterator[Log]:
    if request.param == "embedded":
        yield EmbeddedLog(db)
        return
    async with kafka_log(db, request.getfixturevalue("servers").env("kafka")["HULEEDU_LOG_URL"]) as log:
        yield log


async def say(db: Db, *messages: Event) -> None:
    await db.write(lambda tx: store.append(tx, messages))


async def commit(db: Db, group: str, records: Sequence[Record]) -> None:
    await db.write(lambda tx: store.advance(tx, group, records))


async def read(consumer: Consumer, count: int) -> list[Record]:
    """Fetch until so many records have come."""
    records: list[Record] = []
    while len(records) < count:
        fetched = await consumer.fetch()
        assert 0 < len(fetched) <= 2_000
        records += fetched
    assert len(records) == count
    return records


def lanes(records: Sequence[Record]) -> dict[tuple[str, str], list[int]]:
    """Return the numbers of each lane in the order in which they came."""
    found = defaultdict(list)
    for record in records:
        found[record.topic, record.key].append(number(decode(record.topic, record.value).data))
    return dict(found)


def expected(numbers: range) -> dict[tuple[str, str], list[int]]:
    return {(TOPICS[kind], key): list(numbers) for kind, key in LANES}


async def test_a_new_group_reads_from_the_beginning_and_each_lane_in_order(log: Log, db: Db) -> None:
    for start in range(0, 700, 100):
        for lane in LANES:
            await say(db, *events(lane, range(start, start + 100)))
    await say(db, BatchErasureReportedV1(batch_id="x", service="not heard"))
    async with log.consume("g", HEARD) as consumer:
        records = await read(consumer, 4_200)
    assert lanes(records) == expected(range(700))
    places = defaultdict(list)
    for record in records:
        places[record.topic, record.partition].append(record.offset)
    assert all(offsets == sorted(set(offsets)) for offsets in places.values())


async def test_what_is_committed_is_not_read_again_and_what_is_not_is(log: Log, db: Db) -> None:
    for numbered in range(10):
        await say(db, *(event(lane, numbered) for lane in LANES))
    async with log.consume("g", HEARD) as consumer:
        done = (await read(consumer, 60))[:25]
        await commit(db, "g", done)
    async with log.consume("g", HEARD) as consumer:
        rest = await read(consumer, 35)
    assert lanes([*done, *rest]) == expected(range(10))
    async with log.consume("another", HEARD) as consumer:
        assert lanes(await read(consumer, 60)) == expected(range(10))


async def test_an_older_assignment_commits_nothing(log: Log, db: Db) -> None:
    await say(db, *events(LANES[0], range(3)))
    async with log.consume("g", HEARD) as older:
        old = await read(older, 3)
    async with log.consume("other", HEARD), log.consume("g", HEARD) as newer:
        new = await read(newer, 3)
        with pytest.raises(store.Fenced):
            await commit(db, "g", old)
        await commit(db, "g", new[:1])
    async with log.consume("g", HEARD) as newest:
        assert lanes(await read(newest, 2)) == {(HEARD[0], "x"): [1, 2]}


async def test_who_rewinds_goes_on_from_its_positions_under_new_fences(log: Log, db: Db) -> None:
    await say(db, *events(LANES[0], range(10)))
    async with log.consume("g", HEARD) as consumer:
        old = await read(consumer, 10)
        await commit(db, "g", old[:4])
        await consumer.rewind()
        new = await read(consumer, 6)
        assert lanes(new) == {(HEARD[0], "x"): list(range(4, 10))}
        with pytest.raises(store.Fenced):
            await commit(db, "g", old)
        await commit(db, "g", new)
        await say(db, event(LANES[0], 10))
        assert lanes(await read(consumer, 1)) == {(HEARD[0], "x"): [10]}


async def test_a_position_of_another_log_is_where_nothing_begins(log: Log, db: Db) -> None:
    await say(db, *events(LANES[0], range(10)))
    async with log.consume("g", HEARD) as consumer:
        await commit(db, "g", (await read(consumer, 10))[:4])
    await db.write(lambda tx: tx.execute(update(store.position).values(log="another")))
    async with log.consume("g", HEARD) as consumer:
        await commit(db, "g", (await read(consumer, 10))[:7])
        await consumer.rewind()
        assert lanes(await read(consumer, 3)) == {(HEARD[0], "x"): [7, 8, 9]}


async def test_a_commit_wakes_the_waiting_and_a_rollback_does_not(log: Log, db: Db) -> None:
    async with log.consume("g", HEARD[:1]) as consumer, log.consume("h", HEARD) as other:
        waiting = asyncio.gather(consumer.fetch(), other.fetch())
        with pytest.raises(KeyError):
            await db.write(undone)
        await say(db, event((COMPLETED, "y"), 1))
        await say(db, event((CHANGED, "x"), 2))
        first, second = await waiting
        second += await read(other, 2 - len(second))
    assert lanes(first) == {(HEARD[0], "x"): [2]}
    assert lanes(second) == {(HEARD[0], "x"): [2], (HEARD[1], "y"): [1]}


def undone(tx: Tx) -> None:
    store.append(tx, events(LANES[0], range(9)))
    raise KeyError


async def test_a_consumer_goes_on_where_it_was_while_more_is_said(log: Log, db: Db) -> None:
    async with log.consume("g", HEARD) as consumer:
        records: list[Record] = []
        for numbered in range(200):
            await say(db, *(event(lane, numbered) for lane in LANES))
            if numbered % 7 == 0:
                records += await consumer.fetch()
        records += await read(consumer, 1_200 - len(records))
    assert lanes(records) == expected(range(200))


async def test_an_event_travels_with_its_cause_and_keeps_its_id(log: Log, db: Db) -> None:
    minted, correlation = new_id(), new_id()
    with bound(service="gateway", user_id="ann", correlation_id=correlation, traceparent=f"00-{1:032x}-{2:016x}-01"):
        await db.write(lambda tx: store.append(tx, [event(LANES[0], 7)], event_id=minted))
    for group in ("g", "h"):
        async with log.consume(group, HEARD) as consumer:
            (record,) = await consumer.fetch()
        envelope = decode(record.topic, record.value)
        assert (envelope.event_id, envelope.correlation_id, envelope.user_id) == (minted, correlation, "ann")
        assert (envelope.source_service, envelope.subject, record.key, envelope.version) == ("gateway", "x", "x", 7)
        assert envelope.traceparent == f"00-{1:032x}-{2:016x}-01"


async def test_the_largest_event_that_can_be_said_arrives_and_a_larger_one_is_not_said(log: Log, db: Db) -> None:
    def said(size: int) -> Event:
        return REJECTED(batch_id="x", run_id="", code="", detail="å" * (size // 2) + "x" * (size % 2))

    (row,) = await db.write(lambda tx: store.compose(tx, [said(0)]))
    room = store.LARGEST_BYTES - len(row["envelope"])
    with pytest.raises(TooLarge, match=r"BatchPipelineRejectedV1 has 4,000,001 bytes; .* 4,000,000 at most"):
        await say(db, said(room + 1))
    await say(db, said(room))
    async with log.consume("g", [row["topic"]]) as consumer:
        (record,) = await consumer.fetch()
    assert len(record.value) == store.LARGEST_BYTES


async def test_bytes_that_mean_nothing_are_handed_on_as_they_are(log: Log, db: Db) -> None:
    row = {"topic": HEARD[0], "key": "x", "envelope": '{"no": "envelope"', "at": db._clock.now()}
    await db.write(lambda tx: store.post(tx, [row]))
    async with log.consume("g", HEARD) as consumer:
        (record,) = await consumer.fetch()
    assert (record.key, record.value) == ("x", b'{"no": "envelope"')


async def test_what_a_group_has_not_handled_is_told_whoever_asks(
    log: Log, db: Db, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huleedu.platform.log.kafka_lag.ANSWER_SECONDS", 30.0)
    await say(db, *events(LANES[0], range(3)))
    async with log.consume("g", HEARD) as consumer:
        records = await read(consumer, 3)
        for handled in records:
            lag = await log.lag("g", HEARD)
            assert [lag[topic].size for topic in HEARD] == [3 - records.index(handled), 0]
            assert [lag[topic].since is None for topic in HEARD] == [False, True]
            await commit(db, "g", [handled])
    assert await log.lag("g", HEARD) == dict.fromkeys(HEARD, Backlog())
    assert (await log.lag("new", HEARD[:1]))[HEARD[0]].size == 3
    while await log.unsent() != Backlog():
        pass
