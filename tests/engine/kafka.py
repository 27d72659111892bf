"""A log on a real broker, in topics of its own."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from functools import partial
from uuid import uuid4

from confluent_kafka.admin import AdminClient

from huleedu.contracts.messages import TOPICS
from huleedu.platform.clock import SystemClock
from huleedu.platform.db import Db
from huleedu.platform.log.kafka import Cluster, KafkaLog, create_topics
from huleedu.platform.tasks import Tasks


@asynccontextmanager
async def topics_at(url: str, topics: Collection[str] = tuple(TOPICS.values())) -> AsyncIterator[str]:
    """Make topics that nobody else uses, and return the address that names them."""
    server, _, query = url.partition("?")
    mine = f"{server}/{uuid4()}?{query}"
    made = await asyncio.to_thread(create_topics, mine, topics)
    try:
        yield mine
    finally:
        admin = AdminClient(Cluster.of(mine).config)
        for deleted in admin.delete_topics(made).values():
            await asyncio.to_thread(deleted.result)


@asynccontextmanager
async def relaying(log: KafkaLog) -> AsyncIterator[None]:
    """Bring what is said to the broker while the block runs."""
    clock = SystemClock()
    tasks = Tasks(clock)
    tasks.start("relay", partial(log.tend, clock))
    try:
        yield
    finally:
        await tasks.aclose()


@asynccontextmanager
async def kafka_log(db: Db, url: str) -> AsyncIterator[KafkaLog]:
    async with topics_at(url) as mine:
        log = KafkaLog(db, mine)
        async with relaying(log):
            yield log
