"""From a commit to the frame on a socket: the services, the listener and the sockets of `huleedu serve`.

What is said is what a running assessment says, one essay after the other, at an even pace over the batches of a few
teachers, each with several pages open. The time goes to the moment when a client, in a process of its own, has read the
frame of that essay; it is taken from two commits: of the event in the outbox, and of the view and the feed with it. The
baseline is a client that asks for the batch's status again and again, until an answer is of that place in the feed.
"""

import asyncio
import json
import os
import random
import time
from bisect import bisect_left
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, redirect_stderr
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

from _clients import POLL_S, Client, Way, ask, heard_of, listen, seqs
from _figures import duration, percentile, told
from _timed import Timed, platform

from huleedu.cli import serve
from huleedu.contracts.envelope import EventEnvelope
from huleedu.contracts.essay import EssayPhaseChangedV1, EssayStatus
from huleedu.contracts.notice import FeedEvent
from huleedu.contracts.phase import PhaseName
from huleedu.platform import telemetry
from huleedu.platform.app import connect, running
from huleedu.platform.context import bound
from huleedu.platform.db import Tx
from huleedu.platform.log import store
from huleedu.platform.service import Notice, Service
from huleedu.services import build_all
from tests.system.house import House, essay

RATES, SECONDS = (500, 250, 125), 6
TEACHERS, BATCHES, ESSAYS, SOCKETS = 4, 5, 25, 2
SOON_S = 1.0
"""A rate is held if 99 of 100 frames come within this: a teacher sees progress within a second."""
PATIENCE_S = 120.0
FIRST = 1_000  # versions that no essay has yet
Place = tuple[str, int]


class Essay(NamedTuple):
    """One essay in a running assessment."""

    user_id: str
    batch_id: str
    essay_id: str
    run_id: str


class Figures(NamedTuple):
    """The two latencies, one for each event and client; and how many events were said in a second."""

    event: list[float]
    view: list[float]
    rate: float

    @property
    def held(self) -> bool:
        return percentile(self.event, 99) < SOON_S


@dataclass
class Bench:
    """Classes being assessed by nobody: what would be said of their essays is said here."""

    db: Timed
    url: str
    places: dict[int, Place]
    clients: list[Client] = field(default_factory=list)
    essays: list[Essay] = field(default_factory=list)
    said: int = FIRST

    async def measured(self, way: Way, rate: int) -> Figures:
        """Say events at this rate and return how long it took until the clients knew."""
        first = self.said
        self.db.committed.clear()
        heard = await heard_of(way, self.url, self.clients, partial(self._say, rate), seqs)
        committed = {number: moment for moment, number in self.db.committed if number in range(first, self.said)}
        viewed = {
            (notice.user_id, json.loads(notice.message)["seq"]): moment
            for moment, notices in self.db.committed
            if isinstance(notices, list)
            for notice in cast("list[Notice]", notices)
        }
        figures = Figures([], [], len(committed) / (max(committed.values()) - min(committed.values())))
        for client, answers in zip(self.clients, heard, strict=True):
            for number, moment in committed.items():
                user_id, seq = place = self.places[number]
                if user_id == client.user_id and (way is listen or self._essay(number).batch_id == client.batch_id):
                    _, known = answers[bisect_left(answers, ([seq], 0.0))]
                    figures.event.append(known - moment)
                    figures.view.append(known - viewed[place])
        return figures

    def _essay(self, number: int) -> Essay:
        return self.essays[number % len(self.essays)]

    async def _say(self, rate: int) -> None:
        """Say events at an even pace, and wait until they are in the view and whoever wants to know may know."""
        started, first = time.perf_counter(), self.said
        async with asyncio.TaskGroup() as writes:
            for number in range(first, first + rate * SECONDS):
                await asyncio.sleep(max(0.0, started + (number - first) / rate - time.perf_counter()))
                writes.create_task(self._write(number))
                self.said = number + 1
        async with asyncio.timeout(PATIENCE_S):
            while self.said - 1 not in self.places:  # noqa: ASYNC110 -- the writer's thread puts it there
                await asyncio.sleep(POLL_S)
        await asyncio.sleep(SOON_S)

    async def _write(self, number: int) -> None:
        found = self._essay(number)

        def say(tx: Tx) -> int:
            store.append(tx, [changed(found, number)])
            return number

        with bound(service="lifecycle", user_id=found.user_id):
            await self.db.write(say)


def noted(service: Service, places: dict[int, Place]) -> Service:
    """Note, where the aggregator folds, at which place of which feed each event is told."""
    if service.fold is None:
        return service

    def fold(tx: Tx, envelopes: Sequence[EventEnvelope[Any]], facts: Mapping[str, object]) -> Sequence[Notice]:
        notices = real(tx, envelopes, facts)
        told_of = {
            item["data"]["essay_id"]: (notice.user_id, item["seq"])
            for notice in notices
            if (item := json.loads(notice.message))["event"] == FeedEvent.ESSAY_UPDATED
        }
        changes = [envelope.data for envelope in envelopes if isinstance(envelope.data, EssayPhaseChangedV1)]
        places.update((change.version, told_of[change.essay_id]) for change in changes)
        return notices

    real = service.fold
    return replace(service, fold=fold)


@asynccontextmanager
async def opened() -> AsyncIterator[Bench]:
    """Run everything but the phases, and bring a few teachers' classes to where they are being assessed."""
    places: dict[int, Place] = {}
    async with platform() as (whole, db):
        services = [noted(service, places) for service in build_all(whole)]
        apps = connect(whole, services)
        async with running(whole, [service for service in services if service.name != "phases"]):
            house = House(whole, {service.name: service for service in services}, apps)
            socket = serve._bind("127.0.0.1", 0)  # noqa: SLF001 -- what is measured
            listener = serve._listener(house.public)  # noqa: SLF001
            serving = asyncio.create_task(listener.serve([socket]))
            bench = Bench(db, serve._url(socket), places)  # noqa: SLF001
            await assessed(house, bench.clients, bench.essays)
            yield bench
            listener.should_exit = True
            await serving


async def assessed(house: House, clients: list[Client], essays: list[Essay]) -> None:
    """Have a few teachers start the assessment of their classes, and have some of them open."""
    for _ in range(TEACHERS):
        teacher, batches = await house.teacher(), []
        for _ in range(BATCHES):
            batch_id = await teacher.batch(*(essay() for _ in range(ESSAYS)))
            await teacher.settled(batch_id, ESSAYS)
            run_id = await teacher.start(batch_id, "spellcheck")
            await teacher.until(batch_id, lambda found: found["status"] == "processing")
            items = (await teacher.ask("GET", f"/batches/{batch_id}/essays", 200))["items"]
            essays += [Essay(teacher.user_id, batch_id, item["essay_id"], run_id) for item in items]
            batches.append(batch_id)
        clients += [Client(teacher.user_id, teacher.token, batch_id) for batch_id in batches[:SOCKETS]]
    random.Random(1).shuffle(essays)


def changed(found: Essay, number: int) -> EssayPhaseChangedV1:
    """Return what is said when an essay is done; its figures are this number."""
    return EssayPhaseChangedV1(
        batch_id=found.batch_id,
        essay_id=found.essay_id,
        phase=PhaseName.SPELLCHECK,
        run_id=found.run_id,
        version=number,
        status=EssayStatus.COMPLETED,
        result_id="result",
        metrics={"words": number, "misspelled": number, "per_100_words": number},
    )


def silently() -> None:
    """Log as `huleedu serve` does, to where nobody reads it."""
    with redirect_stderr(Path(os.devnull).open("w", encoding="utf-8")):
        telemetry.configure("info")


async def main() -> None:
    silently()
    async with opened() as bench:
        for rate in RATES:
            pushed, asked = await bench.measured(listen, rate), await bench.measured(ask, rate)
            tell(rate, pushed, asked)
            if pushed.held:
                break


def tell(rate: int, pushed: Figures, asked: Figures) -> None:
    """Print what was found at one rate."""
    sockets = f"{TEACHERS * SOCKETS} sockets of {TEACHERS} teachers, {TEACHERS * BATCHES} batches"
    told(f"{rate} events/s: {'held' if pushed.held else 'not held'}", f"{pushed.rate:,.0f} events/s", sockets)
    for percent in (50, 99):
        for what, figure, other in (("event", pushed.event, asked.event), ("view", pushed.view, asked.view)):
            asking = f"asking each {POLL_S * 1000:.0f} ms", percentile(other, percent)
            duration(f"commit of the {what} -> frame, p{percent}", percentile(figure, percent), asking)


if __name__ == "__main__":
    asyncio.run(main())
