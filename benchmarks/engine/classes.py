"""A class of thirty with every service in a process of its own, beside the one process on SQLite: time and memory.

Two workers each. The memory is that of our own processes; the servers' is not in it.
"""

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from _essays import essays
from _figures import duration, times, told
from _server import Teacher, pss, served
from assessment import CLASS, sampled, settled
from push import silently

from tests.engine.apart import fleet, town_of
from tests.engine.whole import second_engine
from tests.servers import servers_of_ones_own


class Figures(NamedTuple):
    """Seconds from the start to the end of a class, and memory in MB."""

    first: float
    later: float
    idle: float
    busy: float


def measured(teacher: Teacher, memory: Callable[[], float]) -> Figures:
    idle = settled(memory)
    with sampled(memory) as busy:
        first = teacher.assess(essays(CLASS))
        later = min(teacher.assess(essays(CLASS, seed)) for seed in (2, 3))
    return Figures(first, later, idle, max(busy))


def embedded() -> Figures:
    with served() as server:
        return measured(server.teacher("anna"), server.pss)


async def apart() -> Figures:
    with servers_of_ones_own() as servers, tempfile.TemporaryDirectory() as directory:
        async with second_engine(servers) as settings:
            with fleet({**settings, "workers": 2}, Path(directory)) as found:
                await asyncio.to_thread(found.start, found.places)
                async with town_of(found) as town:
                    anna = await town.teacher()
                teacher = Teacher(found.running["gateway", 0].url, anna.token)
                processes = [served.process.pid for served in found.running.values()]
                return await asyncio.to_thread(measured, teacher, lambda: sum(map(pss, processes)))


def main() -> None:
    silently()
    one, many = embedded(), asyncio.run(apart())
    duration(f"{CLASS} essays apart, first after the start", many.first, ("in one process", one.first))
    duration(f"{CLASS} essays apart, a later class", many.later, ("in one process", one.later))
    for what, here, there in (("idle", one.idle, many.idle), ("busy", one.busy, many.busy)):
        beside = f"in one process: {here:.0f}", times(there / here)
        told(f"memory of all processes apart, {what}", f"{there:.0f} MB PSS", *beside)


if __name__ == "__main__":
    main()
