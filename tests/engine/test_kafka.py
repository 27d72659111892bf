"""What only a log on a real broker can get wrong."""

import asyncio
import socket
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer as RawConsumer
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from pydantic import SecretStr
from sqlalchemy import func, select, update
from structlog.testing import capture_logs
from typing_extensions import override

from huleedu.contracts.messages import KEPT, MESSAGES, TOPICS, decode
from huleedu.platform.clock import Clock
from huleedu.platform.context import bound
from huleedu.platform.db import Db
from huleedu.platform.errors import NotYet, Unavailable, Usage
from huleedu.platform.installation import prepare
from huleedu.platform.log import Backlog, Consumer, Record, kafka, kafka_lag, kafka_relay, kafka_topics, store
from huleedu.platform.log.kafka import BACKLOG, FETCH, KafkaConsumer, KafkaLog
from huleedu.platform.log.kafka_topics import LARGEST_BYTES, Cluster, create_topics
from huleedu.platform.log.runner import Runner
from huleedu.platform.settings import Settings
from huleedu.platform.tasks import Tasks
from tests.engine.kafka import altered, delete_topics, everything, messages, relaying, topics_at
from tests.given import opened
from tests.servers import ENGINE, Servers
from tests.service.world import (
    CHANGED,
    EFFECT,
    GROUP,
    KINDS,
    Killed,
    Lane,
    MortalDb,
    World,
    effect,
    event,
    events,
    number,
    tables,
)

pytestmark = [*ENGINE]
TOPIC = TOPICS[CHANGED]
LANES: tuple[Lane, ...] = tuple((CHANGED, f"batch-{number}") for number in range(24))
MIXED: tuple[Lane, ...] = tuple((kind, f"batch-{number}") for kind in KINDS for number in range(8))
PROTOCOLS = ("consumer", "classic")


@pytest.fixture
async def url(servers: Servers) -> AsyncIterator[str]:
    async with topics_at(servers.env("kafka")["HULEEDU_LOG_URL"]) as url:
        yield url


@pytest.fixture
async def world(tmp_path: Path, url: str) -> AsyncIterator[World]:
    async with world_on(tmp_path, url) as world:
        yield world


@asynccontextmanager
async def world_on(directory: Path, url: str) -> AsyncIterator[World]:
    async with opened(directory, Clock(), MortalDb) as platform:
        assert isinstance(platform.db, MortalDb)
        await platform.db.write(lambda tx: tables.create_all(tx._connection))
        yield World(replace(platform, log=KafkaLog(platform.db, url)), platform.db)


def log_of(world: World) -> KafkaLog:
    assert isinstance(world.live.log, KafkaLog)
    return world.live.log


@asynccontextmanager
async def member(world: World) -> AsyncIterator[None]:
    """Have one more of the service's consumers while the block runs."""
    tasks = Tasks(Clock())
    tasks.start("member", Runner(world.live, world.service).run)
    try:
        yield
    finally:
        await tasks.aclose()


async def say_round(world: World, numbered: int, lanes: tuple[Lane, ...] = LANES) -> None:
    await world.say(*(event(lane, numbered) for lane in lanes))


async def happened(world: World, rounds: int, lanes: tuple[Lane, ...] = LANES) -> None:
    """Wait until every lane has had these effects: each once, in order."""
    with world.db.watch([EFFECT]) as watch:
        while await world.db.read(lambda tx: tx.scalar(select(func.count()).select_from(effect))) < rounds * len(lanes):
            await watch.take()
    for lane in lanes:
        assert await world.effects(lane) == list(range(rounds)), lane


async def read(consumer: Consumer, count: int) -> list[Record]:
    records: list[Record] = []
    while len(records) < count:
        records += await consumer.fetch()
    assert len(records) == count
    return records


def places(records: Iterable[Record]) -> set[int]:
    return {record.partition for record in records}


async def moved(db: Db) -> set[int]:
    """Return the partitions that were assigned more than once."""
    heard = [TOPICS[kind] for kind in KINDS]  # a consumer may be given whole topics
    again = select(store.position.c.part).where(store.position.c.fence > 1, store.position.c.topic.in_(heard))
    return await db.read(lambda tx: set(tx.scalars(again)))


def raw(url: str) -> list[Any]:
    """Return what the broker has of the topic, as any client sees it."""
    cluster = Cluster.of(url)
    client = RawConsumer(cluster.config | {"group.id": "raw", "enable.partition.eof": False})
    topic = f"{cluster.prefix}{TOPIC}"
    partitions = [TopicPartition(topic, number, 0) for number in client.list_topics(topic, 10).topics[topic].partitions]
    ends = sum(client.get_watermark_offsets(partition, 10)[1] for partition in partitions)
    client.assign(partitions)
    messages: list[Any] = []
    while len(messages) < ends:
        messages += client.consume(1_000, 0.1)
    client.close()
    return messages


def committed(url: str, partitions: Iterable[int]) -> dict[int, int]:
    """Return how far the broker was told that the group is; below zero where it was told nothing."""
    cluster = Cluster.of(url)
    client = RawConsumer(cluster.config | {"group.id": f"{cluster.prefix}{GROUP}"})
    told = client.committed([TopicPartition(f"{cluster.prefix}{TOPIC}", partition) for partition in partitions], 10)
    client.close()
    return {it.partition: it.offset for it in told}


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_partition_moves_between_consumers_without_loss_or_doubled_effects(
    tmp_path: Path, url: str, protocol: str
) -> None:
    address = f"{url}group.protocol={protocol}"
    async with world_on(tmp_path, address) as world, relaying(log_of(world)), member(world):
        await say_round(world, 0, MIXED)
        await happened(world, 1, MIXED)
        said = 1
        async with member(world):
            while not await moved(world.db):
                await say_round(world, said, MIXED)
                said += 1
                await happened(world, said, MIXED)
            for numbered in range(said, said + 30):
                await say_round(world, numbered, MIXED)
        for numbered in range(said + 30, said + 60):
            await say_round(world, numbered, MIXED)
        await happened(world, said + 60, MIXED)


async def test_records_of_an_assignment_that_is_over_commit_nothing_and_are_handed_out_by_its_successor(
    world: World,
) -> None:
    log, db = log_of(world), world.db
    async with relaying(log), log.consume(GROUP, [TOPIC]) as first:
        for numbered in range(3):
            await say_round(world, numbered)
        old = await read(first, 3 * len(LANES))
        async with log.consume(GROUP, [TOPIC]) as second:
            new = await second.fetch()
            gone = await moved(db)
            lost = [record for record in old if record.partition in gone]
            assert 0 < len(lost) < len(old)
            with pytest.raises(store.Fenced):
                await db.write(lambda tx: store.advance(tx, GROUP, old))
            with pytest.raises(store.Fenced):
                await db.write(lambda tx: store.advance(tx, GROUP, lost))
            new += await read(second, len(lost) - len(new))
            assert places(new) == places(lost)
            await db.write(lambda tx: store.advance(tx, GROUP, new))
            await first.rewind()
            kept = await read(first, len(old) - len(new))
            assert places(kept) == places(old) - gone
            await db.write(lambda tx: store.advance(tx, GROUP, kept))


async def test_who_takes_a_partition_too_late_does_not_keep_its_owner_from_going_on(world: World) -> None:
    async with relaying(log_of(world)), member(world):
        await say_round(world, 0)
        await happened(world, 1)
        held = await world.db.read(lambda tx: tx.all(select(store.position)))
        await world.db.write(lambda tx: [store.take(tx, GROUP, row.topic, row.part, row.log) for row in held])
        for numbered in (1, 2):
            await say_round(world, numbered)
        await happened(world, 3)


async def test_a_consumer_that_is_read_from_waits_for_its_reader_and_does_not_pause(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka, "HANGS_SECONDS", 30.0)
    lane, count = LANES[0], 2 * BACKLOG
    log, read_so_far = log_of(world), 0
    async with relaying(log), log.consume(GROUP, [TOPIC]) as consumer:
        assert isinstance(consumer, KafkaConsumer)
        for start in range(0, count, 1_000):
            await world.say(*events(lane, range(start, start + 1_000)))
        while consumer._read <= BACKLOG:  # noqa: ASYNC110 -- the thread tells nobody
            await asyncio.sleep(0)
        while read_so_far < count:
            read_so_far += len(await consumer.fetch())
            assert not consumer._paused


async def test_a_consumer_that_is_not_read_from_pauses_and_goes_on_as_the_same_member(world: World) -> None:
    lane, count = LANES[0], 2 * BACKLOG
    log = log_of(world)
    async with relaying(log), log.consume(GROUP, [TOPIC]) as consumer:
        assert isinstance(consumer, KafkaConsumer)
        for start in range(0, count, 1_000):
            await world.say(*events(lane, range(start, start + 1_000)))
        while not consumer._paused:  # noqa: ASYNC110 -- the thread tells nobody
            await asyncio.sleep(0)
        assert BACKLOG < consumer._read - consumer._gone <= BACKLOG + FETCH + 1
        records = await read(consumer, count)
    assert [record.offset for record in records] == list(range(count))
    assert {record.fence for record in records} == {1}


async def test_a_consumer_that_is_assigned_more_while_it_pauses_goes_on_with_all_of_it(world: World) -> None:
    rounds = 2 * BACKLOG // len(LANES)
    log = log_of(world)
    async with relaying(log), log.consume(GROUP, [TOPIC]) as first:
        assert isinstance(first, KafkaConsumer)
        for numbered in range(rounds):
            await say_round(world, numbered)
        while not first._paused:  # noqa: ASYNC110 -- the thread tells nobody
            await asyncio.sleep(0)
        async with log.consume(GROUP, [TOPIC]) as second:
            gone = places(await second.fetch())
        missing = {(lane[1], numbered) for lane in LANES for numbered in range(rounds)}
        while missing:
            records = await first.fetch()
            missing -= {(record.key, number(decode(TOPIC, record.value).data)) for record in records}
        assert gone <= await moved(world.db)


async def test_a_killed_broker_comes_back_and_nothing_is_lost_or_doubled(world: World, servers: Servers) -> None:
    async with relaying(log_of(world)), member(world):
        for numbered in range(20):
            await say_round(world, numbered)
            if numbered == 5:
                await happened(world, 6)
            if numbered == 10:
                servers.kill("kafka")
        await asyncio.to_thread(servers.up, "kafka")
        await happened(world, 20)


async def test_a_relay_killed_before_it_marks_sends_twice_and_effects_happen_once(world: World, url: str) -> None:
    await say_round(world, 0)
    world.db.dies_before = 1
    with pytest.raises(Killed):
        await log_of(world).tend(Clock())
    async with relaying(log_of(world)), member(world):
        await say_round(world, 1)
        await happened(world, 2)
        assert len(await asyncio.to_thread(raw, url)) == 3 * len(LANES)
        while await log_of(world).unsent() != Backlog():
            """What the effects have said follows."""


@pytest.fixture
async def narrow(
    servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> AsyncIterator[tuple[World, str]]:
    """A world in whose first topic the broker takes no batch of records that is larger than asked for."""
    monkeypatch.setitem(kafka_topics.SETTINGS, "max.message.bytes", str(request.param))
    async with topics_at(servers.env("kafka")["HULEEDU_LOG_URL"], [TOPIC]) as url, world_on(tmp_path, url) as world:
        monkeypatch.undo()
        await asyncio.to_thread(create_topics, url)
        yield world, url


async def put(world: World, *sizes: tuple[str, int]) -> None:
    """Put records of these keys and sizes into the outbox."""
    at = world.platform.clock.now()
    rows = [{"topic": TOPIC, "key": key, "envelope": "x" * size, "at": at} for key, size in sizes]
    await world.db.write(lambda tx: store.post(tx, rows))


async def left(world: World) -> list[tuple[str, int]]:
    """Return what is in the outbox: key and size."""
    return [(row.key, len(row.envelope)) for row in await world.db.read(lambda tx: store.waiting(tx, FETCH))]


async def all_sent(world: World) -> None:
    """Have a relay, which tries again and again, until nothing is left."""
    async with relaying(log_of(world)):
        while await log_of(world).unsent() != Backlog():
            """It is not all there yet."""


async def brought(url: str) -> dict[str, list[int]]:
    """Return the sizes of what the broker has, by key and in its order."""
    found = defaultdict(list)
    for message in await asyncio.to_thread(messages, url):
        found[(message.key() or b"").decode()].append(len(message.value() or b""))
    return found


@pytest.mark.parametrize(("narrow", "large"), [(100_000, 200_000), (1_200_000, 2_000_000)], indirect=["narrow"])
async def test_nothing_passes_a_record_of_its_key_that_the_broker_refuses(
    narrow: tuple[World, str], large: int
) -> None:
    world, url = narrow
    await put(world, ("a", 1), ("b", 1), ("a", large), ("a", 2), ("b", 2), ("a", 3))
    with pytest.raises(Unavailable, match=r"of 1 keys, .*/a: Broker: Message size too large"):
        await log_of(world).tend(Clock())
    assert await brought(url) == {"a": [1], "b": [1, 2]}
    assert await left(world) == [("a", large), ("a", 2), ("a", 3)]
    await altered(url, TOPIC, "max.message.bytes", str(LARGEST_BYTES))
    await all_sent(world)
    assert await brought(url) == {"a": [1, large, 2, 3], "b": [1, 2]}


@pytest.mark.parametrize("most", [1_000, LARGEST_BYTES])
async def test_what_librdkafka_itself_refuses_waits_with_its_key_only(world: World, url: str, most: int) -> None:
    log_of(world)._cluster.config["message.max.bytes"] = most
    await put(world, ("a", 1), ("a", most + 1), ("b", 1), ("a", 2), ("b", 2))
    with pytest.raises(Unavailable, match=r"of 1 keys, .*/a: .*size too large"):
        await log_of(world).tend(Clock())
    assert await brought(url) == {"a": [1], "b": [1, 2]}
    assert await left(world) == [("a", most + 1), ("a", 2)]


@pytest.mark.parametrize("narrow", [1], indirect=True)
async def test_however_much_is_refused_other_keys_go_on(
    narrow: tuple[World, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_relay, "FETCH", 6)
    world, url = narrow
    for numbered in range(3):
        await say_round(world, numbered, MIXED)
    with pytest.raises(Unavailable, match="of 8 keys"):
        await log_of(world).tend(Clock())
    keys = [key for kind, key in MIXED if kind is CHANGED]
    assert [key for key, _ in await left(world)] == 3 * keys
    assert len(await asyncio.to_thread(everything, url)) == 3 * (len(MIXED) - len(keys))


@pytest.mark.parametrize("passes", [False, True])
async def test_a_topic_that_is_missing_and_cannot_be_made_keeps_back_no_other(
    servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, passes: bool
) -> None:
    monkeypatch.setattr(kafka_lag, "ANSWER_SECONDS", 30.0)
    if passes:  # as if a broker of several were away
        monkeypatch.setattr(kafka_topics, "STARTING", kafka_topics.STARTING | {KafkaError.INVALID_CONFIG})
    there = [TOPICS[kind] for kind in KINDS if TOPICS[kind] != TOPIC]
    async with topics_at(servers.env("kafka")["HULEEDU_LOG_URL"], there) as url, world_on(tmp_path, url) as world:
        await say_round(world, 0, MIXED)
        monkeypatch.setitem(kafka_topics.SETTINGS, "retention.ms", "for ever")
        with pytest.raises(Unavailable, match="of 8 keys"), capture_logs() as lines:
            await log_of(world).tend(Clock())
        assert "retention.ms" in next(line["cause"] for line in lines if line["event"] == "log.topics")
        assert [key for key, _ in await left(world)] == [key for kind, key in MIXED if kind is CHANGED]
        monkeypatch.undo()
        await all_sent(world)


def joined(url: str) -> bool:
    """Return whether the group has members."""
    cluster = Cluster.of(url)
    admin, name = AdminClient(cluster.config), f"{cluster.prefix}{GROUP}"
    with suppress(KafkaException):  # its coordinator is still starting
        return bool(admin.describe_consumer_groups([name])[name].result().members)
    return False


async def test_topics_are_made_where_the_log_is_tended_and_then_read_by_who_was_there_before(
    servers: Servers, tmp_path: Path
) -> None:
    async with topics_at(servers.env("kafka")["HULEEDU_LOG_URL"], ()) as url, world_on(tmp_path, url) as world:
        await say_round(world, 0)
        async with member(world):
            while not await asyncio.to_thread(joined, url):
                """It has not joined its group yet."""
            async with relaying(log_of(world)):
                await happened(world, 1)


async def test_who_reads_topics_that_are_missing_by_the_old_protocol_fails_and_tries_again(
    servers: Servers, tmp_path: Path
) -> None:
    server = f"{servers.env('kafka')['HULEEDU_LOG_URL']}?group.protocol=classic"
    async with topics_at(server, ()) as url, world_on(tmp_path, url) as world:
        await say_round(world, 0)
        async with log_of(world).consume(GROUP, [TOPIC]) as consumer:
            with pytest.raises(Unavailable, match=TOPIC):
                await consumer.fetch()
        async with member(world), relaying(log_of(world)):
            await happened(world, 1)


@pytest.mark.parametrize("narrow", [1], indirect=True)
async def test_of_a_key_that_was_refused_nothing_more_is_sent_until_one_is_taken(narrow: tuple[World, str]) -> None:
    world, url = narrow
    await put(world, ("a", 1), ("b", 1), ("a", 2), ("b", 2))
    with pytest.raises(Unavailable, match="of 2 keys"):
        await log_of(world).tend(Clock())
    await altered(url, TOPIC, "max.message.bytes", str(LARGEST_BYTES))
    world.db.dies_before = 1
    with suppress(Killed):
        while True:
            with suppress(Unavailable):  # what was altered is not everywhere at once
                await log_of(world).tend(Clock())
    assert await brought(url) == {"a": [1], "b": [1]}
    await all_sent(world)
    assert await brought(url) == {"a": [1, 1, 2], "b": [1, 1, 2]}


async def test_a_topic_that_was_missing_is_sent_one_record_of_each_key_until_one_is_taken(
    servers: Servers, tmp_path: Path
) -> None:
    there = [TOPICS[kind] for kind in KINDS if TOPICS[kind] != TOPIC]
    async with topics_at(servers.env("kafka")["HULEEDU_LOG_URL"], there) as url, world_on(tmp_path, url) as world:
        await put(world, ("a", 1))
        with pytest.raises(Unavailable, match="of 1 keys"):
            await log_of(world)._relay.run()
        await put(world, ("b", 1), ("b", 2))
        await asyncio.to_thread(create_topics, url)
        world.db.dies_before = 1
        with suppress(Killed):
            while True:
                with suppress(Unavailable):
                    await log_of(world).tend(Clock())
        assert await brought(url) == {"a": [1], "b": [1]}
        await all_sent(world)
        assert await brought(url) == {"a": [1, 1], "b": [1, 1, 2]}


@pytest.mark.parametrize("narrow", [100_000], indirect=True)
async def test_large_records_of_one_key_go_on_beside_another_that_is_refused(narrow: tuple[World, str]) -> None:
    world, url = narrow
    await put(world, ("a", 200_000), *(("b", 70_000 + number) for number in range(3)))
    with pytest.raises(Unavailable, match="of 1 keys"):
        await log_of(world).tend(Clock())
    assert await brought(url) == {"b": [70_000, 70_001, 70_002]}


async def test_what_does_not_fit_into_the_producer_at_once_comes_after(
    world: World, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(kafka_relay.PRODUCER, "queue.buffering.max.messages", 2)
    await put(world, ("a", 1), ("b", 1), ("a", 2), ("b", 2), ("a", 3))
    await all_sent(world)
    assert await brought(url) == {"a": [1, 2, 3], "b": [1, 2]}


async def test_what_nobody_has_brought_to_the_broker_is_told(world: World) -> None:
    await say_round(world, 0)
    said = world.platform.clock.now()
    waiting = await log_of(world).unsent()
    assert (waiting.size, waiting.since is not None and waiting.since < said) == (len(LANES), True)


async def test_a_client_that_knows_nothing_of_the_cluster_yet_learns_of_it_before_it_asks_how_far_a_group_is(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    class Noted(AdminClient):
        @override
        def list_topics(self, *words: Any, **named: Any) -> Any:
            found = super().list_topics(*words, **named)
            done.append("list_topics")
            return found

        @override
        def list_offsets(self, *words: Any, **named: Any) -> Any:
            done.append("list_offsets")
            return super().list_offsets(*words, **named)

    monkeypatch.setattr(kafka_lag, "ANSWER_SECONDS", 30.0)
    monkeypatch.setattr(kafka_lag, "AdminClient", Noted)
    assert await log_of(world).lag(GROUP, [TOPIC]) == {TOPIC: Backlog()}
    assert done[:2] == ["list_topics", "list_offsets"], "else one in seven first asks in vain, for a second"


async def test_since_when_a_group_is_behind_is_told_of_every_topic(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_lag, "ANSWER_SECONDS", 30.0)
    topics = [TOPICS[kind] for kind in KINDS]
    async with relaying(log_of(world)):
        await say_round(world, 0, MIXED)
        while await log_of(world).unsent() != Backlog():
            """The relay brings it there."""
    lag = await log_of(world).lag("new", topics)
    assert sum(lag[topic].size for topic in topics) == len(MIXED)
    assert all(lag[topic].since for topic in topics)


async def test_how_far_a_group_is_behind_is_told_as_soon_as_its_topics_have_leaders(
    world: World, servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_lag, "ANSWER_SECONDS", 30.0)
    for _ in range(3):
        async with topics_at(servers.env("kafka")["HULEEDU_LOG_URL"]) as new:
            assert set((await KafkaLog(world.db, new).lag(GROUP, list(TOPICS.values()))).values()) == {Backlog()}


async def test_of_topics_that_are_missing_it_is_said_that_nothing_is_told(world: World, url: str) -> None:
    await delete_topics(url)
    with pytest.raises(Unavailable, match="Kafka does not say where its partitions end"):
        await log_of(world).lag(GROUP, [TOPIC])


async def test_what_was_forgotten_before_a_group_began_is_not_what_it_is_behind(
    world: World, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_lag, "ANSWER_SECONDS", 30.0)
    for numbered in range(5):
        await say_round(world, numbered)
    await all_sent(world)
    cluster = Cluster.of(url)
    admin = AdminClient(cluster.config)
    last = {message.partition(): message.offset() for message in await asyncio.to_thread(raw, url)}
    left = [TopicPartition(f"{cluster.prefix}{TOPIC}", *place) for place in last.items()]
    for told in admin.delete_records(left).values():
        await asyncio.to_thread(told.result)
    lag = await log_of(world).lag("new", [TOPIC])
    assert lag[TOPIC].size == len(left)


async def test_any_client_can_tell_from_the_headers_what_a_record_is(world: World, url: str) -> None:
    trace = f"00-{1:032x}-{2:016x}-01"
    async with relaying(log_of(world)), log_of(world).consume("g", [TOPIC]) as consumer:
        with bound(service="orchestrator", traceparent=trace):
            await world.say(event(LANES[0], 7))
        await consumer.fetch()
    (message,) = await asyncio.to_thread(raw, url)
    headers = dict(message.headers())
    assert headers.pop("event_id")
    assert headers == {
        "event_type": TOPIC.encode(),
        "traceparent": trace.encode(),
        "source_service": b"orchestrator",
    }
    assert message.key() == LANES[0][1].encode()


async def test_a_position_that_the_log_has_not_stops_the_group_and_is_told(world: World) -> None:
    log = log_of(world)
    async with relaying(log):
        await world.say(event(LANES[0], 1))
        async with log.consume(GROUP, [TOPIC]) as consumer:
            records = await consumer.fetch()
            await world.db.write(lambda tx: store.advance(tx, GROUP, records))
        beyond = update(store.position).where(store.position.c.position > 0)
        await world.db.write(lambda tx: tx.execute(beyond.values(position=10_000)))
        async with log.consume(GROUP, [TOPIC]) as consumer:
            with pytest.raises(Unavailable):
                await consumer.fetch()


@pytest.mark.parametrize("more", [1, 9])
async def test_in_another_log_a_group_begins_at_the_beginning(
    world: World, url: str, servers: Servers, more: int
) -> None:
    async def handle(rounds: range) -> None:
        async with relaying(log_of(world)):
            for numbered in rounds:
                await say_round(world, numbered)
            async with member(world):
                await happened(world, rounds.stop)

    await handle(range(5))
    await delete_topics(url)
    await asyncio.to_thread(create_topics, url)
    await handle(range(5, 5 + more))
    async with topics_at(servers.env("kafka")["HULEEDU_LOG_URL"]) as elsewhere:
        world.live = replace(world.live, log=KafkaLog(world.db, elsewhere))
        await handle(range(5 + more, 5 + 3 * more))


async def test_a_broker_that_does_not_say_which_topics_it_has_is_asked_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_lag, "WHICH_SECONDS", 0.1)
    log = log_of(world)
    async with relaying(log):
        await world.say(event(LANES[0], 1))
        with monkeypatch.context() as patch, socket.create_server(("127.0.0.1", 0)) as deaf:
            address = f"127.0.0.1:{deaf.getsockname()[1]}"
            patch.setattr(log._ends, "_client", AdminClient({"bootstrap.servers": address}))
            async with log.consume(GROUP, [TOPIC]) as consumer:
                with pytest.raises(Unavailable, match="does not say which topics"):
                    await consumer.fetch()
        monkeypatch.setattr(kafka_lag, "WHICH_SECONDS", 30.0)
        async with log.consume(GROUP, [TOPIC]) as consumer:
            assert len(await consumer.fetch()) == 1


async def test_the_broker_is_told_how_far_a_group_is(world: World, url: str) -> None:
    log = log_of(world)
    async with relaying(log), log.consume(GROUP, [TOPIC]) as consumer:
        await say_round(world, 0)
        records = await read(consumer, len(LANES))
        handled = asyncio.create_task(consumer.fetch())  # who asks for more has handled those
        await asyncio.sleep(0)
        handled.cancel()
    ends: dict[int, int] = defaultdict(int)
    for record in records:
        ends[record.partition] = max(ends[record.partition], record.offset + 1)
    assert await asyncio.to_thread(committed, url, ends) == ends


async def test_the_broker_is_not_told_of_what_was_handed_out_and_perhaps_not_handled(world: World, url: str) -> None:
    log = log_of(world)
    async with relaying(log), log.consume(GROUP, [TOPIC]) as consumer:
        await world.say(event(LANES[0], 0))
        (record,) = await consumer.fetch()
    told = await asyncio.to_thread(committed, url, [record.partition])
    assert told[record.partition] <= record.offset


async def until_made(url: str) -> AdminClient:
    """Wait until the topics are there as the table says; return whom to ask about them."""
    cluster = Cluster.of(url)
    admin = AdminClient(cluster.config)
    wanted = {f"{cluster.prefix}{said.topic}": said.partitions for said in MESSAGES}
    there: dict[str, int] = {}
    while there != wanted:  # a broker lists a topic a moment after it has made it
        topics = (await asyncio.to_thread(admin.list_topics, timeout=10)).topics
        there = {name: len(topics[name].partitions) for name in wanted.keys() & topics.keys()}
        assert set(there.items()) <= set(wanted.items())
    return admin


async def test_topics_are_made_as_the_table_says_however_often(url: str) -> None:
    await asyncio.to_thread(create_topics, url)
    cluster, admin = Cluster.of(url), await until_made(url)
    resource = ConfigResource(ConfigResource.Type.TOPIC, f"{cluster.prefix}{TOPIC}")
    settings = await asyncio.to_thread(admin.describe_configs([resource])[resource].result)
    assert settings["retention.ms"].value == str(int(KEPT.total_seconds() * 1000))


async def test_migrating_makes_the_topics(servers: Servers, tmp_path: Path) -> None:
    async with topics_at(servers.env("kafka")["HULEEDU_LOG_URL"], ()) as url:
        await prepare(Settings(data_dir=tmp_path, log_url=SecretStr(url)))
        await until_made(url)


async def test_a_broker_that_asks_who_it_is_is_told(
    servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with topics_at(servers.env("kafka")["SERVERS_KAFKA_SASL_URL"]) as secured:
        async with world_on(tmp_path, secured) as world, relaying(log_of(world)), member(world):
            await say_round(world, 0)
            await happened(world, 1)
        wrong = secured.replace("huleedu:", "huleedu:not-")
        monkeypatch.setattr(kafka_topics, "ADMIN_SECONDS", 2)
        with pytest.raises(Usage, match="Invalid username or password") as refused:
            await asyncio.to_thread(create_topics, wrong)
        assert not isinstance(refused.value, NotYet)  # nobody waits for that
