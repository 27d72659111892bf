"""The way to Apache Kafka: a relay brings the rows of the outbox there, and deletes them when the broker has them.

One process is elected for that, to spare the others the work; two at once would do no harm. Each sends what is left of
a key in its order, so whichever sends a row first has sent, or has seen deleted because the broker has them, all before
it of its key; the second copies fall to the readers' inbox.

A record that the broker refuses does not keep librdkafka from sending those behind it. So of a key that may meet a
refusal one record is sent at a time: after a large one, which may be refused by itself, and after a refusal of its
topic. What is refused waits in the outbox with all of its key, and the other keys go on.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog
from confluent_kafka import KafkaError, KafkaException, Producer
from pydantic import BaseModel, ValidationError

from huleedu.contracts.messages import TOPICS
from huleedu.platform.errors import Unavailable
from huleedu.platform.log import store

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from confluent_kafka import Message

    from huleedu.platform.db import Db
    from huleedu.platform.log.kafka_topics import Cluster

FETCH = 2_000
FLUSH_SECONDS = 0.1
BATCH_BYTES = 2**16
"""What the broker takes or refuses as one; a larger record is a batch by itself. No topic takes less in one."""
PRODUCER: dict[str, Any] = {
    "enable.idempotence": True,
    "acks": "all",
    "batch.size": BATCH_BYTES,
    "message.timeout.ms": 0,  # it waits for the broker as long as it takes: a record that is given up breaks the order
    "topic.metadata.propagation.max.ms": 1_000,  # others wait so long for a topic that is missing; by default 30 s
    "partitioner": "murmur2_random",  # the one of other languages' clients
}
TOO_LARGE = {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE}
"""Why the broker refuses a record and not its whole topic."""
log = structlog.get_logger()


class Relay:
    """Brings the outbox to the broker, oldest first. A lane is a topic and a key: what has an order."""

    def __init__(self, db: Db, cluster: Cluster) -> None:
        self._db, self._cluster = db, cluster
        self._doubted: set[str] = set()
        """Lanes of which a record was too large, topics that refused one otherwise; none of theirs was taken since."""

    async def run(self) -> None:
        """Bring everything there, for ever.

        One that is killed between the broker's word and its own transaction sends again: readers have an inbox.

        Raises:
            Unavailable: when nothing is left but what the broker refuses. Whoever runs it again tries that again.
        """
        producer = Producer(self._cluster.config | PRODUCER, logger=log)
        refused: dict[str, KafkaError] = {}
        try:
            with self._db.watch(map(store.topic_channel, TOPICS.values())) as watch:
                while not refused:
                    await watch.take()
                    while await self._db.elected("relay") and (rows := await self._waiting(refused)):
                        held, faults = await self._send(producer, rows)
                        refused |= faults
                        if refused and len(rows) < FETCH and held <= refused.keys():
                            break
        finally:
            producer.purge()
            producer.flush(0)
        lane, error = next(iter(refused.items()))
        raise Unavailable(f"Kafka refuses what is next of {len(refused)} keys, one of them {lane}: {error.str()}.")

    async def _waiting(self, refused: dict[str, KafkaError]) -> Sequence[Any]:
        return await self._db.read(partial(store.waiting, limit=FETCH, besides=refused))

    async def _send(self, producer: Producer, rows: Sequence[Any]) -> tuple[set[str], dict[str, KafkaError]]:
        """Send these rows and delete those that the broker takes.

        Returns:
            The lanes of which something may be held back, and those of which a record was refused, with the reason.
        """
        taken: dict[int, str] = {}
        refused: dict[str, KafkaError] = {}

        def told(pos: int, lane: str, error: KafkaError | None, _message: Message | None = None) -> None:
            if error is None:
                taken[pos] = lane
            else:
                refused[lane] = error

        held = await asyncio.to_thread(self._produce, producer, rows, told)
        while len(producer):
            await asyncio.to_thread(producer.flush, FLUSH_SECONDS)
        self._doubted -= {name for lane in taken.values() for name in (lane, _topic(lane))}
        self._doubted |= {lane if error.code() in TOO_LARGE else _topic(lane) for lane, error in refused.items()}
        if taken:
            await self._db.write(lambda tx: store.relayed(tx, list(taken)))
        return held, refused

    def _produce(self, producer: Producer, rows: Sequence[Any], told: Callable[..., None]) -> set[str]:
        """Hand over these rows, but nothing behind one of its lane that is to be taken before; return these lanes."""
        held: set[str] = set()
        for row in rows:
            if row.lane in held:
                continue
            envelope = row.envelope.encode()
            if {row.lane, row.topic} & self._doubted or len(envelope) > BATCH_BYTES:
                held.add(row.lane)
            try:
                producer.produce(
                    f"{self._cluster.prefix}{row.topic}",
                    key=row.key,
                    value=envelope,
                    headers=Origin.headers(row.envelope),
                    on_delivery=partial(told, row.pos, row.lane),
                )
            except BufferError:  # the rest is in the next portion
                break
            except KafkaException as error:  # librdkafka itself refuses it
                held.add(row.lane)
                told(row.pos, row.lane, error.args[0])
        return held


def _topic(lane: str) -> str:
    return lane.partition("/")[0]


class Origin(BaseModel):
    """What brokers' tools and tracers look for in a record's headers, read without decoding the event."""

    event_id: str | None = None
    event_type: str | None = None
    traceparent: str | None = None
    source_service: str | None = None

    @classmethod
    def headers(cls, envelope: str) -> list[tuple[str, str | bytes | None]]:
        """Return the headers of an envelope; one that cannot be read has none, and is parked by its readers."""
        try:
            return [*cls.model_validate_json(envelope).model_dump(exclude_none=True).items()]
        except ValidationError:
            return []
