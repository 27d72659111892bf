"""What is special to a database that is one file."""

import sqlite3
from contextlib import closing

import pytest

from tests.service.school import School
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
