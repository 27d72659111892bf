"""The migrations make exactly the tables that the code names, whoever runs them and how often."""

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

import huleedu.services  # noqa: F401 -- names every table
from huleedu.platform.db import metadata
from huleedu.platform.errors import Usage
from huleedu.platform.installation import DATABASE
from huleedu.platform.migrate import migrate

HULEEDU = Path(sys.executable).with_name("huleedu")


def schema(path: Path) -> list[tuple[str, ...]]:
    with sqlite3.connect(path) as connection:
        found = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name").fetchall()
    connection.close()
    return found


def test_the_migrations_give_the_tables_of_the_code(tmp_path: Path) -> None:
    path = tmp_path / DATABASE
    migrate(path)
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()
    sql = " ".join(row[3] or "" for row in schema(path))
    assert sql.count("AUTOINCREMENT") == sum(
        bool(table.dialect_options["sqlite"]["autoincrement"]) for table in metadata.tables.values()
    )
    assert sql.count("WITHOUT ROWID") == sum(
        table.dialect_options["sqlite"]["with_rowid"] is False for table in metadata.tables.values()
    )


def test_running_them_twice_or_at_once_is_harmless(tmp_path: Path) -> None:
    once = tmp_path / "once"
    once.mkdir()
    revisions = migrate(once / DATABASE)
    assert migrate(once / DATABASE) == revisions
    both = tmp_path / "both"
    command = [str(HULEEDU), "migrate", "--data-dir", str(both)]
    runs = [subprocess.Popen(command, text=True, stdout=-1, stderr=-1) for _ in range(2)]
    told = [(*run.communicate(timeout=30), run.returncode) for run in runs]
    assert 0 in {code for _, _, code in told}
    for out, err, code in told:
        assert (code == 0 and out.split() == revisions) or (code == 2 and "Another HuleEdu uses" in err), told
    assert schema(both / DATABASE) == schema(once / DATABASE)


KILLED = """
import os, signal, sys
from pathlib import Path
from sqlalchemy import Engine, event
from huleedu.platform.migrate import migrate

@event.listens_for(Engine, "after_cursor_execute")
def die(_connection, _cursor, statement, *_):
    if sys.argv[2] in statement:
        os.kill(os.getpid(), signal.SIGKILL)

print(*migrate(Path(sys.argv[1])))
"""


@pytest.mark.parametrize("last", ["CREATE TABLE alembic_version", "DROP TABLE token", "INTO alembic_version"])
def test_a_server_killed_on_the_way_leaves_a_database_as_it_was(tmp_path: Path, last: str) -> None:
    path = tmp_path / DATABASE
    command = [sys.executable, "-c", KILLED, str(path)]
    assert subprocess.run([*command, last], check=False, timeout=30).returncode == -signal.SIGKILL
    assert schema(path) == []
    at_once = [subprocess.Popen([*command, "never"], text=True, stdout=-1) for _ in range(2)]
    assert {run.communicate(timeout=30)[0] for run in at_once} == {" ".join(migrate(path)) + "\n"}
    migrate(tmp_path / "other")
    assert schema(path) == schema(tmp_path / "other")


def test_a_newer_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / DATABASE
    migrate(path)
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO alembic_version VALUES ('gateway_9999')")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(Usage, match="made by a newer HuleEdu"):
        migrate(path)
    assert path.read_bytes() == before
