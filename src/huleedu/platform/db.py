"""The database: short synchronous transactions, one writer, readers of their own.

`await db.write(body)` runs `body(tx)` in one transaction; `await db.read(body)` runs it on one snapshot that cannot
write. A body is plain synchronous SQLAlchemy Core, so nobody can wait for another service while holding the write
lock. A body may be run again and therefore has no effect outside its transaction.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import queue
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from sqlalchemy import Connection, DateTime, MetaData, TypeDecorator, create_engine, event, func
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import NullPool
from typing_extensions import override

from huleedu.platform.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from sqlalchemy import Dialect, Executable, Row, TableValuedAlias

    from huleedu.platform.clock import Clock

R = TypeVar("R")
T = TypeVar("T", bound="ReadTx")
GROUP_SECONDS = 0.010
"""A group of transactions commits after this much work: long enough to share an fsync, short enough to wait for."""
READERS = 2
PASSING = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM})
"""What goes away by itself, or when the operator has made room; any other error is the statement's own."""


class Timestamp(TypeDecorator[datetime]):
    """A moment in UTC. SQLite keeps no zone, so it is put back on the way out."""

    impl = DateTime(timezone=True)
    cache_ok = True

    @override
    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Store UTC."""
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(UTC).replace(tzinfo=None)

    @override
    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return UTC."""
        return value.replace(tzinfo=UTC) if value is not None and dialect.name == "sqlite" else value


metadata = MetaData()
"""All tables of all services; each is named once, in its owner's store."""


def each(values: Iterable[str]) -> TableValuedAlias:
    """Return the values as a table with the column `value`: one parameter, however many there are."""
    return func.json_each(json.dumps(list(values))).table_valued("value")


class ReadTx:
    """A transaction that sees one snapshot and cannot write. `now` is the moment it began."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self.now = now

    def all(self, statement: Executable) -> Sequence[Row[Any]]:
        """Return all rows."""
        return self._connection.execute(statement).all()

    def first(self, statement: Executable) -> Row[Any] | None:
        """Return the first row, or None."""
        return self._connection.execute(statement).first()

    def scalar(self, statement: Executable) -> Any:  # noqa: ANN401 -- a column may hold anything
        """Return the first column of the first row, or None."""
        return self._connection.execute(statement).scalar()

    def scalars(self, statement: Executable) -> Sequence[Any]:
        """Return the first column of all rows."""
        return self._connection.execute(statement).scalars().all()


class Tx(ReadTx):
    """A transaction that may write. What it announces wakes the watchers after it has committed."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        super().__init__(connection, now)
        self.announced: set[str] = set()
        self.later: list[Callable[[], object]] = []

    def execute(self, statement: Executable, rows: Sequence[Mapping[str, Any]] | None = None) -> int:
        """Execute, for each of the rows if they are given; return how many rows were touched."""
        if rows is None:
            return self._connection.execute(statement).rowcount
        return self._connection.execute(statement, rows).rowcount if rows else 0

    def returning(self, statement: Executable, rows: Sequence[Mapping[str, Any]]) -> Sequence[Row[Any]]:
        """Execute for each of the rows and return what the statement returns of each, in no order."""
        return self._connection.execute(statement, rows).all() if rows else ()

    def announce(self, channel: str) -> None:
        """Wake who watches this channel, once this transaction has committed."""
        self.announced.add(channel)

    def after_commit(self, tell: Callable[..., object], *told: object, **fields: object) -> None:
        """Call this, in the present context, once this transaction has committed: a log line, never an effect."""
        self.later.append(partial(contextvars.copy_context().run, tell, *told, **fields))


class Watch:
    """The channels that were announced since they were last taken."""

    def __init__(self, channels: Iterable[str]) -> None:
        self.channels = frozenset(channels)
        self._news = set(self.channels)  # whoever begins to watch looks once at everything
        self._awake = asyncio.Event()
        self._awake.set()

    def tell(self, announced: frozenset[str]) -> None:
        """Note what was announced."""
        if news := self.channels & announced:
            self._news |= news
            self._awake.set()

    async def take(self) -> set[str]:
        """Wait for news and return the channels it came on."""
        await self._awake.wait()
        self._awake.clear()
        news, self._news = self._news, set()
        return news


@dataclass(slots=True)
class _Job(Generic[R]):
    """A write body with where its result goes, run in the context of whoever asked for it."""

    body: Callable[[Tx], R]
    future: asyncio.Future[R]
    context: contextvars.Context = field(default_factory=contextvars.copy_context)
    result: R | None = None
    error: BaseException | None = None
    later: list[Callable[[], object]] = field(default_factory=list)

    def settle(self) -> None:
        """Give the result to the waiting caller, who may have gone."""
        if self.error is not None:
            self.later = []
        for tell in self.later:
            tell()
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)  # type: ignore[arg-type]


class Db:
    """SQLite in one file: WAL, synchronous=FULL, one writer thread with group commit, readers on snapshots."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self.path = path
        self._clock = clock
        self._engine = create_engine(
            f"sqlite:///{path}",
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
            hide_parameters=True,  # what an error says of its statement must not quote a pupil
        )
        event.listen(self._engine, "connect", _configure)
        self._jobs: queue.SimpleQueue[_Job[Any] | None] = queue.SimpleQueue()
        self._local = threading.local()
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="db-read")
        self._writer = threading.Thread(target=self._write_forever, name="db-write", daemon=True)
        self._watches: set[Watch] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._open = False

    async def start(self) -> None:
        """Start the writer. The tables are there already."""
        self._loop = asyncio.get_running_loop()
        self._writer.start()
        self._open = True

    async def close(self) -> None:
        """Finish what was asked for, then let go of the file."""
        self._open = False
        self._jobs.put(None)
        await asyncio.to_thread(self._writer.join)
        await asyncio.to_thread(self._readers.shutdown)
        self._engine.dispose()

    async def write(self, body: Callable[[Tx], R]) -> R:
        """Run the body in a transaction and return what it returns, after the commit."""
        if not self._open:
            raise RuntimeError("The database is not open.")
        job: _Job[R] = _Job(body, asyncio.get_running_loop().create_future())
        self._jobs.put(job)
        return await job.future

    async def read(self, body: Callable[[ReadTx], R]) -> R:
        """Run the body on one snapshot of the database."""
        context = contextvars.copy_context()
        job: Callable[[], R] = partial(context.run, self._read, body)
        return await asyncio.get_running_loop().run_in_executor(self._readers, job)

    @contextmanager
    def watch(self, channels: Iterable[str]) -> Iterator[Watch]:
        """Watch these channels while the block runs."""
        watch = Watch(channels)
        self._watches.add(watch)
        try:
            yield watch
        finally:
            self._watches.discard(watch)

    def _read(self, body: Callable[[ReadTx], R]) -> R:
        connection: Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._engine.connect()
            connection.exec_driver_sql("PRAGMA query_only=ON")
        connection.exec_driver_sql("BEGIN")
        try:
            return _call(body, ReadTx(connection, self._clock.now()))
        finally:
            connection.exec_driver_sql("ROLLBACK")

    def _write_forever(self) -> None:
        with self._engine.connect() as connection:
            while (job := self._jobs.get()) is not None:
                group, announced, last = self._commit_group(connection, job)
                self._deliver(group, frozenset(announced))
                if last:
                    return

    def _commit_group(self, connection: Connection, job: _Job[Any]) -> tuple[list[_Job[Any]], set[str], bool]:
        """Run this job and whatever waits behind it in one transaction, each in a savepoint of its own."""
        group, announced, last = [job], set[str](), False
        try:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            started = time.monotonic()
            self._run(connection, job, announced)
            while time.monotonic() - started < GROUP_SECONDS and not self._jobs.empty():
                waiting = self._jobs.get()
                if waiting is None:
                    last = True
                    break
                group.append(waiting)
                self._run(connection, waiting, announced)
            connection.exec_driver_sql("COMMIT")
        except BaseException as error:  # noqa: BLE001 -- whatever it was, everybody in the group must hear of it
            _roll_back(connection)
            announced.clear()
            for member in group:
                member.error = member.error or _told(error)
        return group, announced, last

    def _run(self, connection: Connection, job: _Job[Any], announced: set[str]) -> None:
        """Run one body. What it raises is its caller's alone, unless the database gave up the whole transaction."""
        tx = Tx(connection, self._clock.now())
        connection.exec_driver_sql("SAVEPOINT job")
        try:
            job.result = job.context.run(_call, job.body, tx)
        except BaseException as error:
            job.error = _told(error)
            if not _in_transaction(connection):
                raise
            connection.exec_driver_sql("ROLLBACK TO job")
        else:
            announced |= tx.announced
            job.later = tx.later
        connection.exec_driver_sql("RELEASE job")

    def _deliver(self, group: list[_Job[Any]], announced: frozenset[str]) -> None:
        def settle() -> None:
            for watch in self._watches:
                watch.tell(announced)
            for job in group:
                job.settle()

        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(settle)


def _configure(connection: Any, _record: object) -> None:  # noqa: ANN401 -- the driver's connection
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000", "cache_size=-16000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.execute("PRAGMA secure_delete=ON")  # FAST leaves a pupil's words in the pages that become free
    cursor.close()


def _call(body: Callable[[T], R], tx: T) -> R:
    try:
        return body(tx)
    except StopIteration as error:  # no future takes it: its caller would wait for ever
        raise RuntimeError("StopIteration in a transaction") from error


def _told(error: BaseException) -> BaseException:
    """Return the error as its caller can act on it."""
    if isinstance(error, OperationalError) and getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in PASSING:
        passing = Unavailable("The database cannot be written at the moment.")
        passing.__cause__ = error
        return passing
    return error


def _in_transaction(connection: Connection) -> bool:
    driver: Any = connection.connection.driver_connection
    return bool(driver.in_transaction)


def _roll_back(connection: Connection) -> None:
    try:
        connection.exec_driver_sql("ROLLBACK")
    except DBAPIError:  # SQLite rolls back by itself when the disk is full
        return
