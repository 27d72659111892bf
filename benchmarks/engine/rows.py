"""Many rows into PostgreSQL at once: CPU for a row, in the process and in the server, by the size of the batch.

The rows are those of the aggregator's view of essays in phases: each is new at first, and then there is a newer version
of it. The baseline has the driver execute the statement for each of the rows (`executemany`); the two take turns.
"""

import asyncio
import time
from collections.abc import Iterator
from functools import partial
from statistics import fmean
from typing import Any, NamedTuple

import psutil
from _figures import duration
from sqlalchemy import func, select

from huleedu.aggregator import store
from huleedu.platform.clock import Clock
from huleedu.platform.context import new_id
from huleedu.platform.db import ReadTx, Tx
from huleedu.platform.db.postgres import PostgresDb, PostgresTx
from huleedu.platform.migrate import migrate_postgres
from tests.servers import servers_of_ones_own

SIZES = (64, 256, 1_000, 2_000)
ROWS, TURNS = 16_000, 4
FIGURES = '{"words": 312.0, "errors": 4.0}'


class Spent(NamedTuple):
    """Seconds of CPU."""

    process: float
    server: float

    def __sub__(self, before: "Spent") -> "Spent":
        return Spent(self.process - before.process, self.server - before.server)


def spent(tx: ReadTx) -> Spent:
    """Return what this process and its session in the server have spent so far."""
    session = psutil.Process(int(tx.scalar(select(func.pg_backend_pid())))).cpu_times()
    return Spent(time.process_time(), session.user + session.system)


def heard(size: int) -> Iterator[list[dict[str, Any]]]:
    """Return the rows of so many essays, and then their newer versions."""
    batch_id, essay_ids = str(new_id()), [str(new_id()) for _ in range(size)]
    same = {"generation": 1, "batch_id": batch_id, "run_id": batch_id, "phase": "spellcheck", "status": "completed"}
    same |= {"code": None, "detail": None, "result_id": f"{batch_id}/{essay_ids[0]}/{batch_id}", "metrics": FIGURES}
    for version in (1, 2):
        yield [{**same, "essay_id": essay_id, "version": version} for essay_id in essay_ids]


async def measured(db: PostgresDb, way: type[Tx], size: int) -> Spent:
    """Put batches of this size, in a transaction each, and return what a row costs."""
    batches = [rows for _ in range(ROWS // size // 2) for rows in heard(size)]
    before = await db.write(spent)
    for rows in batches:
        await db.write(partial(put, way, rows))
    process, server = await db.write(spent) - before
    return Spent(process / ROWS, server / ROWS)


def put(way: type[Tx], rows: list[dict[str, Any]], tx: Tx) -> None:
    way(tx._connection, tx.now).put(store._put_phases(), rows)  # noqa: SLF001 -- what is compared


async def main() -> None:
    with servers_of_ones_own() as servers:
        url = servers.env("postgres")["HULEEDU_DATABASE_URL"]
        await migrate_postgres(url)
        db = PostgresDb(url, Clock())
        await db.start()
        for size in SIZES:
            await measured(db, PostgresTx, size)  # so that neither finds an empty table
            turns = [(await measured(db, Tx, size), await measured(db, PostgresTx, size)) for _ in range(TURNS)]
            singly, together = (Spent(*map(fmean, zip(*way, strict=True))) for way in zip(*turns, strict=True))
            duration(f"a row of {size:,}, process", together.process, ("executemany", singly.process))
            duration(f"a row of {size:,}, server", together.server, ("executemany", singly.server))
        await db.close()


if __name__ == "__main__":
    asyncio.run(main())
