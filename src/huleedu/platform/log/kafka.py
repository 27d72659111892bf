"""The log on Apache Kafka, and how it is read. `kafka_topics` has its topics; `kafka_relay` brings there what is said.

A consumer is one thread that owns librdkafka's handle, and a bounded queue between it and the runner. Where a group
goes on is decided by its positions in the database alone: an assignment takes them, under a new fence, and starts
reading there. The offsets that are committed to the broker are a hint for lag tools.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from huleedu.contracts.messages import MESSAGES
from huleedu.platform.errors import Unavailable, Usage
from huleedu.platform.log import Backlog, Record, store
from huleedu.platform.log.kafka_lag import Ends
from huleedu.platform.log.kafka_relay import Relay
from huleedu.platform.log.kafka_topics import Cluster, create_topics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence

    from confluent_kafka import Message

    from huleedu.platform.clock import Clock
    from huleedu.platform.db import Db, Tx

    Place = tuple[str, int]

FETCH = 2_000
BACKLOG = 4 * FETCH
"""Records read ahead of the runner. At more than these nothing is read, and while the runner hangs all is paused."""
HANGS_SECONDS = 1.0
"""Without a fetch. Pausing is for then only: it drops what is fetched, and librdkafka takes a second to begin again."""
POLL_SECONDS = 0.1
HINT_SECONDS = 1.0
STOP_SECONDS = 1.0
CONSUMER: dict[str, Any] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "queued.max.messages.kbytes": 8192,
    "fetch.queue.backoff.ms": 10,  # after so much was read ahead; by default it asks for nothing for a second
}
HOPELESS = frozenset(
    {
        KafkaError._AUTO_OFFSET_RESET,  # noqa: SLF001 -- librdkafka's own errors are named so
        KafkaError._AUTHENTICATION,  # noqa: SLF001
        KafkaError._FATAL,  # noqa: SLF001 -- of the group's heartbeat, say; such an error's `fatal()` is False
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
    }
)
"""What reading does not recover from by itself: a position that the log does not have, no topic, no permission."""
log = structlog.get_logger()


class KafkaLog:
    """Reads from Kafka, and brings there what is said."""

    def __init__(self, db: Db, url: str) -> None:
        self._db, self._url, self._cluster = db, url, Cluster.of(url)
        self._ends, self._relay = Ends(self._cluster), Relay(db, self._cluster)

    @asynccontextmanager
    async def consume(self, group: str, topics: Collection[str]) -> AsyncIterator[KafkaConsumer]:
        """Be one of the group's consumers; which partitions are this one's may change all the time."""
        consumer = KafkaConsumer(self._db, self._ends, group, topics)
        try:
            yield consumer
        finally:
            await consumer.aclose()

    async def tend(self, _clock: Clock) -> None:
        """Make the topics that are missing, and bring the outbox to the broker.

        The relay waits for the broker by itself. It ends when a topic is missing, and whoever runs this again makes it.
        """
        try:
            await self.ready()  # soon over, also when the process is to stop meanwhile
            await asyncio.to_thread(create_topics, self._url)
        except (Unavailable, Usage) as error:
            log.warning("log.topics", cause=str(error))
        await self._relay.run()

    async def lag(self, group: str, topics: Collection[str]) -> Mapping[str, Backlog]:
        """Return what this group has not handled yet, by topic: the broker's ends beside the group's positions."""
        if not topics:
            return {}
        places = await self._db.read(lambda tx: store.positions(tx, group))
        parts = {said.topic: said.partitions for said in MESSAGES}
        starts = {(topic, part): places.get((topic, part), 0) for topic in topics for part in range(parts[topic])}
        return await asyncio.to_thread(self._ends.behind, starts)

    async def unsent(self) -> Backlog:
        """Return what no relay has brought to the broker yet."""
        return await self._db.read(store.unsent)

    async def ready(self) -> None:
        """Raise Unavailable unless the broker answers."""
        await asyncio.to_thread(self._ends.ready)


class KafkaConsumer:
    """One member of a group. The thread reads and tags; all that is handed out passes the fences on the event loop."""

    def __init__(self, db: Db, ends: Ends, group: str, topics: Iterable[str]) -> None:
        self._db, self._ends, self._group, self._topics = db, ends, group, topics
        self._cluster = ends.cluster
        self._loop = asyncio.get_running_loop()
        # On the event loop.
        self._fences: dict[Place, int] = {}
        self._queue: deque[Record] = deque()
        self._awake = asyncio.Event()
        self._failure: Exception | None = None
        self._handed: dict[Place, int] = {}
        # Written by the event loop, read by the thread.
        self._closing = self._rewound = False
        self._room = threading.Event()
        self._handled: dict[Place, int] = {}
        self._gone = 0
        # In the thread.
        self._mine: dict[Place, int] = {}
        self._told: dict[Place, int] = {}
        self._hinted = 0.0
        self._read = 0
        self._flowing: set[Place] = set()
        self._paused: set[Place] = set()
        self._thread = threading.Thread(target=self._run, name=f"kafka-{group}", daemon=True)
        self._thread.start()

    # -- on the event loop

    async def fetch(self) -> list[Record]:
        """Wait for records of assignments that still hold, and return what is there."""
        self._handled |= self._handed
        while True:
            await self._awake.wait()
            if self._failure is not None:
                raise self._failure
            records = [self._queue.popleft() for _ in range(min(FETCH, len(self._queue)))]
            self._gone += len(records)
            self._room.set()
            if not self._queue:
                self._awake.clear()
            records = [record for record in records if self._fences.get(_place(record)) == record.fence]
            if records:
                self._handed = {_place(record): record.offset + 1 for record in records}
                return records

    async def rewind(self) -> None:
        """Hand out nothing of the present assignments any more; the thread takes those anew that are still ours."""
        self._handed = {}
        self._fences.clear()
        self._rewound = True

    async def aclose(self) -> None:
        """Leave the group."""
        self._closing = True
        self._room.set()
        await asyncio.to_thread(self._thread.join, STOP_SECONDS)

    def _arrive(self, records: list[Record]) -> None:
        self._queue.extend(records)
        self._awake.set()

    def _fail(self, failure: Exception) -> None:
        self._failure = failure
        self._awake.set()

    async def _lease(self, places: Mapping[Place, str]) -> dict[Place, tuple[int, int]]:
        def take_all(tx: Tx) -> dict[Place, tuple[int, int]]:
            return {place: store.take(tx, self._group, *place, which) for place, which in sorted(places.items())}

        leases = await self._db.write(take_all)
        self._fences |= {place: fence for place, (fence, _) in leases.items()}
        return leases

    # -- in the thread

    def _run(self) -> None:
        try:
            prefix = self._cluster.prefix
            config = self._cluster.config | self._cluster.groups | CONSUMER | {"group.id": f"{prefix}{self._group}"}
            client = Consumer(config, logger=log)
            try:
                topics = [f"{prefix}{topic}" for topic in self._topics]
                client.subscribe(topics, on_assign=self._assign, on_revoke=self._revoke, on_lost=self._revoke)
                while not self._closing:
                    self._turn(client)
                self._hint(client)
            finally:
                client.close()
        except Exception as error:  # noqa: BLE001 -- whatever it was, the runner must hear of it
            self._loop.call_soon_threadsafe(self._fail, error)

    def _turn(self, client: Consumer) -> None:
        """Do what was asked for, then wait a moment for records and hand on those that are there."""
        if self._rewound:
            self._rewound = False
            for start in self._take(list(self._mine)):
                client.seek(start)
        first = client.poll(POLL_SECONDS)
        if first is not None:
            records = self._tagged([first])
            records += self._tagged(client.consume(FETCH, 0))
            self._read += len(records)
            self._loop.call_soon_threadsafe(self._arrive, records)
            self._flowing |= {_place(record) for record in records}
        self._pause(client)
        if time.monotonic() - self._hinted > HINT_SECONDS:
            self._hint(client)

    def _tagged(self, messages: Sequence[Message]) -> list[Record]:
        """Return the messages as records of their assignment; what is read of one that is over is somebody else's."""
        records = []
        for message in messages:
            if (error := message.error()) is not None:
                _complain(error)
                continue
            place = ((message.topic() or "").removeprefix(self._cluster.prefix), message.partition() or 0)
            if (fence := self._mine.get(place)) is not None:
                key = (message.key() or b"").decode(errors="replace")
                records.append(Record(*place, message.offset() or 0, key, message.value() or b"", fence))
        return records

    def _pause(self, client: Consumer) -> None:
        """Wait while the runner is far behind; stop reading while it hangs, without leaving the group for it.

        Partitions come while others are paused, so it is kept which are, and each is paused when it has begun to flow.
        """
        while self._flowing and not self._closing and self._read - self._gone > BACKLOG:
            if not self._room.wait(HANGS_SECONDS):
                break
            self._room.clear()
        behind = self._read - self._gone
        if behind > BACKLOG and self._flowing:
            client.pause(self._partitions(self._flowing))
            self._paused |= self._flowing
            self._flowing = set()
        elif behind < BACKLOG // 2 and self._paused:
            client.resume(self._partitions(self._paused))
            self._paused = set()

    def _assign(self, client: Consumer, partitions: list[TopicPartition]) -> None:
        prefix = self._cluster.prefix
        client.incremental_assign(self._take([(it.topic.removeprefix(prefix), it.partition) for it in partitions]))

    def _revoke(self, client: Consumer, partitions: list[TopicPartition]) -> None:
        gone = {(it.topic.removeprefix(self._cluster.prefix), it.partition) for it in partitions}
        if gone & self._paused:
            client.resume(self._partitions(gone & self._paused))  # librdkafka would remember it
        self._paused -= gone
        self._flowing -= gone
        for place in gone:
            self._mine.pop(place, None)
        client.incremental_unassign(partitions)

    def _take(self, places: Sequence[Place]) -> list[TopicPartition]:
        """Raise the fences of these partitions; return where to read on: without a position, from the beginning."""
        which = self._ends.which({topic for topic, _ in places})
        logs = {place: which[place[0]] for place in places}
        leases = asyncio.run_coroutine_threadsafe(self._lease(logs), self._loop).result()
        self._mine |= {place: fence for place, (fence, _) in leases.items()}
        return [
            TopicPartition(f"{self._cluster.prefix}{topic}", partition, position or OFFSET_BEGINNING)
            for (topic, partition), (_, position) in leases.items()
        ]

    def _partitions(self, places: Iterable[Place]) -> list[TopicPartition]:
        return [TopicPartition(f"{self._cluster.prefix}{topic}", partition) for topic, partition in places]

    def _hint(self, client: Consumer) -> None:
        """Tell the broker how far the group is, for those who watch its lag."""
        self._hinted = time.monotonic()
        handled = {place: offset for place, offset in dict(self._handled).items() if place in self._mine}
        news = [
            TopicPartition(f"{self._cluster.prefix}{topic}", partition, offset)
            for (topic, partition), offset in handled.items()
            if self._told.get((topic, partition)) != offset
        ]
        if news:
            with suppress(KafkaException):  # while partitions move; the next hint is as good
                client.commit(offsets=news, asynchronous=True)
                self._told = handled


def _place(record: Record) -> Place:
    return record.topic, record.partition


def _complain(error: KafkaError) -> None:
    """Stop reading, or tell what librdkafka is about to mend."""
    if error.code() in HOPELESS:
        raise Unavailable(f"The log cannot be read on: {error.str()}.")
    log.warning("log.kafka", cause=error.str())
