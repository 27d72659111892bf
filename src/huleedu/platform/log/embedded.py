"""The log of one process: the outbox table is the log, each topic one partition, consumers wake after a commit."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from huleedu.contracts.messages import KEPT
from huleedu.platform.log import Backlog, Record, store
from huleedu.platform.log.trim import trim, trim_log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping

    from huleedu.platform.clock import Clock
    from huleedu.platform.db import Db, ReadTx, Tx, Watch

FETCH = 2_000
PARTITION = 0
LOG = "outbox"
"""Of which log its positions are."""


class EmbeddedLog:
    """Tails the outbox. An exclusive lock on the data directory makes this process the only one."""

    def __init__(self, db: Db) -> None:
        self._db = db

    @asynccontextmanager
    async def consume(self, group: str, topics: Collection[str]) -> AsyncIterator[EmbeddedConsumer]:
        """Take the topics' positions for this group and read on from them."""
        with self._db.watch(store.topic_channel(topic) for topic in topics) as watch:
            consumer = EmbeddedConsumer(self._db, watch, group, topics)
            await consumer.rewind()
            yield consumer

    async def tend(self, clock: Clock) -> None:
        """Forget what every group has passed."""
        await trim(self._db, clock, trim_log, KEPT)

    async def lag(self, group: str, topics: Collection[str]) -> Mapping[str, Backlog]:
        """Return what this group has not read yet, by topic."""

        def behind(tx: ReadTx) -> dict[str, Backlog]:
            places = store.positions(tx, group)
            return {topic: store.behind(tx, topic, places.get((topic, PARTITION), 0)) for topic in topics}

        return await self._db.read(behind)

    async def unsent(self) -> Backlog:
        """Return nothing: what is said is in the log."""
        return Backlog()

    async def ready(self) -> None:
        """Return: the records are in the database."""


class EmbeddedConsumer:
    """Reads each topic in order; between topics the order is whatever comes first."""

    def __init__(self, db: Db, watch: Watch, group: str, topics: Collection[str]) -> None:
        self._db, self._watch, self._group, self._topics = db, watch, group, sorted(topics)
        self._fences: dict[str, int] = {}
        self._read: dict[str, int] = {}
        self._dirty: list[str] = []

    async def rewind(self) -> None:
        """Take all topics, under new fences."""

        def take_all(tx: Tx) -> dict[str, tuple[int, int]]:
            return {topic: store.take(tx, self._group, topic, PARTITION, LOG) for topic in self._topics}

        leases = await self._db.write(take_all)
        self._fences = {topic: fence for topic, (fence, _) in leases.items()}
        self._read = {topic: position for topic, (_, position) in leases.items()}
        self._dirty = list(self._topics)

    async def fetch(self) -> list[Record]:
        """Wait for records and return what is there."""
        while True:
            if not self._dirty:
                news = await self._watch.take()
                self._dirty = [topic for topic in self._read if store.topic_channel(topic) in news]
            records = await self._db.read(self._tail)
            if records:
                return records

    def _tail(self, tx: ReadTx) -> list[Record]:
        """Read the topics that have news, one after another, until the fetch is full."""
        records: list[Record] = []
        while self._dirty and len(records) < FETCH:
            topic = self._dirty[0]
            wanted = FETCH - len(records)
            rows = store.tail(tx, topic, self._read[topic], wanted)
            fence = self._fences[topic]
            records += [Record(topic, PARTITION, row.pos, row.key, row.envelope.encode(), fence) for row in rows]
            if rows:
                self._read[topic] = rows[-1].pos + 1
            if len(rows) < wanted:
                self._dirty.pop(0)
            else:
                self._dirty.append(self._dirty.pop(0))
        return records
