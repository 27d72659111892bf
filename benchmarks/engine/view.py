"""Kafka -> decode -> PostgreSQL view -> position: events per second, and per second of the consumer's CPU.

The consumer is the product's, in a process of its own so that its CPU is nobody else's: the log's adapter, the runner,
and transactions with the position, the inbox and a view of one row for each key. Each twentieth event is in the log
twice. The baseline is what is usually written: one event after the other is read, decoded, put into the view and
committed, and then its offset; it has no inbox.
"""

import asyncio
import multiprocessing
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import asyncpg
from _figures import rate, times, told
from backbone import EVENTS, PORTION, append, consumer, fold, folded, view
from confluent_kafka import Consumer
from sqlalchemy import delete
from sqlalchemy.schema import CreateTable

from huleedu.contracts.batch import BatchStateChangedV1
from huleedu.contracts.envelope import EventEnvelope
from huleedu.contracts.messages import TOPICS, decode
from huleedu.platform.app import Platform, running, spare_collector
from huleedu.platform.db import Tx
from huleedu.platform.installation import opened
from huleedu.platform.log import store
from huleedu.platform.log.kafka_topics import Cluster
from huleedu.platform.service import Notice
from huleedu.platform.settings import Settings
from tests.engine.apart import KEYS as SERVICE_KEYS
from tests.engine.kafka import relaying
from tests.engine.whole import second_engine
from tests.servers import servers_of_ones_own

SINGLY, TIMES = 3_000, 3
TOPIC = TOPICS[BatchStateChangedV1]
POLL_SECONDS = 0.05
OWN: dict[str, Any] = {"service_keys": SERVICE_KEYS}  # it then shares everything, and locks no directory
PUT = "INSERT INTO bench_view VALUES ($1, 1) ON CONFLICT (key) DO UPDATE SET events = bench_view.events + 1"


class Run(NamedTuple):
    """How long one consumer took for its events, by the clock and in CPU of its process."""

    events: int
    seconds: float
    cpu: float

    @property
    def rate(self) -> float:
        return self.events / self.seconds

    @property
    def per_cpu(self) -> float:
        return self.events / self.cpu


class Stopwatch:
    """Runs from the first event on."""

    def __init__(self) -> None:
        self.events = 0
        self._started = (0.0, 0.0)

    def count(self, events: int) -> int:
        if not self.events:
            self._started = time.perf_counter(), time.process_time()
        self.events += events
        return self.events

    def stop(self) -> Run:
        started, cpu = self._started
        return Run(self.events, time.perf_counter() - started, time.process_time() - cpu)


async def together(settings: Settings, group: str) -> Run:
    """Have the product's consumer bring everything into the view."""
    watch, over = Stopwatch(), asyncio.Event()

    def noting(tx: Tx, envelopes: Sequence[EventEnvelope[Any]], facts: Mapping[str, object]) -> Sequence[Notice]:
        if watch.count(len(envelopes)) == EVENTS:
            over.set()
        return fold(tx, envelopes, facts)

    async with opened(settings) as whole, running(whole, [replace(consumer(noting), group=group)]):
        spare_collector()  # as `huleedu serve` does
        await over.wait()
        await folded(whole.db, EVENTS)
        return watch.stop()


async def singly(settings: Settings, group: str) -> Run:
    """Bring some of it into the view as it is usually done."""
    watch, cluster = Stopwatch(), Cluster.of(settings.log_url.get_secret_value())
    database = await asyncpg.connect(settings.database_url.get_secret_value())
    usual = {"group.id": group, "enable.auto.commit": False, "auto.offset.reset": "earliest"}
    reader = Consumer(cluster.config | cluster.groups | usual)
    reader.subscribe([f"{cluster.prefix}{TOPIC}"])
    while watch.events < SINGLY:
        message = reader.poll(1.0)
        if message is None:
            continue
        watch.count(1)
        envelope = decode(TOPIC, message.value() or b"")
        async with database.transaction():
            await database.execute(PUT, envelope.subject)
        reader.commit(message=message, asynchronous=False)
    run = watch.stop()
    reader.close()
    await database.close()
    return run


Way = Callable[[Settings, str], Coroutine[Any, Any, Run]]


def _measure(pipe: Connection, way: Way, settings: Settings, group: str) -> None:
    pipe.send(asyncio.run(way(settings, group)))


async def measured(whole: Platform, way: Way, number: int) -> Run:
    """Have a new group read from the beginning, in a process of its own, into an empty view."""
    await whole.db.write(lambda tx: tx.execute(delete(view)))
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_measure, args=(theirs, way, whole.settings, f"{way.__name__}-{number}"))
    process.start()
    theirs.close()
    try:
        run: Run = await asyncio.to_thread(ours.recv)
    finally:
        process.kill()  # it has told its figures, or nobody waits for them any more
        process.join()
    return run


async def filled(whole: Platform) -> float:
    """Say everything and have it brought to the broker; return how many events of the outbox went there in a second."""
    await append(whole.db, EVENTS, PORTION)
    started = time.perf_counter()
    async with relaying(whole.log):
        while await whole.db.read(lambda tx: store.waiting(tx, 1)):  # noqa: ASYNC110 -- the relay need not tell
            await asyncio.sleep(POLL_SECONDS)
        return EVENTS / (time.perf_counter() - started)


async def main() -> None:
    with servers_of_ones_own() as servers:
        async with second_engine(servers) as engine, opened(Settings(**engine, **OWN)) as whole:
            await whole.db.write(lambda tx: tx.execute(CreateTable(view)))
            relayed = await filled(whole)
            ways = [
                (await measured(whole, singly, number), await measured(whole, together, number))
                for number in range(TIMES)
            ]
    alone, many = (sorted(runs, key=lambda run: run.rate)[TIMES // 2] for runs in zip(*ways, strict=True))
    ratios = [whole_run.rate / single.rate for single, whole_run in ways]
    usual = "commit per event"
    told("outbox -> Kafka", f"{relayed:,.0f} events/s")
    spread = f"{times(min(ratios))}-{times(max(ratios))} in {TIMES} rounds"
    rate("Kafka -> view -> position", many.rate, "events/s", (usual, alone.rate), "target: x25", spread)
    rate("the same, of the consumer's CPU", many.per_cpu, "events/CPU-s", (usual, alone.per_cpu), "target: 20,000")


if __name__ == "__main__":
    asyncio.run(main())
