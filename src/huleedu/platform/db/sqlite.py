"""SQLite in one file: one writer, readers of their own."""

from __future__ import annotations

import asyncio
import contextvars
import queue
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from sqlalchemy import create_engine, event
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import NullPool
from typing_extensions import override

from huleedu.platform.db import Db, ReadTx, Tx, call
from huleedu.platform.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy import Connection

    from huleedu.platform.clock import Clock

R = TypeVar("R")
GROUP_SECONDS = 0.010
"""A group of transactions commits after this much work: long enough to share an fsync, short enough to wait for."""
READERS = 2
PASSING = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM})
"""What goes away by itself, or when the operator has made room; any other error is the statement's own."""


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


class SqliteDb(Db):
    """SQLite in one file: WAL, synchronous=FULL, one writer thread with group commit, readers on snapshots."""

    def __init__(self, path: Path, clock: Clock) -> None:
        super().__init__(clock)
        self.path = path
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
        self._writer: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._open = False

    @override
    async def start(self) -> None:
        """Start the writer, which has connected: a reader that came first might find the file locked, or lock it."""
        self._loop = asyncio.get_running_loop()
        connection = await asyncio.to_thread(self._engine.connect)
        self._writer = threading.Thread(target=self._write_forever, args=[connection], name="db-write", daemon=True)
        self._writer.start()
        self._open = True

    @override
    async def close(self) -> None:
        """Finish what was asked for, then let go of the file."""
        self._open = False
        self._jobs.put(None)
        if self._writer is not None:
            await asyncio.to_thread(self._writer.join)
        await asyncio.to_thread(self._readers.shutdown)
        self._engine.dispose()

    @override
    async def write(self, body: Callable[[Tx], R]) -> R:
        """Run the body in a transaction and return what it returns, after the commit."""
        if not self._open:
            raise RuntimeError("The database is not open.")
        job: _Job[R] = _Job(body, asyncio.get_running_loop().create_future())
        self._jobs.put(job)
        return await job.future

    @override
    async def read(self, body: Callable[[ReadTx], R]) -> R:
        """Run the body on one snapshot of the database."""
        context = contextvars.copy_context()
        job: Callable[[], R] = partial(context.run, self._read, body)
        return await asyncio.get_running_loop().run_in_executor(self._readers, job)

    def _read(self, body: Callable[[ReadTx], R]) -> R:
        connection: Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._engine.connect()
            connection.exec_driver_sql("PRAGMA query_only=ON")
        connection.exec_driver_sql("BEGIN")
        try:
            return call(body, ReadTx(connection, self._clock.now()))
        finally:
            connection.exec_driver_sql("ROLLBACK")

    def _write_forever(self, connection: Connection) -> None:
        with connection:
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
            job.result = job.context.run(call, job.body, tx)
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
