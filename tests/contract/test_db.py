"""What every database does: the same bodies with the same outcome, however many run at once."""

import asyncio
import contextvars
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Boolean, Column, ForeignKey, Integer, MetaData, Table, Text, func, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from huleedu.platform.clock import Clock
from huleedu.platform.db import Big, Db, ReadTx, Timestamp, Tx, among, each, insert, member
from huleedu.platform.db.postgres import PostgresDb
from tests.given import DATABASES

pytestmark = pytest.mark.usefixtures("databases")
tables = MetaData()
thing = Table("thing", tables, Column("id", Integer, primary_key=True), Column("at", Timestamp), Column("name", Text))
part = Table("part", tables, Column("thing", ForeignKey("thing.id", deferrable=True, initially="DEFERRED")))
queue = Table("queue", tables, Column("place", Big, primary_key=True, autoincrement=True), Column("name", Text))
row = Table(
    "row",
    tables,
    Column("key", Text, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("note", Text),
    Column("size", Big),
    Column("over", Boolean),
    Column("at", Timestamp),
)
ROW: dict[str, Any] = {"number": 1, "version": 1, "note": None, "size": None, "over": None, "at": None}
PUT = insert(row)
NEWEST = PUT.on_conflict_do_update(
    index_elements=["key", "number"],
    set_={"version": PUT.excluded.version, "note": func.coalesce(PUT.excluded.note, row.c.note)},
    where=row.c.version < PUT.excluded.version,
).returning(row.c.key, row.c.version)


@pytest.fixture
async def db(engine: str, tmp_path: Path, clock: Clock) -> AsyncIterator[Db]:
    """The database as a process of a service has it, with all its connections."""
    url = await DATABASES.url(tmp_path)
    db = PostgresDb(url, clock) if engine == "postgres" else await DATABASES.of(tmp_path, clock)
    await db.start()
    await db.write(lambda tx: tables.create_all(tx._connection))
    yield db
    await db.close()


def add(number: int, name: str = "") -> Callable[[Tx], int]:
    def body(tx: Tx) -> int:
        tx.announce(str(number))
        return tx.execute(insert(thing).values(id=number, name=name))

    return body


def ids(tx: ReadTx) -> list[int]:
    return list(tx.scalars(select(thing.c.id).order_by(thing.c.id)))


def names(tx: ReadTx) -> list[str]:
    return list(tx.scalars(select(thing.c.name).order_by(thing.c.name)))


async def test_what_a_body_raises_is_its_callers_alone_and_is_undone(db: Db) -> None:
    def bad(tx: Tx) -> None:
        add(2)(tx)
        tx.after_commit(told.append, 2)
        raise KeyError(2)

    def empty(tx: Tx) -> None:
        add(3)(tx)
        next(iter(()))

    def good(tx: Tx) -> int:
        tx.after_commit(told.append, 4)
        return add(4)(tx)

    told: list[int] = []
    outcomes = await asyncio.gather(*(db.write(body) for body in (add(1), bad, empty, good)), return_exceptions=True)
    assert [outcomes[0], outcomes[3]] == [1, 1]
    assert isinstance(outcomes[1], KeyError)
    assert isinstance(outcomes[2], RuntimeError)
    assert await db.read(ids) == [1, 4]
    assert told == [4]


async def test_what_is_found_wrong_only_at_the_commit_is_told_and_undone(db: Db) -> None:
    def orphan(tx: Tx) -> None:
        add(1)(tx)
        tx.after_commit(told.append, 1)
        tx.execute(insert(part).values(thing=-1))

    told: list[int] = []
    with pytest.raises(IntegrityError):
        await db.write(orphan)
    assert await db.read(ids) == told == []


async def test_a_transaction_goes_on_when_its_caller_has_gone(db: Db) -> None:
    gone = asyncio.ensure_future(db.write(add(1)))
    await asyncio.sleep(0)
    gone.cancel()
    await db.write(add(2))
    while await db.read(ids) != [1, 2]:
        pass
    assert gone.cancelled()


async def test_a_read_sees_one_snapshot(db: Db) -> None:
    def twice(tx: ReadTx) -> list[list[int]]:
        before = ids(tx)
        loop.call_soon_threadsafe(begun.set)
        while not written:
            tx.scalar(select(func.count()))
        return [before, ids(tx)]

    loop, begun = asyncio.get_running_loop(), asyncio.Event()
    written: list[int] = []
    await db.write(add(1))
    reading = asyncio.ensure_future(db.read(twice))
    await begun.wait()
    written.append(await db.write(add(2)))
    assert await reading == [[1], [1]]
    assert await db.read(ids) == [1, 2]


async def test_a_read_cannot_write(db: Db) -> None:
    with pytest.raises(DBAPIError, match=r"read-?only"):
        await db.read(lambda tx: tx.all(insert(thing).values(id=3)))
    with pytest.raises(RuntimeError, match="StopIteration"):
        await db.read(lambda _tx: next(iter(())))
    await db.write(add(1))
    assert await db.read(ids) == [1]


async def test_whoever_holds_a_name_decides_alone(db: Db) -> None:
    def count(tx: Tx) -> None:
        tx.lock(["another", "the counter"])
        counted = tx.scalar(select(thing.c.name).where(thing.c.id == 1))
        for _ in range(5):
            tx.scalar(select(func.count()))
        tx.execute(update(thing).where(thing.c.id == 1).values(name=str(int(counted) + 1)))

    await db.write(add(1, "0"))
    await asyncio.gather(*(db.write(count) for _ in range(20)))
    assert await db.read(names) == ["20"]


async def test_names_asked_for_in_any_order_come_to_everybody(db: Db) -> None:
    def hold(some: list[str], number: int) -> Callable[[Tx], int]:
        def body(tx: Tx) -> int:
            tx.lock(some)
            return add(number)(tx)

        return body

    several = [str(number) for number in range(50)]
    await asyncio.gather(*(db.write(hold(several[:: (-1) ** number], number)) for number in range(20)))
    assert await db.read(ids) == list(range(20))


async def test_what_is_announced_comes_with_the_commit_or_never(db: Db) -> None:
    def undone(tx: Tx) -> None:
        add(1)(tx)
        raise KeyError

    with db.watch(["1", "2"]) as watch, db.watch(["3"]) as other:
        assert await watch.take() == {"1", "2"}
        await other.take()
        with pytest.raises(KeyError):
            await db.write(undone)
        await db.write(add(2))
        news: set[str] = set()
        while "2" not in news:
            news |= await watch.take()
    assert await db.read(ids) == [2]


async def test_bodies_run_in_their_callers_context_and_moments_keep_their_zone(db: Db) -> None:
    who = contextvars.ContextVar[str]("who")
    who.set("the caller")
    told: list[str] = []

    def body(tx: Tx) -> str:
        tx.after_commit(lambda: told.append(who.get()))
        return who.get()

    assert await db.write(body) == await db.read(lambda _tx: who.get()) == "the caller"
    assert told == ["the caller"]
    there = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    await db.write(lambda tx: tx.execute(insert(thing).values(id=1, at=there)))
    back = await db.read(lambda tx: tx.scalar(select(thing.c.at)))
    assert back == there
    assert back.utcoffset() == timedelta(0)


async def test_conflicts_many_values_members_of_objects_and_large_numbers_mean_the_same(db: Db) -> None:
    def body(tx: Tx) -> None:
        rows = [{"id": number, "name": f'{{"run_id": "run {number}", "none": null}}'} for number in range(2_000)]
        tx.put(insert(thing), rows)
        again = insert(thing)
        tx.put(
            again.on_conflict_do_update(index_elements=["id"], set_={"name": again.excluded.name}),
            [{"id": 7, "name": "{}"}, {"id": 7, "name": '{"run_id": "later"}'}],
        )
        assert tx.execute(insert(thing).values(id=7).on_conflict_do_nothing()) == 0
        assert tx.execute(update(thing).where(thing.c.id < 10).values(at=tx.now)) == 10
        tx.execute(insert(queue).values(place=2**40, name="far"))

    await db.write(body)
    wanted = ["run 3", "later", "unknown", "quoted \"'\\ å"]
    run_id = member(thing.c.name, "run_id")
    found = select(run_id).where(among(run_id, "wanted")).order_by(thing.c.id)
    assert await db.read(lambda tx: tx.scalars(found, wanted=wanted)) == ["run 3", "later"]
    assert await db.read(lambda tx: tx.scalar(select(member(thing.c.name, "none")).limit(1))) is None
    assert await db.read(lambda tx: tx.scalars(select(each("wanted").c.value), wanted=wanted)) == wanted
    assert await db.read(lambda tx: tx.scalar(select(queue.c.place))) == 2**40


def rows(tx: ReadTx) -> list[dict[str, Any]]:
    return [dict(found._mapping) for found in tx.all(select(row).order_by(row.c.key, row.c.number))]


async def test_what_is_put_comes_back_as_it_was(db: Db) -> None:
    notes = ["", "NULL", '{"a": [1, null]}', "{a,b}", "quoted \"'\\ å\n", None]
    given = [{**ROW, "key": str(number), "note": note} for number, note in enumerate(notes)]
    given.append({**ROW, "key": "7", "number": -1, "version": 2**31 - 1, "size": 2**40, "over": True})
    given.append({**ROW, "key": "8", "over": False, "at": datetime(2026, 1, 1, 12, 0, 0, 1, tzinfo=UTC)})
    assert await db.write(lambda tx: tx.put(PUT, given)) == []
    assert await db.write(lambda tx: tx.put(PUT, [])) == []
    assert await db.read(rows) == given


async def test_rows_of_one_key_are_put_one_after_the_other_and_nothing_older_over_newer(db: Db) -> None:
    def said(*versions: tuple[str, int, str | None]) -> list[dict[str, Any]]:
        return [{**ROW, "key": key, "version": version, "note": note} for key, version, note in versions]

    first = await db.write(lambda tx: tx.put(NEWEST, said(("there", 5, "is newer"))))
    several = said(("there", 4, "older"), ("new", 1, "kept"), ("late", 3, "newer"), ("new", 2, None), ("late", 2, "x"))
    touched = await db.write(lambda tx: tx.put(NEWEST, several))
    assert first == [("there", 5)]
    assert sorted(touched) == [("late", 3), ("new", 1), ("new", 2)]
    wanted = [("late", 3, "newer"), ("new", 2, "kept"), ("there", 5, "is newer")]
    assert [(found["key"], found["version"], found["note"]) for found in await db.read(rows)] == wanted


async def test_rows_that_are_yet_to_be_numbered_are_put_in_their_order(db: Db) -> None:
    given = [{"name": str(number * 7 % 1_000)} for number in range(3_000)]
    await db.write(lambda tx: tx.put(insert(queue), given))
    assert await db.read(lambda tx: tx.scalars(select(queue.c.name).order_by(queue.c.place))) == [
        one["name"] for one in given
    ]


async def test_rows_given_in_any_order_deadlock_nobody(db: Db) -> None:
    def say(version: int) -> Callable[[Tx], None]:
        def body(tx: Tx) -> None:
            begun.append(version)
            given = [{**ROW, "key": str(number), "version": version} for number in range(200)]
            tx.put(NEWEST, given[:: (-1) ** version])

        return body

    begun: list[int] = []
    await asyncio.gather(*(db.write(say(version)) for version in range(1, 41)))
    assert sorted(begun) == list(range(1, 41)), "none was run again"
    assert {found["version"] for found in await db.read(rows)} == {40}


async def test_it_says_when_it_is_not_open(db: Db) -> None:
    await db.write(add(1))
    await db.close()
    with pytest.raises(RuntimeError, match="not open"):
        await db.write(add(2))
