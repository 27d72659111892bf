"""PostgreSQL: any number of processes, each with a pool of its own and one connection that listens.

Bodies run concurrently, READ COMMITTED: whoever decides by what it has read holds the names it decides about first
(`Tx.lock`). A read is one snapshot. What is announced is a NOTIFY in the transaction, so it comes with the commit or
never; should the listening connection be lost, everybody looks again four times a second.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from contextlib import suppress
from functools import lru_cache, partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg
from sqlalchemy import bindparam, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoneFree
from sqlalchemy.ext.asyncio import create_async_engine
from typing_extensions import override

from huleedu.platform.db import Db, ReadTx, Tx, call, each
from huleedu.platform.errors import Unavailable
from huleedu.platform.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence

    from sqlalchemy import Connection, CursorResult, Insert, TableClause
    from sqlalchemy.ext.asyncio import AsyncEngine

    from huleedu.platform.clock import Clock

R = TypeVar("R")
WRITERS, READERS = 4, 4
"""Connections of a process; one more listens, one is for the election. A server of 100 is enough for nine of them."""
LOST = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What a connection of one's own may end by; the last if it is closed in the very moment in which it is used."""
CHANNEL = "huleedu"
FLOOR_SECONDS = 0.25
CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 35.0
"""For a statement, longer than the server lets it run: a host that has gone says nothing at all."""
SESSION = {
    "application_name": "huleedu",
    "statement_timeout": "30s",
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "10s",  # of a process that was stopped: others wait for what it holds
    "jit": "off",  # compiling takes longer than any statement of ours
}
ELECT = "SELECT pg_try_advisory_lock(hashtextextended($1, 0))"
RETIRED = {"idle_session_timeout": "10s"}
"""The server ends the session of an elected process that has been stopped, and another can be elected."""
SILENT_SECONDS = 10.0
SILENT = text("""
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND usename = current_user AND application_name = 'huleedu'
        AND xact_start IS NOT NULL AND wait_event = 'ClientRead'
        AND state_change <= clock_timestamp() - make_interval(secs => :seconds)
""")
"""Those of us that say nothing within a transaction. The server ends them too, but not who was stopped in a statement
of which half was sent: it counts as active for ever, and no time-out of the server's applies."""
LOCKED = "55P03"
AGAIN = ("40001", "40P01")
"""Serialization failure and deadlock: nothing was done, and the same may work at once."""
TRIES = 3
PASSING = ("08", "40", "53", "57P", LOCKED, "25P03")
"""Connection, conflict, resources, shutdown, locks, a transaction left idle; any other error is the statement's own."""
TOO_MANY_LOCKS = "53200"
"""Passes only with fewer records in the transaction, which is what the runner tries with other errors."""


class PostgresTx(Tx):
    """A transaction among others."""

    @override
    def lock(self, names: Iterable[str]) -> None:
        """Have these names to oneself until the transaction is over; always in the same order, so nobody deadlocks."""
        number = func.hashtextextended(each("names").c.value, 0).label("number")
        numbers = select(number).distinct().order_by(number).subquery()
        self.all(select(func.pg_advisory_xact_lock(numbers.c.number)), names=set(names))

    @override
    def _execute_all(self, statement: Insert, rows: Sequence[Mapping[str, Any]]) -> Iterator[CursorResult[Any]]:
        """Insert rows by one statement, however many there are; what one key is given again, by one after it."""
        names = tuple(rows[0])
        for portion in _portions(statement.table, rows):
            columns = {name: [row[name] for row in portion] for name in names}
            yield self._connection.execute(_unnested(statement, names), columns)

    def notify(self) -> None:
        """Have what was announced told to everybody who listens, with the commit."""
        if self.announced:
            self.scalar(select(func.pg_notify(CHANNEL, json.dumps(sorted(self.announced)))))


class PostgresDb(Db):
    """A database that other processes use too."""

    shared = True

    def __init__(self, url: str, clock: Clock) -> None:
        super().__init__(clock)
        self._connect = partial(
            asyncpg.connect, url, timeout=CONNECT_SECONDS, command_timeout=ANSWER_SECONDS, server_settings=SESSION
        )
        self._engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=self._connect,
            pool_size=WRITERS + READERS,
            max_overflow=0,
            pool_timeout=CONNECT_SECONDS,
            hide_parameters=True,  # what an error says of its statement must not quote a pupil
        )
        snapshot = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        self._snapshots = self._engine.execution_options(**snapshot)
        self._writers, self._readers = asyncio.Semaphore(WRITERS), asyncio.Semaphore(READERS)
        self._running: set[asyncio.Future[Any]] = set()
        self._tasks = Tasks(clock)
        self._office: Any = None
        self._open = False

    @override
    async def start(self) -> None:
        """Listen. Connections are made when they are needed, so that it does not matter what is started first."""
        self._tasks.start("db.listen", self._listen)
        self._open = True

    @override
    async def close(self) -> None:
        """Finish what was asked for, then let go of the connections."""
        self._open = False
        await self._tasks.aclose()
        await asyncio.gather(*self._running, return_exceptions=True)
        if self._office is not None:
            self._office.terminate()
        await self._engine.dispose()

    @override
    async def write(self, body: Callable[[Tx], R]) -> R:
        """Run the body in a transaction and return what it returns, after the commit."""
        return await self._whole(self._write(body))

    @override
    async def read(self, body: Callable[[ReadTx], R]) -> R:
        """Run the body on one snapshot of the database."""
        return await self._whole(self._read(body))

    async def _whole(self, transaction: Coroutine[Any, Any, R]) -> R:
        """Run a transaction to its end, also when its caller has gone."""
        if not self._open:
            transaction.close()
            raise RuntimeError("The database is not open.")
        running = asyncio.ensure_future(transaction)
        self._running.add(running)
        running.add_done_callback(self._forget)
        return await asyncio.shield(running)

    def _forget(self, done: asyncio.Future[Any]) -> None:
        self._running.discard(done)
        if not done.cancelled():
            done.exception()  # its caller has it, or has gone

    async def _write(self, body: Callable[[Tx], R]) -> R:
        result, later = await self._tried(self._writers, self._engine, lambda connection: self._run(connection, body))
        for tell in later:
            tell()
        return result

    async def _read(self, body: Callable[[ReadTx], R]) -> R:
        clock = self._clock
        return await self._tried(self._readers, self._snapshots, lambda one: call(body, ReadTx(one, clock.now())))

    async def _tried(self, free: asyncio.Semaphore, engine: AsyncEngine, run: Callable[[Connection], R]) -> R:
        """Run a transaction, and again if nothing of it was done and that may go better at once.

        A connection is cut when the server is started again, or ends a session that has been silent for too long. If
        that was within the commit, nobody can tell what was done: who asked hears that it failed.
        """
        attempt, committing = 1, False
        while True:
            try:
                async with free, engine.connect() as connection:
                    result = await connection.run_sync(run)
                    committing = True
                    await connection.commit()
            except (DBAPIError, NoneFree, OSError) as error:
                undone = sqlstate(error) in AGAIN or (_cut(error) and not committing)
                if not undone or attempt == TRIES:
                    if sqlstate(error) == LOCKED:
                        await self._end_silent()
                    raise _told(error) from error
                attempt, committing = attempt + 1, False
            else:
                return result

    async def _end_silent(self) -> None:
        """End the sessions of processes that were stopped: others wait for what they hold."""
        with suppress(DBAPIError, NoneFree, OSError):
            async with self._engine.begin() as connection:
                await connection.execute(SILENT, {"seconds": SILENT_SECONDS})

    def _run(self, connection: Connection, body: Callable[[Tx], R]) -> tuple[R, list[Callable[[], object]]]:
        tx = PostgresTx(connection, self._clock.now())
        result = call(body, tx)
        tx.notify()
        return result, tx.later

    @override
    async def elected(self, office: str) -> bool:
        """Whoever has the lock has it until its session ends, which is as soon as the process does."""
        try:
            if self._office is None or self._office.is_closed():
                self._office = await self._connect(server_settings=SESSION | RETIRED)
            return bool(await self._office.fetchval(ELECT, office))
        except LOST:
            return False

    async def _listen(self) -> None:
        """Tell the watchers what anybody announces; and of everything, now and then, in case it was not heard."""
        connection = None
        try:
            while True:
                with suppress(*LOST):
                    if connection is None or connection.is_closed():
                        connection = await self._connect()
                        await connection.add_listener(CHANNEL, self._hear)
                for watch in self._watches:
                    watch.tell(watch.channels)
                await asyncio.sleep(FLOOR_SECONDS)
        finally:
            if connection is not None:
                connection.terminate()

    def _hear(self, *heard: Any) -> None:  # noqa: ANN401 -- connection, process id, channel, payload
        announced = frozenset(json.loads(heard[-1]))
        for watch in self._watches:
            watch.tell(announced)


def _portions(table: TableClause, rows: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Sort rows by the table's key, so that nobody deadlocks; no portion holds a key twice, for no statement may.

    Rows that are yet to be numbered stay as they are: a statement takes what `unnest` gives in its order.
    """
    names = [column.name for column in table.primary_key]
    if not rows[0].keys() >= set(names):
        return [list(rows)]
    key = itemgetter(*names)
    portions: list[list[Mapping[str, Any]]] = []
    for _, same in itertools.groupby(sorted(rows, key=key), key):
        for number, row in enumerate(same):
            if number == len(portions):
                portions.append([])
            portions[number].append(row)
    return portions


@lru_cache
def _unnested(statement: Insert, names: tuple[str, ...]) -> Insert:
    """Return the statement with an array for each of these columns."""
    arrays = (bindparam(name, type_=ARRAY(statement.table.c[name].type, dimensions=1)) for name in names)
    given = func.unnest(*arrays).table_valued(*names).render_derived()
    return statement.from_select(names, select(*given.c))


def sqlstate(error: Exception) -> str:
    """Return PostgreSQL's code of this error, if it comes from there."""
    return str(getattr(getattr(error, "orig", error), "sqlstate", None) or "")


def _cut(error: Exception) -> bool:
    return getattr(error, "connection_invalidated", False)


def passes(error: Exception) -> bool:
    """Whether the connection, the server or others are to blame, not what was asked for."""
    state = sqlstate(error)
    answered = isinstance(error, DBAPIError | asyncpg.PostgresError | ValueError)  # or the address cannot be read
    lost = not answered or _cut(error)
    return lost or (state.startswith(PASSING) and state != TOO_MANY_LOCKS)


def _told(error: Exception) -> Exception:
    """Return the error as its caller can act on it."""
    if passes(error):
        return Unavailable("The database cannot be reached or written at the moment.")
    return error
