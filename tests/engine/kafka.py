"""A log on a real broker, in topics of its own."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from functools import partial
from uuid import uuid4

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource

from huleedu.contracts.messages import MESSAGES, TOPICS
from huleedu.platform.clock import Clock
from huleedu.platform.db import Db
from huleedu.platform.log import Log
from huleedu.platform.log.kafka import KafkaLog
from huleedu.platform.log.kafka_topics import Cluster, create_topics
from huleedu.platform.tasks import Tasks


@asynccontextmanager
async def topics_at(url: str, topics: Collection[str] = tuple(TOPICS.values())) -> AsyncIterator[str]:
    """Make topics that nobody else uses, and return the address that names them; more of them may be made there."""
    server, _, query = url.partition("?")
    mine = f"{server}/{uuid4()}?{query}"
    await asyncio.to_thread(create_topics, mine, topics)
    try:
        await named(mine, topics)
        yield mine
    finally:
        await delete_topics(mine)


async def named(url: str, topics: Collection[str]) -> None:
    """Wait until the broker names these topics: the controller, which made them, is ahead of it."""
    cluster = Cluster.of(url)
    admin, wanted = AdminClient(cluster.config), {f"{cluster.prefix}{topic}" for topic in topics}
    while wanted - (await asyncio.to_thread(admin.list_topics, timeout=10)).topics.keys():
        """It names them in a moment."""


async def delete_topics(url: str) -> None:
    """Delete the topics, and wait until the broker names none of them."""
    cluster = Cluster.of(url)
    admin, names = AdminClient(cluster.config), {f"{cluster.prefix}{topic}" for topic in TOPICS.values()}
    for deleted in admin.delete_topics(list(names)).values():
        try:
            await asyncio.to_thread(deleted.result)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:  # not all of them were made
                raise
    while names & (await asyncio.to_thread(admin.list_topics, timeout=10)).topics.keys():
        """It names them for a moment more."""


@asynccontextmanager
async def relaying(log: Log) -> AsyncIterator[None]:
    """Bring what is said to the broker while the block runs."""
    clock = Clock()
    tasks = Tasks(clock)
    tasks.start("relay", partial(log.tend, clock))
    try:
        yield
    finally:
        await tasks.aclose()


async def altered(url: str, topic: str, setting: str, value: str) -> None:
    """Set one of a topic's settings, and wait until the broker says so."""
    cluster = Cluster.of(url)
    admin, name = AdminClient(cluster.config), f"{cluster.prefix}{topic}"
    entry = ConfigEntry(setting, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, name, incremental_configs=[entry])
    for altering in admin.incremental_alter_configs([resource]).values():
        await asyncio.to_thread(altering.result)
    asked = ConfigResource(ConfigResource.Type.TOPIC, name)
    while (await asyncio.to_thread(admin.describe_configs([asked])[asked].result))[setting].value != value:
        """It is not told yet."""


def everything(url: str) -> list[str]:
    """Return every envelope in these topics."""
    return [(message.value() or b"").decode() for message in messages(url)]


def messages(url: str) -> list[Message]:
    """Return everything in these topics as any client sees it."""
    cluster, found = Cluster.of(url), []
    consumer = Consumer(cluster.config | {"group.id": str(uuid4()), "enable.partition.eof": True})
    places = [(f"{cluster.prefix}{said.topic}", part) for said in MESSAGES for part in range(said.partitions)]
    consumer.assign([TopicPartition(*place, OFFSET_BEGINNING) for place in places])
    ended = 0
    while ended < len(places):
        for message in consumer.consume(100, 0.1):
            error = message.error()
            ended += error is not None and error.code() == KafkaError._PARTITION_EOF
            found += [] if error else [message]
    consumer.close()
    return found


def ends(url: str) -> dict[tuple[str, int], int]:
    """Return where each partition of these topics ends."""
    cluster = Cluster.of(url)
    consumer = Consumer(cluster.config | {"group.id": str(uuid4())})
    places = [(said.topic, part) for said in MESSAGES for part in range(said.partitions)]
    found = {
        (topic, part): consumer.get_watermark_offsets(TopicPartition(f"{cluster.prefix}{topic}", part), 10)[1]
        for topic, part in places
    }
    consumer.close()
    return found


@asynccontextmanager
async def kafka_log(db: Db, url: str) -> AsyncIterator[KafkaLog]:
    async with topics_at(url) as mine:
        log = KafkaLog(db, mine)
        async with relaying(log):
            yield log
