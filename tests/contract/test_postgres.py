"""What is PostgreSQL's own: others use the database too, hold what is needed, and it may go away and come back."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, suppress
from functools import partial
from itertools import cycle
from pathlib import Path
from select import select as select_ready
from typing import Any

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Column, Connection, Integer, MetaData, Table, event, func, insert, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

import huleedu.services  # noqa: F401 -- names every table
from huleedu.aggregator import store as views
from huleedu.contracts.batch import BatchErasureReportedV1
from huleedu.contracts.messages import decode
from huleedu.platform import migrate
from huleedu.platform.clock import Clock
from huleedu.platform.context import new_id
from huleedu.platform.db import Db, ReadTx, Tx, metadata, postgres
from huleedu.platform.db import insert as upsert
from huleedu.platform.db.postgres import PostgresDb
from huleedu.platform.errors import NotYet, Unavailable, Usage
from huleedu.platform.log import store
from huleedu.platform.migrate import migrate_postgres
from tests.given import DATABASES
from tests.servers import ENGINE, Servers

pytestmark = [
    *ENGINE,
    pytest.mark.usefixtures("databases"),
    pytest.mark.parametrize("engine", ["postgres"], indirect=True),
]
tables = MetaData()
counter = Table("counter", tables, Column("id", Integer, primary_key=True), Column("number", Integer))


@pytest.fixture
async def url(engine: str, tmp_path: Path) -> str:
    assert engine == "postgres"
    return await DATABASES.url(tmp_path)


@pytest.fixture
async def db(url: str, clock: Clock) -> AsyncIterator[Db]:
    db = PostgresDb(url, clock)
    await db.start()
    await db.write(lambda tx: tables.create_all(tx._connection))
    await db.write(lambda tx: tx.put(insert(counter), [{"id": number, "number": 0} for number in (1, 2)]))
    yield db
    await db.close()


def raised(number: int) -> Callable[[Tx], int]:
    return lambda tx: tx.execute(update(counter).where(counter.c.id == number).values(number=counter.c.number + 1))


def numbers(tx: ReadTx) -> list[int]:
    return list(tx.scalars(select(counter.c.number).order_by(counter.c.id)))


async def held(db: Db, held_by: Callable[[Tx], object], until: asyncio.Event) -> asyncio.Future[None]:
    """Begin a transaction that has done this and is not over until then."""

    def body(tx: Tx) -> None:
        held_by(tx)
        begun.set()
        while not until.is_set():
            tx.scalar(select(func.pg_sleep(0.01)))

    begun = asyncio.Event()
    running = asyncio.ensure_future(db.write(body))
    await begun.wait()
    return running


async def test_what_is_shown_of_a_class_is_not_looked_for_among_those_of_the_whole_school(db: Db) -> None:
    def plans(tx: Tx) -> list[str]:
        executed: dict[str, Any] = {}

        def keep(*given: Any) -> None:  # noqa: ANN401 -- a connection, a cursor, the statement, its parameters, …
            executed[given[2]] = given[3]

        connection = tx._connection
        school = "FROM generate_series(1, 1000) AS b, generate_series(1, 30) AS e"
        whole = "essay_phase_view (generation, essay_id, phase, batch_id, run_id, version, status, metrics)"
        essays = f"INSERT INTO essay_view SELECT 1, b || '-' || e, b, 'anna', '', '', false {school}"
        phases = f"INSERT INTO {whole} SELECT 1, b || '-' || e, 'nlp', b, 'run', 1, 'completed', '{{}}' {school}"
        for what in (essays, phases, "ANALYZE essay_view, essay_phase_view"):
            connection.exec_driver_sql(what)
        event.listen(connection, "before_cursor_execute", keep)
        assert len(views.essays(tx, ["7"])) == 30
        assert len(views.essays(tx, ["7"], ["7-1", "7-2"])) == 2
        assert views.essay_totals(tx, ["7"]) == {"7": (30, 0)}
        views.counts(tx, ["7"])
        event.remove(connection, "before_cursor_execute", keep)
        return [
            line
            for statement, parameters in executed.items()
            for (line,) in connection.exec_driver_sql(f"EXPLAIN {statement}", parameters)
        ]

    found = await db.write(plans)
    assert sum("Scan on essay" in line or "using essay" in line for line in found) >= 6
    assert not [line for line in found if "Seq Scan on essay" in line]


async def test_however_many_rows_are_put_they_are_one_statement_that_is_prepared_once(db: Db) -> None:
    def told(tx: Tx) -> list[tuple[str, bool]]:
        executed: list[tuple[str, bool]] = []

        def keep(*given: Any) -> None:  # noqa: ANN401 -- a connection, a cursor, the statement, …, whether many
            executed.append((given[2], given[5]))

        event.listen(tx._connection, "before_cursor_execute", keep)
        for last in (4, 2_000):
            tx.put(put, [{"id": number, "number": last} for number in range(last)])
        event.remove(tx._connection, "before_cursor_execute", keep)
        return executed

    statement = upsert(counter)
    put = statement.on_conflict_do_update(index_elements=["id"], set_={"number": statement.excluded.number})
    executed = await db.write(told)
    assert executed == [(executed[0][0], False)] * 2
    assert await db.read(numbers) == [2_000] * 2_000


@pytest.mark.filterwarnings("ignore:Did not recognize type 'xid8'")
async def test_the_migrations_give_the_tables_of_the_code_whoever_runs_them_and_how_often() -> None:
    new = await DATABASES.create()
    revisions = await asyncio.gather(*(migrate_postgres(new) for _ in range(3)))
    assert revisions == [await migrate_postgres(new)] * 3
    engine = create_async_engine("postgresql+asyncpg://", async_creator=lambda: asyncpg.connect(new))
    async with engine.connect() as connection:
        changes = await connection.run_sync(differences)
        unlike = await connection.execute(text(migrate.ALIKE))
        assert unlike.all() == []
    await engine.dispose()
    assert changes == [("remove_column", "outbox", "xid")], "which is for the relay, and on PostgreSQL only"


def differences(connection: Connection) -> list[tuple[str, ...]]:
    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
    found = compare_metadata(context, metadata)
    return [(kind, *(str(getattr(what, "name", what)) for what in rest if what is not None)) for kind, *rest in found]


async def test_a_newer_database_is_refused_and_one_that_is_not_there_is_told() -> None:
    new = await DATABASES.create()
    await migrate_postgres(new)
    connection = await asyncpg.connect(new)
    await connection.execute("INSERT INTO alembic_version VALUES ('gateway_9999')")
    await connection.close()
    with pytest.raises(Usage, match="made by a newer HuleEdu"):
        await migrate_postgres(new)
    with pytest.raises(Usage, match="HULEEDU_DATABASE_URL"):
        await migrate_postgres(f"{new}_elsewhere")


async def test_a_deadlock_is_run_again_and_done_once(db: Db) -> None:
    def both(first: int, second: int) -> Callable[[Tx], None]:
        def body(tx: Tx) -> None:
            raised(first)(tx)
            tried.append(first)
            while len(set(tried)) < 2:
                tx.scalar(select(func.pg_sleep(0.01)))
            raised(second)(tx)

        return body

    tried: list[int] = []
    await asyncio.gather(db.write(both(1, 2)), db.write(both(2, 1)))
    assert await db.read(numbers) == [2, 2]
    assert len(tried) >= 3, "more, if the victim was quicker than whom it had made way for"


def limit(tx: ReadTx, setting: str, most: str) -> None:
    """Have a time-out of the server's in this transaction only: a slow machine may overstay it in any other."""
    tx.scalar(select(func.set_config(setting, most, True)))  # noqa: FBT003 -- local


def idles(tx: ReadTx) -> None:
    """Say nothing, and do nothing else either, until the server has had enough of it."""
    limit(tx, "idle_in_transaction_session_timeout", "100ms")
    connection: Any = tx._connection.connection.driver_connection
    select_ready([connection._transport.get_extra_info("socket")], [], [])
    tx.scalar(text("SELECT 1"))


def is_ended(tx: ReadTx) -> None:
    tx.scalar(text("SELECT pg_terminate_backend(pg_backend_pid())"))


def breaks(tx: ReadTx) -> None:
    """Lose the connection while nobody waits for an answer on it."""
    tx.scalar(text("SELECT 1"))
    tx._connection.connection.driver_connection.terminate()  # type: ignore[union-attr]
    tx.scalar(text("SELECT 1"))


@pytest.mark.parametrize("cut", [idles, is_ended, breaks])
async def test_a_transaction_whose_connection_is_cut_before_the_commit_is_run_again_and_done_once(
    url: str, clock: Clock, db: Db, cut: Callable[[ReadTx], None]
) -> None:
    other, ran = PostgresDb(url, clock), cycle([True, False])
    await other.start()

    def body(tx: Tx) -> int:
        raised(1)(tx)
        if next(ran):
            cut(tx)
        return numbers(tx)[0]

    def looked(tx: ReadTx) -> list[int]:
        found = numbers(tx)
        if next(ran):
            cut(tx)
        return found

    assert await other.write(body) == 1
    assert await other.read(looked) == [1, 0]
    await other.close()
    assert await db.read(numbers) == [1, 0]


async def test_who_is_cut_off_always_is_told_and_so_is_who_is_within_the_commit(db: Db) -> None:
    """Whoever is cut off within the commit cannot know what was done: it is not done twice."""

    def body(tx: Tx) -> None:
        tried.append(raised(1)(tx))
        is_ended(tx)

    tried: list[int] = []
    with pytest.raises(Unavailable):
        await db.write(body)
    assert len(tried) == postgres.TRIES

    def ended_by_its_commit(tx: Tx) -> None:
        for statement in ENDED_BY_ITS_COMMIT:
            tx._connection.execute(text(statement))
        tried.append(raised(1)(tx))

    tried.clear()
    with pytest.raises(Unavailable):
        await db.write(ended_by_its_commit)
    assert tried == [1]


ENDED_BY_ITS_COMMIT = (
    """
    CREATE FUNCTION ended() RETURNS trigger LANGUAGE plpgsql
    AS 'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END'
    """,
    """
    CREATE CONSTRAINT TRIGGER ended AFTER UPDATE ON counter DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION ended()
    """,
)


async def test_a_server_that_was_started_again_is_not_noticed(servers: Servers, db: Db) -> None:
    await asyncio.gather(*(db.write(raised(number)) for number in (1, 2) for _ in range(20)))
    servers.kill("postgres")
    servers.up("postgres")
    assert await db.write(raised(1)) == 1
    assert await db.read(numbers) == [21, 20]


async def test_a_lock_that_does_not_come_passes_and_a_statement_that_never_ends_does_not(
    url: str, db: Db, clock: Clock
) -> None:
    def locked_out(tx: Tx) -> None:
        limit(tx, "lock_timeout", "50ms")
        raised(1)(tx)

    def endless(tx: Tx) -> None:
        limit(tx, "statement_timeout", "200ms")
        tx.scalar(select(func.pg_sleep(60)))

    other, over = PostgresDb(url, clock), asyncio.Event()
    await other.start()
    running = await held(db, raised(1), over)
    with pytest.raises(Unavailable):
        await other.write(locked_out)
    with pytest.raises(DBAPIError, match="statement timeout"):
        await other.write(endless)
    over.set()
    await running
    assert await other.write(raised(1)) == 1
    await other.close()


async def test_no_statement_lock_or_idle_transaction_holds_others_up_for_ever(db: Db) -> None:
    limits = {"statement_timeout": "30s", "lock_timeout": "5s", "idle_in_transaction_session_timeout": "10s"}

    def shown(tx: ReadTx) -> dict[str, Any]:
        return {name: tx.scalar(text(f"SHOW {name}")) for name in limits}

    assert (await db.read(shown), await db.write(shown)) == (limits, limits)


async def test_what_another_process_announces_is_heard_by_one_connection_whatever_the_watches(
    url: str, db: Db, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "FLOOR_SECONDS", 3600.0)
    here = PostgresDb(url, clock)
    await here.start()
    with here.watch(["anything"]) as watch:
        for _ in range(2):
            await watch.take()  # at first, and when it is heard from now on
    while await db.read(listeners) < 2:
        """Its own listener connects."""
    with ExitStack() as stack:
        watches = [stack.enter_context(here.watch([str(number), "all"])) for number in range(100)]
        for watch in watches:
            await watch.take()
        await db.write(lambda tx: tx.announce("all"))
        assert [await watch.take() for watch in watches] == [{"all"}] * 100
        assert await db.read(listeners) == 2
    await here.close()
    while await db.read(listeners) != 1:
        pass


def listeners(tx: ReadTx) -> int:
    mine = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'")
    return int(tx.scalar(mine))


async def test_what_a_process_holds_that_was_stopped_within_a_statement_is_let_go_of(
    url: str, db: Db, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "SILENT_SECONDS", 0.0)
    monkeypatch.setitem(postgres.SESSION, "lock_timeout", "50ms")
    monkeypatch.setitem(postgres.SESSION, "idle_in_transaction_session_timeout", "0")
    stopped = await asyncpg.connect(url, server_settings=postgres.SESSION)
    await stopped.execute("BEGIN; UPDATE counter SET number = 7")
    await stopped.prepare("SELECT 1")
    state = "SELECT state FROM pg_stat_activity WHERE query = 'SELECT 1'"
    assert await db.read(lambda tx: tx.scalar(text(state))) == "active", "no time-out of the server's applies"
    while True:
        with suppress(Unavailable):
            assert await db.write(raised(1)) == 1
            break
    assert await db.read(numbers) == [1, 0]
    stopped.terminate()


@pytest.mark.timeout(15, func_only=True)  # its servers may take longer to start
async def test_whoever_watches_looks_again_when_nobody_can_be_heard(db: Db, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PostgresDb, "_hear", lambda *_heard: None)
    with db.watch(["news"]) as watch:
        for _ in range(3):
            assert await watch.take() == {"news"}


async def test_a_killed_server_passes_and_what_is_announced_then_is_heard(servers: Servers, db: Db) -> None:
    with db.watch(["news"]) as watch:
        servers.kill("postgres")
        while await once(db) is not None:
            pass
        with pytest.raises(Unavailable):
            await db.write(raised(1))
        servers.up("postgres")
        while await once(db) is None:
            pass
        while await db.read(listeners) != 1:
            pass
        await db.write(lambda tx: tx.announce("news"))
        assert await watch.take() == {"news"}


async def test_a_server_that_goes_away_while_it_is_being_prepared_is_waited_for(url: str) -> None:
    with pytest.raises(NotYet, match="Cannot open the database"):
        async with migrate.postgres(url) as connection:
            await connection.execute(select(func.pg_terminate_backend(func.pg_backend_pid())))

    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(8)
        writer.write(b"N")  # no TLS
        await reader.read(8)
        writer.close()

    async with await asyncio.start_server(break_off, "127.0.0.1", 0) as server:
        address = f"postgresql://huleedu@127.0.0.1:{server.sockets[0].getsockname()[1]}/huleedu"
        with pytest.raises(NotYet, match="Cannot open the database"):
            await migrate_postgres(address)


async def once(db: Db) -> list[int] | None:
    try:
        return await db.read(numbers)
    except Unavailable:
        return None


async def answered(ask: Callable[[], Awaitable[int]]) -> int:
    """Ask until the database answers: a slow machine may take longer than it waits for that."""
    while True:
        with suppress(Unavailable):
            return await ask()


async def test_a_process_has_the_ten_connections_that_are_stated_and_no_more(url: str, db: Db) -> None:
    mine = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'huleedu'"
    assert await db.elected("relay")
    while not await db.read(listeners):
        pass
    asking = [ask(lambda tx: tx.scalar(select(func.pg_sleep(0.05)))) for ask in (db.read, db.write) for _ in range(20)]
    observer, working, seen = await asyncpg.connect(url), asyncio.gather(*asking), set[int]()
    while not working.done():
        seen.add(await observer.fetchval(mine))
    await working
    await observer.close()
    assert max(seen) == 10, "docs/how-to/use-postgresql.md says so"


async def test_no_connection_is_left_when_it_is_closed(url: str, clock: Clock) -> None:
    for _ in range(5):
        db = PostgresDb(url, clock)
        await db.start()
        await asyncio.gather(*(db.read(lambda tx: tx.scalar(select(func.pg_sleep(0.01)))) for _ in range(20)))
        await db.close()
    connection = await asyncpg.connect(url)
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    while await connection.fetchval(others):
        pass
    await connection.close()


def say(key: str) -> Callable[[Tx], None]:
    return lambda tx: store.append(tx, [BatchErasureReportedV1(batch_id=key, service="files")], event_id=new_id())


def said(tx: ReadTx) -> list[str]:
    return [row.key for row in store.waiting(tx, 10)]


async def test_a_relay_reads_nothing_that_something_earlier_may_still_come_before(db: Db) -> None:
    over = asyncio.Event()
    running = await held(db, say("slow"), over)
    await db.write(say("quick"))
    assert await db.read(said) == []
    over.set()
    await running
    while not await db.read(said):
        pass
    assert await db.read(said) == ["slow", "quick"]


async def test_a_relay_reads_what_was_restored_from_another_servers_copy_and_what_is_behind_it(db: Db) -> None:
    over = asyncio.Event()
    for key in ("first", "restored", "second"):
        await db.write(say(key))
    restored = text("UPDATE outbox SET xid = '9000000000000000000' WHERE key = 'restored'")
    await db.write(lambda tx: tx.execute(restored))
    running = await held(db, say("slow"), over)
    await db.write(say("quick"))
    early = await db.read(said)
    over.set()
    await running
    assert early == ["first", "restored", "second"]


async def test_of_a_key_a_relay_reads_first_what_was_said_first_though_its_transaction_began_later(db: Db) -> None:
    def say(name: str, tx: Tx) -> None:
        store.hold(tx, "g", ["key"])
        store.append(tx, [BatchErasureReportedV1(batch_id="key", service=name)])

    def waited_for_the_key(tx: Tx) -> None:
        store.bury(tx, "g", "another")  # which gives the transaction its number
        began.set()
        say("second", tx)

    def had_the_key(tx: Tx) -> None:
        store.hold(tx, "g", ["key"])
        has.set()
        while not may_go_on.is_set():
            tx.scalar(select(func.pg_sleep(0.01)))
        say("first", tx)

    has, began, may_go_on, over = (asyncio.Event() for _ in range(4))
    first = asyncio.ensure_future(db.write(had_the_key))
    await has.wait()
    second = asyncio.ensure_future(db.write(waited_for_the_key))
    await began.wait()
    running = await held(db, lambda tx: store.bury(tx, "g", "a third"), over)
    may_go_on.set()
    await asyncio.gather(first, second)
    early = await db.read(lambda tx: store.waiting(tx, 10))
    over.set()
    await running
    rows = await db.read(lambda tx: store.waiting(tx, 10))
    assert [decode(row.topic, row.envelope).data.service for row in rows] == ["first", "second"]
    assert early == []


async def test_of_the_processes_on_a_database_one_is_elected_until_it_ends_or_falls_silent(
    db: PostgresDb, url: str, clock: Clock
) -> None:
    other = PostgresDb(url, clock)
    await other.start()
    assert await other.elected("a third"), "and is connected, which may take long"
    assert await db.elected("relay")
    assert (await other.elected("relay"), await other.elected("another")) == (False, True)
    assert await db.elected("relay"), "as long as it asks"
    assert await db._office.fetchval("SHOW idle_session_timeout") == "10s"
    await db._office.execute("SET idle_session_timeout = '100ms'")
    while not await other.elected("relay"):
        """The first says nothing any more."""
    await other.close()
    while not await db.elected("relay"):
        """Its own session was ended: it begins anew."""


async def test_a_server_that_hangs_is_away_and_is_used_again_when_it_answers(
    url: str, clock: Clock, servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(postgres, "CONNECT_SECONDS", 0.5)
    db = PostgresDb(url, clock)
    await db.start()
    count = select(func.count()).select_from(store.outbox)
    reads, writes = (partial(ask, lambda tx: int(tx.scalar(count))) for ask in (db.read, db.write))
    try:
        while not await db.elected("relay"):
            """It may take longer to connect."""
        await asyncio.gather(*(answered(reads) for _ in range(4)))
        with servers.hanging("postgres"):
            asked = [ask() for ask in (reads, writes) for _ in range(30)]
            told = await asyncio.gather(*asked, return_exceptions=True)
            assert {type(one) for one in told} == {Unavailable}
            assert not await db.elected("relay")
        assert await answered(reads) == 0
        assert await answered(writes) == 0
        while not await db.elected("relay"):
            """The session before is missed by the server."""
    finally:
        await db.close()
