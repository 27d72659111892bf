"""Bringing a database to the form that this version of the code expects."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, func, inspect, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from huleedu.platform.db import metadata
from huleedu.platform.db.postgres import passes, sqlstate
from huleedu.platform.errors import NotYet, Usage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncConnection

MIGRATING = 20_261_125
"""The number of the lock that whoever migrates a PostgreSQL database holds; any would do."""
ALIKE = """
    SELECT format('ALTER TABLE %I ALTER COLUMN %I TYPE text COLLATE "C"', table_name, column_name)
    FROM information_schema.columns
    WHERE table_schema = current_schema() AND data_type = 'text' AND collation_name IS DISTINCT FROM 'C'
"""
"""Text compares by its bytes, as in SQLite and Python, whatever the server's locale and its next version think."""
FIRST_SECONDS = 60.0
"""Whoever comes second waits so long for the one who migrates a file already."""
DENIED_STATE = "42501"
NOT_OWNER = (
    "The role of HULEEDU_DATABASE_URL may not do that with the tables: run `huleedu migrate` as their owner, who grants"
    " it what it needs (docs/how-to/use-postgresql.md)."
)
DENIED = """
    SELECT DISTINCT tablename
    FROM pg_tables, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS needed
    WHERE schemaname = current_schema() AND tablename <> 'alembic_version'
        AND NOT has_table_privilege(format('%I', tablename), needed)
    UNION ALL
    SELECT sequencename FROM pg_sequences
    WHERE schemaname = current_schema() AND NOT has_sequence_privilege(format('%I', sequencename), 'USAGE')
"""
LEFT_OPEN_SECONDS = 60.0
HOLDER = """
    SELECT pid, usename, datname, application_name, xact_start
    FROM pg_stat_activity
    WHERE backend_xid = pg_snapshot_xmin(pg_current_snapshot())::xid
        AND (xact_start < clock_timestamp() - make_interval(secs => :seconds)
            OR EXISTS (SELECT FROM outbox WHERE xid > pg_snapshot_xmin(pg_current_snapshot())
                AND xid < pg_snapshot_xmax(pg_current_snapshot())
                AND at < clock_timestamp() - make_interval(secs => :seconds)))
"""
"""The oldest transaction, behind which no relay reads. An ordinary role is not told since when others' are open: theirs
is older than what was said after it began and still waits."""


def config() -> Config:
    """Return the configuration of the one environment, which has a branch for each owner of tables."""
    root = Path(__file__).parents[1]
    branches = [*sorted(root.glob("platform/*/migrations")), *sorted(root.glob("*/migrations"))]
    found = Config()
    found.set_main_option("script_location", str(root / "platform" / "alembic"))
    found.set_main_option("path_separator", "newline")
    found.set_main_option("version_locations", "\n".join(map(str, branches)))
    return found


def migrate(path: Path) -> list[str]:
    """Upgrade the database, made if need be; return the revisions it has now. A newer database is refused.

    The whole upgrade is one transaction: whoever is stopped on the way, or comes second, finds all of it or nothing.
    """
    # The driver would begin before INSERT only, and so commit each CREATE by itself.
    engine = create_engine(
        f"sqlite:///{path}",
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
        connect_args={"timeout": FIRST_SECONDS},
    )
    with engine.begin() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        has = _upgrade(connection, f"{path} was made by a newer HuleEdu", "choose another --data-dir")
    engine.dispose()
    return has


def examine_sqlite(path: Path) -> str:
    """Return what a database of this version is, or raise Usage: what is to be mended there."""
    with create_engine(f"sqlite:///{path}", poolclass=NullPool).connect() as connection:
        _require_tables(connection)
    return f"{path.stat().st_size / 2**20:.1f} MiB"


async def migrate_postgres(url: str) -> list[str]:
    """Upgrade a PostgreSQL database, which must be there; whoever comes second waits for the first."""
    async with postgres(url) as connection:
        await connection.execute(select(func.pg_advisory_xact_lock(MIGRATING)))
        newer = "HULEEDU_DATABASE_URL names a database that was made by a newer HuleEdu"
        has = await connection.run_sync(_upgrade, newer, "name another database")
        for unlike in (await connection.execute(text(ALIKE))).scalars().all():
            await connection.execute(text(unlike))
    return has


async def examine_postgres(url: str) -> str:
    """Return what a PostgreSQL database is, or raise Usage: what is to be mended there."""
    async with postgres(url) as connection:
        if not await connection.run_sync(is_current):
            raise Usage("The database has not the form of this version: run `huleedu migrate` as the tables' owner.")
        await connection.run_sync(_require_tables)
        if denied := (await connection.execute(text(DENIED))).scalars().all():
            raise Usage(
                f"The role of HULEEDU_DATABASE_URL may not use {', '.join(denied)}:"
                " grant it SELECT, INSERT, UPDATE and DELETE on every table, and USAGE on every sequence."
            )
        if holder := (await connection.execute(text(HOLDER), {"seconds": LEFT_OPEN_SECONDS})).first():
            since = f"since {holder.xact_start:%Y-%m-%d %H:%M:%S %Z}" if holder.xact_start else "for too long"
            raise Usage(
                f"The log waits for a transaction that is open {since}: of {holder.usename} in the database"
                f" {holder.datname}, application '{holder.application_name}'. End it there, or as a superuser by"
                f" SELECT pg_terminate_backend({holder.pid})."
            )
        version = (await connection.execute(text("SHOW server_version"))).scalar()
    return f"PostgreSQL {version}"


@asynccontextmanager
async def postgres(url: str) -> AsyncIterator[AsyncConnection]:
    """Be in one transaction of a PostgreSQL database, on a connection that waits as long as it takes."""
    unopened = "Cannot open the database that HULEEDU_DATABASE_URL names: {}."
    try:
        await (await asyncpg.connect(url)).close()
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise (NotYet if passes(error) else Usage)(unopened.format(str(error).partition("\n")[0])) from error
    except ValueError:  # it quotes a part of the password
        raise Usage(unopened.format("write / # ? @ and : in its password as %2F %23 %3F %40 and %3A")) from None
    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=partial(asyncpg.connect, url),
        poolclass=NullPool,
        hide_parameters=True,  # they may be a school's
    )
    try:
        async with engine.begin() as connection:
            yield connection
    except (OSError, DBAPIError) as error:
        if sqlstate(error) == DENIED_STATE:
            raise NotYet(NOT_OWNER) from error
        if passes(error):
            raise NotYet(unopened.format(getattr(error, "orig", error))) from error
        raise
    finally:
        await engine.dispose()


def is_current(connection: Connection) -> bool:
    """Return whether a database has the form that this version expects."""
    heads = ScriptDirectory.from_config(config()).get_heads()
    return set(MigrationContext.configure(connection).get_current_heads()) == set(heads)


def _require_tables(connection: Connection) -> None:
    """Raise Usage if tables are missing, of those whose owners this process knows."""
    if lost := sorted(metadata.tables.keys() - inspect(connection).get_table_names()):
        raise Usage(f"Tables are missing: {', '.join(lost)}. Restore the database from its back-up.")


def _upgrade(connection: Connection, newer: str, otherwise: str) -> list[str]:
    settings = config()
    scripts = ScriptDirectory.from_config(settings)
    has = set(MigrationContext.configure(connection).get_current_heads())
    if has - {script.revision for script in scripts.walk_revisions()}:
        raise Usage(f"{newer}. Install that version, or {otherwise}.")
    settings.attributes["connection"] = connection
    if has != set(scripts.get_heads()):
        command.upgrade(settings, "heads")
    return sorted(MigrationContext.configure(connection).get_current_heads())
