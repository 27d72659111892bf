"""From a commit in the outbox to the frame on a socket, with every service in a process of its own.

The way is outbox, relay, Kafka, aggregator, PostgreSQL, Redis, gateway, socket. What is said is what a running
assessment says, at an even pace, several essays in a transaction as the lifecycle has them; each carries its number as
its figures, and the time runs until a client has read a frame with this number, or a later one of the same essay.
The baseline is a client that asks for the class's list of essays again and again.
"""

import asyncio
import json
import tempfile
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import psutil
from _clients import POLL_S, Client, Heard, Numbers, Way, ask, heard_of, listen
from _figures import duration, percentile, told
from push import BATCHES, FIRST, SOCKETS, SOON_S, TEACHERS, Essay, assessed, changed, silently
from sqlalchemy import func, select

from huleedu.aggregator.store import essay_phase_view
from huleedu.contracts.notice import FeedEvent
from huleedu.platform.context import bound
from huleedu.platform.db import ReadTx, Tx
from huleedu.platform.log import store
from tests.engine.apart import Town, fleet, town_of
from tests.engine.whole import second_engine
from tests.servers import servers_of_ones_own

RATES, SECONDS = (500, 2_000), 6
BACKLOG, PORTION = 20_000, 500
TOGETHER_S = 0.01
LOOK_S = 0.05
PATIENCE_S = 120.0


class Figures(NamedTuple):
    """The latencies, one for each event and client, and the events that were said and shown in a second."""

    latencies: list[float]
    said: float
    shown: float


def framed(text: str) -> list[int]:
    """Return the number that a frame carries, if it is of an essay."""
    frame = json.loads(text)
    return _number(frame["data"]) if frame["event"] == FeedEvent.ESSAY_UPDATED else []


def listed(text: str) -> list[int]:
    """Return the numbers of a list of essays."""
    return [number for item in json.loads(text)["items"] for number in _number(item)]


def _number(essay: dict[str, dict[str, dict[str, float]]]) -> list[int]:
    return [int(figures["words"]) for figures in essay["metrics"].values()]


LISTENING: tuple[Way, Numbers] = listen, framed
ASKING: tuple[Way, Numbers] = partial(ask, what="essays"), listed


@dataclass
class Bench:
    """Classes being assessed by nobody: what would be said of their essays is said here."""

    town: Town
    clients: list[Client] = field(default_factory=list)
    essays: list[Essay] = field(default_factory=list)
    said: int = FIRST
    committed: dict[int, float] = field(default_factory=dict)

    async def measured(self, how: tuple[Way, Numbers], rate: int) -> Figures:
        """Say events at this rate and return how long it took until the clients knew."""
        way, numbers = how
        self.committed.clear()
        url = self.town.fleet.running["gateway", 0].url
        heard = await heard_of(way, url, self.clients, partial(self._say, rate), numbers)
        latencies: list[float] = []
        shown = 0.0
        for client, answers in zip(self.clients, heard, strict=True):
            known = self._known(answers)
            for number, moment in self.committed.items():
                essay = self._essay(number)
                if essay.user_id == client.user_id and (way is listen or essay.batch_id == client.batch_id):
                    latencies.append(known(number) - moment)
                    shown = max(shown, known(number))
        first, last = min(self.committed.values()), max(self.committed.values())
        events = len(self.committed)
        return Figures(latencies, events / (last - first), events / (shown - first))

    def _known(self, answers: Heard) -> Callable[[int], float]:
        """Return how to find out when a client knew of a number."""
        of_essay: dict[int, list[tuple[int, float]]] = defaultdict(list)
        for numbers, moment in answers:
            for number in numbers:
                of_essay[number % len(self.essays)].append((number, moment))

        def known(number: int) -> float:
            found = of_essay[number % len(self.essays)]
            return found[bisect_left(found, (number, 0.0))][1]

        return known

    def _essay(self, number: int) -> Essay:
        return self.essays[number % len(self.essays)]

    async def _say(self, rate: int) -> None:
        """Say events at an even pace, and wait until whoever wants to know may know."""
        started, first = time.perf_counter(), self.said
        portion = round(rate * TOGETHER_S)
        async with asyncio.TaskGroup() as writes:
            for number in range(first, first + rate * SECONDS, portion):
                await asyncio.sleep(max(0.0, started + (number - first) / rate - time.perf_counter()))
                writes.create_task(self._write(range(number, number + portion)))
        self.said += rate * SECONDS
        await self._viewed()
        await asyncio.sleep(SOON_S)

    async def _viewed(self) -> None:
        """Wait until the view shows the last that was said of every essay."""
        awaited = sum(range(self.said - len(self.essays), self.said))
        async with asyncio.timeout(PATIENCE_S):
            while await self.town.platform.db.read(_seen) < awaited:  # noqa: ASYNC110 -- the view need not tell
                await asyncio.sleep(LOOK_S)

    async def at_once(self) -> float:
        """Say many events as fast as they can be written; return how many came through to the view in a second."""
        started, first = time.perf_counter(), self.said
        self.said += BACKLOG
        for number in range(first, self.said, PORTION):
            await self._write(range(number, number + PORTION))
        await self._viewed()
        return BACKLOG / (time.perf_counter() - started)

    async def _write(self, numbers: Sequence[int]) -> None:
        def say(tx: Tx) -> None:
            for number in numbers:
                essay = self._essay(number)
                with bound(service="lifecycle", user_id=essay.user_id):
                    store.append(tx, [changed(essay, number)])

        await self.town.platform.db.write(say)
        self.committed |= dict.fromkeys(numbers, time.perf_counter())


def _seen(tx: ReadTx) -> int:
    """Return the sum of the last numbers of all essays, as the view has them."""
    return int(tx.scalar(select(func.sum(essay_phase_view.c.version))) or 0)


def cpu(town: Town) -> dict[str, float]:
    """Return the seconds of CPU that each service has used."""
    used = {name: psutil.Process(served.process.pid).cpu_times() for (name, _), served in town.fleet.running.items()}
    return {name: times.user + times.system for name, times in used.items()}


def since(before: Mapping[str, float], town: Town) -> dict[str, float]:
    return {name: spent - before[name] for name, spent in cpu(town).items()}


async def main() -> None:
    silently()
    with servers_of_ones_own() as servers, tempfile.TemporaryDirectory() as directory:
        async with second_engine(servers) as settings:
            with fleet(settings, Path(directory)) as found:
                await asyncio.to_thread(found.start, [place for place in found.places if place[0] != "phases"])
                async with town_of(found) as town:
                    bench = Bench(town)
                    await assessed(town, bench.clients, bench.essays)
                    for rate in RATES:
                        before = cpu(town)
                        pushed = await bench.measured(LISTENING, rate)
                        used = since(before, town)
                        tell(rate, pushed, await bench.measured(ASKING, rate))
                        tell_cpu(used, rate * SECONDS)
                    before = cpu(town)
                    came = await bench.at_once()
                    told(f"{BACKLOG:,} events at once", f"{came:,.0f} events/s")
                    tell_cpu(since(before, town), BACKLOG)


def tell_cpu(used: Mapping[str, float], events: int) -> None:
    each = (f"{name} {1e6 * spent / events:.0f}" for name, spent in used.items())
    told("CPU per event, all services", f"{1e6 * sum(used.values()) / events:.0f} us", *each)


def tell(rate: int, pushed: Figures, asked: Figures) -> None:
    """Print what was found at one rate."""
    sockets = f"{TEACHERS * SOCKETS} sockets of {TEACHERS} teachers, {TEACHERS * BATCHES} batches"
    told(f"{rate} events/s said", f"{pushed.said:,.0f} events/s", f"shown: {pushed.shown:,.0f}", sockets)
    for percent in (50, 99):
        asking = f"asking each {POLL_S * 1000:.0f} ms", percentile(asked.latencies, percent)
        duration(f"commit in the outbox -> frame, p{percent}", percentile(pushed.latencies, percent), asking)


if __name__ == "__main__":
    asyncio.run(main())
