import asyncio
import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, ForeignKey, Integer, LargeBinary, MetaData, Table, insert, select, text
from sqlalchemy.exc import DatabaseError, IntegrityError, OperationalError

from huleedu.platform.clock import Clock
from huleedu.platform.db import Db, ReadTx, Timestamp, Tx, sqlite
from huleedu.platform.errors import Retry

tables = MetaData()
thing = Table("thing", tables, Column("id", Integer, primary_key=True), Column("at", Timestamp))
part = Table("part", tables, Column("thing", ForeignKey("thing.id", deferrable=True, initially="DEFERRED")))
bulk = Table("bulk", tables, Column("bytes", LargeBinary))


@pytest.fixture(autouse=True)
async def _tables(db: Db) -> None:
    await db.write(lambda tx: tables.create_all(tx._connection))


def add(number: int) -> Callable[[Tx], int]:
    def body(tx: Tx) -> int:
        tx.announce(str(number))
        return tx.execute(insert(thing).values(id=number))

    return body


def ids(tx: ReadTx) -> list[int]:
    return list(tx.scalars(select(thing.c.id).order_by(thing.c.id)))


async def together(db: Db, *bodies: Callable[[Tx], Any]) -> list[Any]:
    """Have the bodies run in one group, however slow: all wait behind the one that runs first."""
    begun, asked = threading.Event(), threading.Event()

    def first(_tx: Tx) -> None:
        begun.set()
        asked.wait()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huleedu.platform.db.sqlite.GROUP_SECONDS", math.inf)
        running = asyncio.ensure_future(db.write(first))
        await asyncio.to_thread(begun.wait)
        waiting = asyncio.gather(*(db.write(body) for body in bodies), return_exceptions=True)
        await asyncio.sleep(0)  # each has asked
        asked.set()
        outcomes = await waiting
        await asyncio.gather(running, return_exceptions=True)
    return outcomes


async def test_what_a_body_raises_is_its_callers_alone(db: Db) -> None:
    def bad(tx: Tx) -> None:
        add(2)(tx)
        raise KeyError(2)

    def empty(tx: Tx) -> None:
        add(3)(tx)
        next(iter(()))

    with db.watch(["1", "2", "3", "4"]) as watch:
        await watch.take()
        outcomes = await together(db, add(1), bad, empty, add(4))
        assert await watch.take() == {"1", "4"}
    assert [outcomes[0], outcomes[3]] == [1, 1]
    assert isinstance(outcomes[1], KeyError)
    assert isinstance(outcomes[2], RuntimeError)
    assert await db.read(ids) == [1, 4]


async def test_a_failed_commit_fails_all_of_its_group_and_announces_nothing(db: Db) -> None:
    with db.watch(["1", "2", "3"]) as watch:
        await watch.take()
        outcomes = await together(db, add(1), lambda tx: tx.execute(insert(part).values(thing=-1)), add(2))
        assert [type(outcome) for outcome in outcomes] == [IntegrityError] * 3
        assert await db.read(ids) == []
        await db.write(add(3))
        assert await watch.take() == {"3"}


async def test_a_body_that_loses_the_whole_transaction_takes_its_group_with_it_and_says_why(db: Db) -> None:
    lose = text("INSERT OR ROLLBACK INTO thing (id) VALUES (1)")
    outcomes = await together(db, add(1), lambda tx: tx.execute(lose), add(2))
    assert [type(outcome) for outcome in outcomes] == [IntegrityError, IntegrityError, int]
    assert await db.read(ids) == [2]


async def test_a_full_disk_passes_and_a_wrong_statement_does_not(db: Db) -> None:
    def hog(tx: Tx) -> None:
        pages = tx.scalar(text("PRAGMA page_count"))
        tx.execute(text(f"PRAGMA max_page_count={pages + 2}"))
        tx.execute(insert(bulk).values(bytes=bytes(1_000_000)))

    outcomes = await together(db, hog, lambda tx: tx.execute(text("INSERT INTO nowhere VALUES (1)")))
    assert isinstance(outcomes[0], Retry)
    assert isinstance(outcomes[1], OperationalError)
    await db.write(lambda tx: tx.execute(text("PRAGMA max_page_count=1000000")))
    assert await db.write(add(1)) == 1


async def test_it_is_started_when_its_writer_has_connected(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*given: Any) -> None:  # noqa: ANN401 -- the driver's connection, the pool's record
        connecting.set()
        may_go_on.wait()
        configure(*given)

    configure, connecting, may_go_on = sqlite._configure, threading.Event(), threading.Event()
    monkeypatch.setattr(sqlite, "_configure", slow)
    db = sqlite.SqliteDb(tmp_path / "new.db", clock)
    starting = asyncio.ensure_future(db.start())
    await asyncio.to_thread(connecting.wait)
    early = starting.done()
    may_go_on.set()
    await starting
    await db.close()
    assert not early


async def test_a_writer_that_cannot_connect_says_why(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "letter.db"
    path.write_bytes(b"Dear Anna, " * 100)
    db = sqlite.SqliteDb(path, clock)
    with pytest.raises(DatabaseError, match="not a database"):
        await db.start()
    await db.close()


async def test_it_is_durable_and_says_when_it_is_closed(db: Db) -> None:
    def pragmas(tx: Tx) -> list[object]:
        return [tx.scalar(text(f"PRAGMA {name}")) for name in ("journal_mode", "synchronous", "foreign_keys")]

    assert await db.write(pragmas) == ["wal", 2, 1]
    await db.close()
    with pytest.raises(RuntimeError, match="not open"):
        await db.write(add(1))
