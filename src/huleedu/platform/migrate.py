"""Bringing a database to the form that this version of the code expects."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, func, select, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from huleedu.platform.errors import NotYet, Usage

if TYPE_CHECKING:
    from sqlalchemy import Connection

MIGRATING = 20_261_125
"""The number of the lock that whoever migrates a PostgreSQL database holds; any would do."""
STARTING = (OSError, asyncpg.CannotConnectNowError, asyncpg.TooManyConnectionsError)
ALIKE = """
    SELECT format('ALTER TABLE %I ALTER COLUMN %I TYPE text COLLATE "C"', table_name, column_name)
    FROM information_schema.columns
    WHERE table_schema = current_schema() AND data_type = 'text' AND collation_name IS DISTINCT FROM 'C'
"""
"""Text compares by its bytes, as in SQLite and Python, whatever the server's locale and its next version think."""


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
    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.begin() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        has = _upgrade(connection, f"{path} was made by a newer HuleEdu", "choose another --data-dir")
    engine.dispose()
    return has


async def migrate_postgres(url: str) -> list[str]:
    """Upgrade a PostgreSQL database, which must be there; whoever comes second waits for the first."""
    try:
        await (await asyncpg.connect(url)).close()
    except (OSError, asyncpg.PostgresError) as error:
        told = NotYet if isinstance(error, STARTING) else Usage
        raise told(f"Cannot open the database that HULEEDU_DATABASE_URL names: {error}.") from error
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=partial(asyncpg.connect, url), poolclass=NullPool
    )
    try:
        async with engine.begin() as connection:
            await connection.execute(select(func.pg_advisory_xact_lock(MIGRATING)))
            newer = "HULEEDU_DATABASE_URL names a database that was made by a newer HuleEdu"
            has = await connection.run_sync(_upgrade, newer, "name another database")
            for unlike in (await connection.execute(text(ALIKE))).scalars().all():
                await connection.execute(text(unlike))
    finally:
        await engine.dispose()
    return has


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
