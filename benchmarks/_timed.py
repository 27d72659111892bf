"""The database with its commits timed, and the platform on it."""

import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from typing_extensions import override

from huleedu.platform.app import Platform, spare_collector
from huleedu.platform.clock import Clock
from huleedu.platform.db.sqlite import SqliteDb
from huleedu.platform.installation import DATABASE, opened
from huleedu.platform.log.embedded import EmbeddedLog
from huleedu.platform.settings import Settings


class Timed(SqliteDb):
    """Counts the transactions, and notes when what a body returned was committed."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, Clock())
        self.transactions = 0
        self.committed: list[tuple[float, Any]] = []

    @override
    def _commit_group(self, connection: Any, job: Any) -> Any:
        done = super()._commit_group(connection, job)
        now = time.perf_counter()
        self.transactions += 1
        self.committed += [(now, job.result) for job in done[0]]
        return done


@asynccontextmanager
async def platform() -> AsyncIterator[tuple[Platform, Timed]]:
    """Open the platform on an empty data directory."""
    with tempfile.TemporaryDirectory() as directory:
        async with opened(Settings(data_dir=Path(directory))) as whole:
            timed = Timed(Path(directory) / DATABASE)
            await timed.start()
            spare_collector()  # as `huleedu serve` does
            yield replace(whole, db=timed, log=EmbeddedLog(timed)), timed
            await timed.close()
