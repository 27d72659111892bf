"""What is special to a database that is one file."""

import re
import sqlite3
from contextlib import closing
from typing import Any

import pytest
from sqlalchemy import Engine, event

from huleedu.aggregator import feed
from huleedu.aggregator.handlers import FEED_KEPT
from huleedu.platform.db import metadata
from tests.service.school import TEACHER, School
from tests.service.test_erasure import erase


@pytest.fixture(scope="module")
def engine() -> str:
    """What PostgreSQL keeps, and where, is its operator's."""
    return "sqlite"


async def test_the_file_of_the_database_forgets_what_is_erased(school: School) -> None:
    word, path = "Okapiwombat", school.directory / "huleedu.db"
    batch_id = await school.batch(*(f"{word} {number} {'long ' * 40}" for number in range(30)))

    def bytes_of_it() -> bytes:
        """Return the whole file, with what had been written beside it only."""
        with closing(sqlite3.connect(path)) as connection:
            while connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                pass
        return path.read_bytes()

    assert word.encode() in bytes_of_it()
    assert not await erase(school, batch_id)
    await school.settle()
    await school.sweep()
    await school.settle()
    assert await erase(school, batch_id)
    assert word.encode() not in bytes_of_it()


AT_HAND = {"generation", "position", "feed_head"}
"""One row; one for each reader, each teacher."""
UNDER_WAY = {"work", "garbage", "dead_letter", "dropped_run", "stopped_run", "late_result"}
"""What is to be done, to be swept; what failed; what was cancelled, and what is heard of it all the same."""
WHOLE = ("SELECT outbox.topic, max(outbox.pos)", 'DELETE FROM outbox WHERE outbox."key"')
"""How this school knows that somebody has yet to hear something; how an erasure ends, in a log that keeps a week."""


async def everything(school: School) -> None:
    """Have a class assessed, read, changed and erased."""
    batch_id = await school.batch("one", "two", "three")
    run_id = await school.start(batch_id)
    await school.settle()
    await school.cancel(batch_id, run_id)
    await school.start(batch_id)
    await school.finish()
    await school.status(batch_id)
    essay_id = (await school.essays(batch_id))[0]["essay_id"]
    await school.ask("aggregator", "GET", f"/users/{TEACHER}/feed", params={"after": "1:0"})
    await school.ask("aggregator", "GET", f"/users/{TEACHER}/batches")
    await school.ask("files", "DELETE", f"/batches/{batch_id}/essays/{essay_id}")
    await school.settle()
    await erase(school, batch_id)
    await school.settle()
    await school.sweep()
    await school.settle()
    assert await erase(school, batch_id)
    await school.db.read(lambda tx: feed.begun_before(tx, tx.now))
    await school.db.write(lambda tx: feed.trim(tx, TEACHER, tx.now - FEED_KEPT, 1))


async def test_nothing_reads_a_table_that_grows_with_the_school(school: School) -> None:
    """What is done for a class costs what the class has. The database itself tells how it goes about a statement."""
    executed: dict[str, Any] = {}

    def keep(*given: Any) -> None:  # noqa: ANN401 -- a connection, a cursor, the statement, its parameters, whether many
        *_, statement, parameters, _context, many = given
        executed[statement] = parameters[0] if many else parameters

    event.listen(Engine, "before_cursor_execute", keep)
    try:
        await everything(school)
    finally:
        event.remove(Engine, "before_cursor_execute", keep)
    with closing(sqlite3.connect(school.directory / "huleedu.db")) as connection:
        steps = {
            (step, statement)
            for statement, parameters in executed.items()
            if statement.startswith(("SELECT", "UPDATE", "DELETE", "INSERT")) and not statement.startswith(WHOLE)
            for *_, step in connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
        }
    assert len(steps) > 50
    growing = "|".join(metadata.tables.keys() - AT_HAND - UNDER_WAY)
    whole = re.compile(rf"SCAN ({growing})\b|SEARCH ({growing})\b.*\((generation|grp|topic)=\?\)")
    assert not [(step, statement) for step, statement in steps if whole.match(step)]
