"""What tests are given: a whole platform in a directory of its own, and time that passes when somebody waits."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine
from typing_extensions import override

from huleedu.contracts.notice import ServerFrame
from huleedu.platform.app import Platform
from huleedu.platform.backplane.memory import MemoryBackplane
from huleedu.platform.blobs.files import FileBlobs
from huleedu.platform.clock import Clock, ManualClock
from huleedu.platform.db import Db, metadata
from huleedu.platform.keys import Keys
from huleedu.platform.log.embedded import EmbeddedLog
from huleedu.platform.settings import Settings


def described(frame: dict[str, Any]) -> dict[str, Any]:
    """Return a frame of `/ws`, which is one that the public description knows, and holds nothing besides."""
    assert ServerFrame.model_validate(frame).model_dump(mode="json") == frame
    return frame


class Stuck(BaseException):
    """Somebody waited so often that it will never end; no handler takes this for an error of its own."""


class RestlessClock(ManualClock):
    """Time passes as soon as somebody waits for it, so that back-offs cost nothing."""

    def __init__(self, patience: int = 3_000) -> None:
        super().__init__()
        self.waits = 0
        self._patience = patience

    @override
    async def sleep(self, seconds: float) -> None:
        self.waits += 1
        if self.waits > self._patience:
            raise Stuck
        self.move(seconds)
        await asyncio.sleep(0)


@cache
def empty_database(_tables: frozenset[str]) -> bytes:
    """Return a database file that has these tables; made in memory and once, because every test wants one."""
    engine = create_engine("sqlite://")
    metadata.create_all(engine)
    with engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        content: bytes = driver.serialize()
    engine.dispose()
    return content


@asynccontextmanager
async def opened(directory: Path, clock: Clock, database: type[Db] = Db) -> AsyncIterator[Platform]:
    """Open the embedded platform on this directory, with every table that was imported."""
    path = directory / "huleedu.db"
    if not path.exists():
        path.write_bytes(empty_database(frozenset(metadata.tables)))
    db = database(path, clock)
    await db.start()
    backplane = MemoryBackplane("test")
    await backplane.start()
    blobs = FileBlobs(directory / "blobs")
    try:
        yield Platform(Settings(), Keys.of(directory), clock, db, EmbeddedLog(db), backplane, blobs)
    finally:
        await backplane.aclose()
        await db.close()
