"""What tests are given: a whole platform in a directory of its own, and time that passes when somebody waits."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import create_engine
from typing_extensions import override

from huleedu.contracts.notice import ServerFrame
from huleedu.platform.app import Platform
from huleedu.platform.backplane import Backplane, redis
from huleedu.platform.backplane.memory import MemoryBackplane
from huleedu.platform.blobs.files import FileBlobs
from huleedu.platform.clock import Clock
from huleedu.platform.context import new_id
from huleedu.platform.db import Db, metadata
from huleedu.platform.db.postgres import PostgresDb
from huleedu.platform.db.sqlite import SqliteDb
from huleedu.platform.keys import Keys
from huleedu.platform.log.embedded import EmbeddedLog
from huleedu.platform.migrate import migrate_postgres
from huleedu.platform.settings import Settings

PATIENT: dict[str, Any] = {"bos_query_timeout_seconds": 50}
"""A machine that pauses fails only the tests of what is done then."""


def described(frame: dict[str, Any]) -> dict[str, Any]:
    """Return a frame of `/ws`, which is one that the public description knows, and holds nothing besides."""
    assert ServerFrame.model_validate(frame).model_dump(mode="json") == frame
    return frame


@asynccontextmanager
async def heard(backplane: Backplane, channel: str) -> AsyncIterator[asyncio.Queue[str]]:
    """Keep what is published on the channel while the block runs."""
    kept: asyncio.Queue[str] = asyncio.Queue()

    def hear(_channel: str, messages: Sequence[str]) -> None:
        for message in messages:
            kept.put_nowait(message)

    async with backplane.subscribe(channel, hear):
        yield kept


@contextmanager
def patient_with_redis() -> Iterator[None]:
    """Wait for Redis longer than a slow machine pauses: what is not answered is said again, or cuts the connection."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(redis, "ANSWER_SECONDS", 30.0)
        for option in ("socket_connect_timeout", "socket_timeout"):
            patch.setitem(redis.OPTIONS, option, 30.0)
        yield


class ManualClock(Clock):
    """Time that passes only when it is told to; sleepers wake when their moment has come."""

    def __init__(self) -> None:
        self._elapsed = 0.0
        self._sleepers: list[tuple[float, asyncio.Event]] = []

    @override
    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self._elapsed)

    @override
    def worked(self) -> float:
        return self._elapsed

    @override
    async def sleep(self, seconds: float) -> None:
        woken = asyncio.Event()
        self._sleepers.append((self._elapsed + seconds, woken))
        await woken.wait()

    def move(self, seconds: float) -> None:
        """Let time pass and wake whoever waited for it."""
        self._elapsed += seconds
        due = [sleeper for sleeper in self._sleepers if sleeper[0] <= self._elapsed]
        self._sleepers = [sleeper for sleeper in self._sleepers if sleeper[0] > self._elapsed]
        for _, woken in due:
            woken.set()


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


EMPTY = """
    DO $$ BEGIN EXECUTE (
        SELECT 'TRUNCATE ' || string_agg(format('%I', tablename), ', ') || ' RESTART IDENTITY'
        FROM pg_tables WHERE schemaname = current_schema() AND tablename <> 'alembic_version'
    ); END $$
"""


class OneWriter(PostgresDb):
    """The embedded log reads by `pos`: one writer makes that the order of commits, as on SQLite."""

    shared = False

    def __init__(self, url: str, clock: Clock) -> None:
        super().__init__(url, clock)
        self._writers = asyncio.Semaphore(1)


class Databases:
    """A database for each directory: a file in it or, while `server` says where one runs, of PostgreSQL.

    Those are emptied when the test is over, and used again.
    """

    def __init__(self) -> None:
        self.server = ""
        self.used: dict[Path, str] = {}
        self._free: list[str] = []

    async def of(self, directory: Path, clock: Clock) -> Db:
        """Return the directory's database, with every table that was imported."""
        if self.server:
            return OneWriter(await self.url(directory), clock)
        path = directory / "huleedu.db"
        if not path.exists():
            path.write_bytes(empty_database(frozenset(metadata.tables)))
        return SqliteDb(path, clock)

    async def url(self, directory: Path) -> str:
        """Return where the directory's PostgreSQL database is; nothing if it is a file."""
        if self.server and directory not in self.used:
            self.used[directory] = self._free.pop() if self._free else await self.create()
            await migrate_postgres(self.used[directory])
        return self.used.get(directory, "")

    async def create(self) -> str:
        """Return a new database without any table."""
        name = f"test_{new_id().hex}"
        await self._execute(self.server, f"CREATE DATABASE {name}")
        return f"{self.server.rpartition('/')[0]}/{name}"

    async def clear(self, but: Collection[Path] = ()) -> None:
        """Have every directory's database free for another."""
        for directory in set(self.used) - set(but):
            await self._execute(url := self.used.pop(directory), EMPTY)
            self._free.append(url)

    async def _execute(self, url: str, statement: str) -> None:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


DATABASES = Databases()
"""Those of the present test; the fixture `engine` chooses their kind."""


@asynccontextmanager
async def database(directory: Path, clock: Clock, wrap: Callable[[Db], Db] = lambda db: db) -> AsyncIterator[Db]:
    """Open the directory's database."""
    db = wrap(await DATABASES.of(directory, clock))
    await db.start()
    try:
        yield db
    finally:
        await db.close()


@asynccontextmanager
async def opened(directory: Path, clock: Clock, wrap: Callable[[Db], Db] = lambda db: db) -> AsyncIterator[Platform]:
    """Open the platform on this directory."""
    backplane = MemoryBackplane("test")
    await backplane.start()
    blobs = FileBlobs(directory / "blobs")
    try:
        async with database(directory, clock, wrap) as db:
            yield Platform(Settings(**PATIENT), Keys.of(directory), clock, db, EmbeddedLog(db), backplane, blobs)
    finally:
        await backplane.aclose()
