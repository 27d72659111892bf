"""The database: short synchronous transactions on SQLite or PostgreSQL, the same bodies on both.

`await db.write(body)` runs `body(tx)` in one transaction; `await db.read(body)` runs it on one snapshot that cannot
write. A body is plain synchronous SQLAlchemy Core, so nobody can wait for another service while holding a lock. A body
may be run again and therefore has no effect outside its transaction.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

from sqlalchemy import BigInteger, Boolean, DateTime, Integer, MetaData, Text, TypeDecorator, bindparam
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from sqlalchemy import ColumnElement, Connection, CursorResult, Dialect, Executable, Insert, Row, TableValuedAlias
    from sqlalchemy.sql.compiler import SQLCompiler

    from huleedu.platform.clock import Clock

__all__ = ["Big", "Db", "ReadTx", "Timestamp", "Tx", "Watch", "among", "call", "each", "insert", "member", "metadata"]
# `insert` is PostgreSQL's: what it says of conflicts, SQLite's compiler understands word for word.

R = TypeVar("R")
T = TypeVar("T", bound="ReadTx")
Big = BigInteger().with_variant(Integer, "sqlite")
"""A number that may outgrow 32 bits; SQLite counts rows only by a column of its INTEGER, which has 64."""
metadata = MetaData()
"""All tables of all services; each is named once, by its owner."""


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


class _Texts(TypeDecorator[Iterable[str]]):
    """Texts as one parameter, however many there are."""

    impl, cache_ok = Text, True

    @override
    def process_bind_param(self, value: Iterable[str] | None, dialect: Dialect) -> str:
        """Return them as a JSON array."""
        return json.dumps(list(value or ()))


class _Each(FunctionElement[str]):
    name, inherit_cache = "json_each", True


class _Among(FunctionElement[bool]):
    name, inherit_cache, type = "among", True, Boolean()

    @override
    def self_group(self, against: object = None) -> Self:
        """Be a condition as it is: SQLite, which has no booleans, would be asked whether it is 1, and read all rows."""
        return self


class _Member(FunctionElement[str]):
    name, inherit_cache, type = "json_extract", True, Text()


def each(name: str) -> TableValuedAlias:
    """Return the texts that are given under this name, as a table with the column `value`."""
    return _Each(bindparam(name, type_=_Texts)).table_valued("value")


def among(column: ColumnElement[str], name: str) -> ColumnElement[bool]:
    """Return whether the column is one of the texts that are given under this name."""
    return _Among(column, bindparam(name, type_=_Texts))


def member(column: ColumnElement[str], name: str) -> ColumnElement[str]:
    """Return a text that is a member of the JSON object in this column."""
    return _Member(column, name)


@compiles(_Each)
def _json_each(element: _Each, compiler: SQLCompiler, **how: Any) -> str:  # noqa: ANN401 -- SQLAlchemy's own
    return f"json_each({compiler.process(element.clauses, **how)})"


@compiles(_Each, "postgresql")
def _array_elements(element: _Each, compiler: SQLCompiler, **how: Any) -> str:  # noqa: ANN401 -- as above
    return f"json_array_elements_text(CAST({compiler.process(element.clauses, **how)} AS json))"


@compiles(_Among)
def _in_json(element: _Among, compiler: SQLCompiler, **how: Any) -> str:  # noqa: ANN401 -- as above
    column, texts = (compiler.process(given, **how) for given in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({texts}))"  # noqa: S608 -- SQLAlchemy's own


@compiles(_Among, "postgresql")
def _any_of_array(element: _Among, compiler: SQLCompiler, **how: Any) -> str:  # noqa: ANN401 -- as above
    """Compare with an array: of a function in FROM it expects a hundred rows, and reads the whole table for them."""
    column, texts = (compiler.process(given, **how) for given in element.clauses)
    return f"{column} = ANY (ARRAY(SELECT json_array_elements_text(CAST({texts} AS json))))"


@compiles(_Member)
def _json_extract(element: _Member, compiler: SQLCompiler, **how: Any) -> str:  # noqa: ANN401 -- as above
    column, name = (compiler.process(given, **how) for given in element.clauses)
    return f"json_extract({column}, '$.' || {name})"


@compiles(_Member, "postgresql")
def _json_member(element: _Member, compiler: SQLCompiler, **how: Any) -> str:  # noqa: ANN401 -- as above
    column, name = (compiler.process(given, **how) for given in element.clauses)
    return f"(CAST({column} AS json) ->> {name})"


class ReadTx:
    """A transaction that sees one snapshot and cannot write. `now` is the moment it began.

    What a statement asks by name is given with it. One that is made once and kept costs a tenth of one made each time.
    """

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self.now = now

    def all(self, statement: Executable, **given: object) -> Sequence[Row[Any]]:
        """Return all rows."""
        return self._connection.execute(statement, given).all()

    def first(self, statement: Executable, **given: object) -> Row[Any] | None:
        """Return the first row, or None."""
        return self._connection.execute(statement, given).first()

    def scalar(self, statement: Executable, **given: object) -> Any:  # noqa: ANN401 -- a column may hold anything
        """Return the first column of the first row, or None."""
        return self._connection.execute(statement, given).scalar()

    def scalars(self, statement: Executable, **given: object) -> Sequence[Any]:
        """Return the first column of all rows."""
        return self._connection.execute(statement, given).scalars().all()


class Tx(ReadTx):
    """A transaction that may write. What it announces wakes the watchers after it has committed."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        super().__init__(connection, now)
        self.announced: set[str] = set()
        self.later: list[Callable[[], object]] = []

    def execute(self, statement: Executable, **given: object) -> int:
        """Execute, and return how many rows were touched."""
        return self._connection.execute(statement, given).rowcount

    def put(self, statement: Insert, rows: Sequence[Mapping[str, Any]]) -> list[Row[Any]]:
        """Insert each of the rows, those of one key in their order; return what is returned of each, in no order."""
        done = self._execute_all(statement, rows) if rows else ()
        return [row for result in done if result.returns_rows for row in result]

    def _execute_all(self, statement: Insert, rows: Sequence[Mapping[str, Any]]) -> Iterable[CursorResult[Any]]:
        return [self._connection.execute(statement, rows)]

    def lock(self, names: Iterable[str]) -> None:
        """Have these names to oneself until the transaction is over. A single writer has them anyway."""

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


class Db(ABC):
    """A database that is open between `start` and `close`. The tables are there already.

    `shared` is whether other processes may be at work on it too.
    """

    shared = False

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._watches: set[Watch] = set()

    @abstractmethod
    async def start(self) -> None:
        """Open it."""

    @abstractmethod
    async def close(self) -> None:
        """Finish what was asked for, then let go of it."""

    @abstractmethod
    async def write(self, body: Callable[[Tx], R]) -> R:
        """Run the body in a transaction and return what it returns, after the commit."""

    @abstractmethod
    async def read(self, body: Callable[[ReadTx], R]) -> R:
        """Run the body on one snapshot of the database."""

    async def elected(self, office: str) -> bool:
        """Whether this process is the one that does something for all; asked again, as long as it does it."""
        return bool(office)  # a database that no other process uses

    @contextmanager
    def watch(self, channels: Iterable[str]) -> Iterator[Watch]:
        """Watch these channels while the block runs."""
        watch = Watch(channels)
        self._watches.add(watch)
        try:
            yield watch
        finally:
            self._watches.discard(watch)


def call(body: Callable[[T], R], tx: T) -> R:
    """Run a body."""
    try:
        return body(tx)
    except StopIteration as error:  # no future takes it: its caller would wait for ever
        raise RuntimeError("StopIteration in a transaction") from error
