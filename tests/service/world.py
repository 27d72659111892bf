"""A small service on the real database and the embedded log, whose every effect can be counted.

It hears one message type in each way there is: changed (a handler), rejected (a handler with facts), completed (a
fold), erased (the end). A record is known by its lane, (type, key), and its number on that lane. The log is read to
its end and no further, in an order that only lanes keep; every `drain` is a restart.
"""

import itertools
import json
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Column, ForeignKey, Integer, MetaData, Table, Text, insert, select, update
from typing_extensions import override

from huleedu.contracts.batch import (
    BatchClientStatus,
    BatchErasedV1,
    BatchErasureReportedV1,
    BatchPipelineCompletedV1,
    BatchPipelineRejectedV1,
    BatchStateChangedV1,
)
from huleedu.contracts.envelope import Event, EventEnvelope
from huleedu.contracts.messages import TOPICS, decode
from huleedu.contracts.notice import RecordParkedV1
from huleedu.platform.app import Platform, running
from huleedu.platform.backplane.memory import MemoryBackplane
from huleedu.platform.clock import Clock
from huleedu.platform.context import bound
from huleedu.platform.db import Db, ReadTx, Tx
from huleedu.platform.errors import Retry
from huleedu.platform.log import Backlog, Consumer, Log, Record, parking, store
from huleedu.platform.log.redrive import serve
from huleedu.platform.log.runner import Runner
from huleedu.platform.service import Notice, Service
from tests.given import DATABASES, RestlessClock, Stuck, opened

E = TypeVar("E", bound=Event)
R = TypeVar("R")
Lane = tuple[type[Event], str]
CHANGED, REJECTED, COMPLETED = KINDS = (BatchStateChangedV1, BatchPipelineRejectedV1, BatchPipelineCompletedV1)
X, Y = "batch-x", "batch-y"
LANES: tuple[Lane, ...] = tuple((kind, key) for kind in KINDS for key in (X, Y))
GROUP, TEACHER, EFFECT = "world-service", "teacher-1", "effect"

tables = MetaData()
effect = Table(
    "effect",
    tables,
    Column("id", Integer, primary_key=True),
    Column("topic", Text),
    Column("key", Text),
    Column("number", Integer),
)
orphan = Table(
    "orphan",
    tables,
    Column("parent", ForeignKey("effect.id", deferrable=True, initially="DEFERRED")),
)


class Killed(BaseException):
    """The process ended here."""


class Dry(BaseException):
    """Everything was read."""


class MortalDb(Db):
    """Dies at a write when it is told to: just before its transaction, or just after its commit."""

    dies_before = dies_after = 0

    def __init__(self, mortal: Db) -> None:
        super().__init__(mortal._clock)
        self._mortal, self._watches = mortal, mortal._watches

    @override
    async def start(self) -> None:
        await self._mortal.start()

    @override
    async def close(self) -> None:
        await self._mortal.close()

    @override
    async def read(self, body: Callable[[ReadTx], R]) -> R:
        return await self._mortal.read(body)

    @override
    async def write(self, body: Any) -> Any:
        self.dies_before -= 1
        if self.dies_before == 0:
            raise Killed
        result = await self._mortal.write(body)
        self.dies_after -= 1
        if self.dies_after == 0:
            raise Killed
        return result


class DryConsumer:
    """Another consumer's records, the topics of each fetch shuffled together, and then the end."""

    def __init__(self, db: Db, consumer: Consumer, group: str, topics: Collection[str]) -> None:
        self._db, self._consumer, self._group = db, consumer, group
        self._following = dict.fromkeys(topics, 0)
        self._random = random.Random(1)

    async def fetch(self) -> list[Record]:
        if not await self._db.read(self._more):
            raise Dry
        topics: dict[str, list[Record]] = {}
        for record in await self._consumer.fetch():
            topics.setdefault(record.topic, []).append(record)
            self._following[record.topic] = record.offset + 1
        order = [topic for topic, records in topics.items() for _ in records]
        self._random.shuffle(order)
        return [topics[topic].pop(0) for topic in order]

    async def rewind(self) -> None:
        await self._consumer.rewind()

    def _more(self, tx: ReadTx) -> bool:
        mine = select(store.position.c.topic, store.position.c.position).where(store.position.c.grp == self._group)
        for row in (row for row in tx.all(mine) if row.topic in self._following):
            self._following[row.topic] = max(self._following[row.topic], row.position)
        return any(store.tail(tx, topic, start, 1) for topic, start in self._following.items())


class DryLog:
    """The embedded log, read to its end."""

    def __init__(self, db: Db, log: Log) -> None:
        self._db, self._log = db, log

    @asynccontextmanager
    async def consume(self, group: str, topics: Collection[str]) -> AsyncIterator[DryConsumer]:
        async with self._log.consume(group, topics) as consumer:
            yield DryConsumer(self._db, consumer, group, topics)

    async def tend(self, clock: Clock) -> None:
        await self._log.tend(clock)

    async def lag(self, group: str, topics: Collection[str]) -> Mapping[str, Backlog]:
        return await self._log.lag(group, topics)

    async def unsent(self) -> Backlog:
        return await self._log.unsent()

    async def ready(self) -> None:
        await self._log.ready()


class Witness(MemoryBackplane):
    """Notes for each notice how many effects could be seen when it was published."""

    def __init__(self, db: Db) -> None:
        super().__init__("witness")
        self._db = db
        self.seen: list[tuple[str, int, int]] = []
        self.away = False

    @override
    async def publish_user_notifications(self, notifications: Sequence[tuple[str, str]]) -> None:
        if self.away:
            raise ConnectionError
        for key, number in (json.loads(notification) for _, notification in notifications):
            effects = await self._db.read(partial(_effects, lane=(COMPLETED, key)))
            self.seen.append((key, number, effects.count(number)))


class World:
    """The service, what befalls it, and what can be seen of it."""

    def __init__(self, platform: Platform, database: MortalDb) -> None:
        self.db, self.witness = database, Witness(database)
        self.platform = replace(platform, log=DryLog(database, platform.log), backplane=self.witness)
        self.live = replace(self.platform, log=platform.log)
        self.broken: set[tuple[Lane, int]] = set()
        self.hiccups: Counter[tuple[Lane, int]] = Counter()
        self.lost_commits: Counter[tuple[Lane, int]] = Counter()
        self.unanswerable: set[str] = set()
        self.tries: Counter[tuple[Lane, int]] = Counter()
        self.service = Service(
            name="world",
            group=GROUP,
            on={CHANGED: self._heed, BatchErasedV1: lambda _tx, _message: []},
            informed={REJECTED: self._informed},
            folds=frozenset({COMPLETED}),
            fold=self._fold,
            gather=self._gather,
            ends=BatchErasedV1,
        )

    @property
    def runner(self) -> Runner:
        return Runner(self.platform, self.service)

    async def say(self, *messages: Event, event_id: UUID | None = None) -> None:
        with bound(user_id=TEACHER):
            await self.db.write(lambda tx: store.append(tx, messages, event_id=event_id))

    async def drain(self) -> None:
        """Start the runner, let it read to the end and stop it."""
        with suppress(Dry):
            await self._bounded(self.runner.run())

    async def redrive(self, key: str | None = None) -> None:
        await self.db.write(lambda tx: parking.request_redrive(tx, GROUP, key))
        await self._bounded(serve(self.platform, self.service, self.runner))

    async def records(self, *, fenced: bool = False) -> list[Record]:
        """Return one fetch of a new assignment, which is over if it is to be fenced."""
        topics = [TOPICS[message] for message in self.service.hears]
        async with self.platform.log.consume(GROUP, topics) as consumer:
            records = await consumer.fetch()
        if fenced:
            async with self.platform.log.consume(GROUP, topics):
                pass
        return records

    async def repeat_everything(self) -> None:
        """Have everything that is heard twice more: at a new offset, and read again."""
        columns = ["topic", "key", "envelope", "at"]
        heard = store.outbox.c.topic.in_([TOPICS[message] for message in self.service.hears])
        copied = select(*(store.outbox.c[name] for name in columns)).where(heard).order_by(store.outbox.c.pos)
        await self.db.write(lambda tx: tx.execute(insert(store.outbox).from_select(columns, copied)))
        await self.db.write(lambda tx: tx.execute(update(store.position).values(position=0)))

    async def effects(self, lane: Lane) -> list[int]:
        return await self.db.read(lambda tx: _effects(tx, lane))

    async def letters(self, lane: Lane) -> list[tuple[int, int]]:
        """Return the number of each parked record of the lane, with how often it was tried."""
        rows = await self.db.read(lambda tx: parking.letters(tx, GROUP))
        mine = [row for row in rows if (row.topic, row.key) == (TOPICS[lane[0]], lane[1])]
        return [(number(decode(row.topic, row.value).data), row.attempts) for row in mine]

    async def said(self, kind: type[E]) -> list[E]:
        """Return all messages of this type, in the order of the log."""
        rows = await self.db.read(lambda tx: store.tail(tx, TOPICS[kind], 0, 100_000))
        return [decode(TOPICS[kind], row.envelope).data for row in rows]

    async def told(self) -> list[int]:
        """Return how many were said to be parked, each time that it was said."""
        return [told.parked for told in await self.said(RecordParkedV1)]

    async def _bounded(self, work: Awaitable[None]) -> None:
        try:
            await work
        except Stuck as stuck:
            raise AssertionError("it never comes to rest") from stuck

    async def _gather(self, envelopes: Sequence[EventEnvelope[Any]]) -> Mapping[str, object]:
        keys = {envelope.subject for envelope in envelopes}
        return {key: LookupError(key) if key in self.unanswerable else f"fact of {key}" for key in keys}

    def _heed(self, tx: Tx, message: Event) -> list[Event]:
        self._suffer(tx, message)
        _note(tx, message)
        return [BatchErasureReportedV1(batch_id=message.batch_id, service=str(number(message)))]

    def _informed(self, tx: Tx, message: Event, fact: str) -> list[Event]:
        assert fact == f"fact of {message.batch_id}"
        return self._heed(tx, message)

    def _fold(
        self, tx: Tx, envelopes: Sequence[EventEnvelope[Any]], _facts: Mapping[str, object], /
    ) -> Sequence[Notice]:
        for envelope in envelopes:
            _note(tx, envelope.data)
            self._suffer(tx, envelope.data)
        return [Notice(TEACHER, json.dumps([envelope.subject, number(envelope.data)])) for envelope in envelopes]

    def _suffer(self, tx: Tx, message: Event) -> None:
        place = ((type(message), message.batch_id), number(message))
        self.tries[place] += 1
        if place in self.broken:
            raise ValueError(place)
        if self.hiccups[place] > 0:
            self.hiccups[place] -= 1
            raise Retry
        if self.lost_commits[place] > 0:
            self.lost_commits[place] -= 1
            tx.execute(insert(orphan).values(parent=-1))


def event(lane: Lane, numbered: int) -> Event:
    """Return the record of this number on this lane."""
    kind, key = lane
    if kind is CHANGED:
        return CHANGED(batch_id=key, version=numbered, status=BatchClientStatus.READY, reason="")
    if kind is REJECTED:
        return REJECTED(batch_id=key, run_id=str(numbered), code="", detail="")
    return COMPLETED(batch_id=key, run_id=str(numbered), status=BatchClientStatus.CANCELLED)


def events(lane: Lane, numbers: Iterable[int]) -> list[Event]:
    return [event(lane, numbered) for numbered in numbers]


def number(message: Event) -> int:
    """Return the record's number on its lane."""
    if isinstance(message, CHANGED):
        return message.version
    assert isinstance(message, REJECTED | COMPLETED)
    return int(message.run_id)


@asynccontextmanager
async def world_at(directory: Path, clock: Clock | None = None) -> AsyncIterator[World]:
    """Open the world of this directory, or begin it."""
    async with opened(directory, clock or RestlessClock(), MortalDb) as platform:
        assert isinstance(platform.db, MortalDb)
        await platform.db.write(lambda tx: tables.create_all(tx._connection))
        yield World(platform, platform.db)


async def talk(directory: Path, url: str) -> None:
    """Say and hear without end, telling each time that something was said; on this database, if it is PostgreSQL."""
    if url:
        DATABASES.server, DATABASES.used = url, {directory: url}
    async with world_at(directory, Clock()) as world, running(world.live, [world.service]):
        for numbered in itertools.count(len(await world.said(CHANGED)) // 2):
            await world.say(*(event(lane, numbered) for lane in LANES))
            sys.stdout.write("said\n")
            sys.stdout.flush()


def _note(tx: Tx, message: Event) -> None:
    row = {"topic": TOPICS[type(message)], "key": message.batch_id, "number": number(message)}
    tx.execute(insert(effect).values(row))
    tx.announce(EFFECT)


def _effects(tx: ReadTx, lane: Lane) -> list[int]:
    mine = select(effect.c.number).where(effect.c.topic == TOPICS[lane[0]], effect.c.key == lane[1])
    return list(tx.scalars(mine.order_by(effect.c.id)))
