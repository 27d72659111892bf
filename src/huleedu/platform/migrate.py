"""Bringing a database to the form that this version of the code expects."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from huleedu.platform.errors import Usage


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
    settings = config()
    known = {script.revision for script in ScriptDirectory.from_config(settings).walk_revisions()}
    # The driver would begin before INSERT only, and so commit each CREATE by itself.
    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.begin() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        has = set(MigrationContext.configure(connection).get_current_heads())
        if has - known:
            raise Usage(f"{path} was made by a newer HuleEdu. Install that version, or choose another --data-dir.")
        settings.attributes["connection"] = connection
        if has != set(ScriptDirectory.from_config(settings).get_heads()):
            command.upgrade(settings, "heads")
        has = set(MigrationContext.configure(connection).get_current_heads())
    engine.dispose()
    return sorted(has)
