"""The event backbone, embedded, `synchronous=FULL`: events per second through the whole loop, and commit -> handler.

The loop is the product's own: producers append to the outbox, the runner reads, decodes, asks the inbox, folds the
events by key into one view row each, and moves its position, all in one transaction. Each twentieth event is in the log
twice, under one id. The baseline is the same code with groups, fetches and appends of one event.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from _figures import duration, percentile, rate, told
from _timed import Timed, platform
from sqlalchemy import Column, Integer, MetaData, Table, Text, func, select
from sqlalchemy.schema import CreateTable
from typing_extensions import override

from huleedu.contracts.batch import BatchClientStatus, BatchStateChangedV1
from huleedu.contracts.envelope import EventEnvelope
from huleedu.platform.app import Platform, running
from huleedu.platform.db import Db, ReadTx, Tx, Watch, insert
from huleedu.platform.db import sqlite as database
from huleedu.platform.log import embedded, store
from huleedu.platform.log.embedded import EmbeddedConsumer, EmbeddedLog
from huleedu.platform.service import Notice, Service

EVENTS, SINGLY = 60_000, 1_000
KEYS = 300
PORTION = 500
DUPLICATES = 20  # one event in so many comes twice
RATE, SECONDS = 500, 6
POLL_SECONDS = 0.005

view = Table("bench_view", MetaData(), Column("key", Text, primary_key=True), Column("events", Integer, nullable=False))
PUT = insert(view)
ADD = PUT.on_conflict_do_update(index_elements=["key"], set_={"events": view.c.events + PUT.excluded.events})
FOLDED = "bench:folded"


@asynccontextmanager
async def prepared() -> AsyncIterator[tuple[Platform, Timed]]:
    """Open the platform with the view's table."""
    async with platform() as (whole, timed):
        await timed.write(lambda tx: tx.execute(CreateTable(view)))
        yield whole, timed


def consumer(fold: Callable[..., Sequence[Notice]]) -> Service:
    return Service(name="bench", group="bench", folds=frozenset({BatchStateChangedV1}), fold=fold)


def fold(tx: Tx, envelopes: Sequence[EventEnvelope[Any]], _facts: Mapping[str, object]) -> Sequence[Notice]:
    """Bring the view's rows up to date: one for each key, all in one statement."""
    seen: dict[str, int] = {}
    for envelope in envelopes:
        seen[envelope.subject] = seen.get(envelope.subject, 0) + 1
    tx.put(ADD, [{"key": key, "events": count} for key, count in seen.items()])
    tx.announce(FOLDED)
    return ()


def say(first: int, count: int, tx: Tx) -> int:
    """Append so many events, and one in twenty again under the same id."""
    message = partial(BatchStateChangedV1, status=BatchClientStatus.READY, reason="")
    numbers = range(first, first + count)
    store.append(tx, [message(batch_id=f"batch-{number % KEYS}", version=number) for number in numbers])
    if again := sum(number % DUPLICATES == 0 for number in numbers):
        columns = [store.outbox.c[name] for name in ("topic", "key", "envelope", "at")]
        last = select(*columns).order_by(store.outbox.c.pos.desc()).limit(again)
        tx.execute(insert(store.outbox).from_select([column.name for column in columns], last))
    return first


async def append(db: Db, events: int, portion: int) -> None:
    for first in range(0, events, portion):
        await db.write(partial(say, first, portion))


async def folded(db: Db, events: int) -> None:
    """Wait until every event is in the view."""

    def count(tx: ReadTx) -> int:
        return int(tx.scalar(select(func.coalesce(func.sum(view.c.events), 0))))

    with db.watch([FOLDED]) as watch:
        while (found := await db.read(count)) < events:
            await watch.take()
    if found != events:
        raise RuntimeError(f"{found} effects of {events} events")


@contextmanager
def singly() -> Iterator[None]:
    """Have every event read, handled and committed alone."""
    usual = embedded.FETCH, database.GROUP_SECONDS
    embedded.FETCH, database.GROUP_SECONDS = 1, 0.0
    yield
    embedded.FETCH, database.GROUP_SECONDS = usual


async def loop(events: int, portion: int) -> tuple[float, float]:
    """Return events per second, from the first append to the last effect, and transactions per 1,000 events."""
    async with prepared() as (whole, db), running(whole, [consumer(fold)]):
        before, started = db.transactions, time.perf_counter()
        await append(db, events, portion)
        await folded(db, events)
        return events / (time.perf_counter() - started), 1000 * (db.transactions - before) / events


async def halves(events: int, portion: int) -> tuple[float, float]:
    """Return events per second of appending alone, and of consuming alone what is all there."""
    async with prepared() as (whole, db):
        started = time.perf_counter()
        await append(db, events, portion)
        appended = time.perf_counter()
        async with running(whole, [consumer(fold)]):
            await folded(db, events)
        return events / (appended - started), events / (time.perf_counter() - appended)


class Polling(EmbeddedLog):
    """A log whose consumers look for news again and again, instead of being woken."""

    @override
    @asynccontextmanager
    async def consume(self, group: str, topics: Collection[str]) -> AsyncIterator[EmbeddedConsumer]:
        async with super().consume(group, topics) as reader:
            reader._watch = Poll(reader._watch.channels)  # noqa: SLF001 -- what is compared
            yield reader


class Poll(Watch):
    """Says that there is news on every channel, each few milliseconds."""

    @override
    async def take(self) -> set[str]:
        await asyncio.sleep(POLL_SECONDS)
        return set(self.channels)


async def latencies(log: type[EmbeddedLog]) -> list[float]:
    """Return for each event, said at an even pace, the time from its commit to its handler."""
    handled: dict[int, float] = {}

    def note(tx: Tx, envelopes: Sequence[EventEnvelope[Any]], _facts: object) -> Sequence[Notice]:
        handled.update((envelope.data.version, time.perf_counter()) for envelope in envelopes)
        return fold(tx, envelopes, {})

    async with prepared() as (whole, db), running(replace(whole, log=log(db)), [consumer(note)]):
        started = time.perf_counter()
        for number in range(RATE * SECONDS):
            await asyncio.sleep(max(0.0, started + number / RATE - time.perf_counter()))
            await db.write(partial(say, number, 1))
        await folded(db, RATE * SECONDS)
        return [
            handled[number] - moment for moment, number in db.committed if isinstance(number, int) and number in handled
        ]


async def main() -> None:
    with singly():
        alone, alone_transactions = await loop(SINGLY, 1)
        alone_appended, alone_consumed = await halves(SINGLY, 1)
    together, transactions = await loop(EVENTS, PORTION)
    appended, consumed = await halves(EVENTS, PORTION)
    per_event = "commit per event"
    rate("full loop", together, "events/s", (per_event, alone), "target: 20,000")
    told("transactions per 1,000 events", f"{transactions:,.0f}", f"{per_event}: {alone_transactions:,.0f}")
    rate("append only", appended, "events/s", (per_event, alone_appended))
    rate("consume only", consumed, "events/s", (per_event, alone_consumed))
    woken, polled = await latencies(EmbeddedLog), await latencies(Polling)
    for percent in (50, 99):
        polling = f"polling each {POLL_SECONDS * 1000:.0f} ms", percentile(polled, percent)
        duration(f"commit -> handler at {RATE} events/s, p{percent}", percentile(woken, percent), polling)


if __name__ == "__main__":
    asyncio.run(main())
