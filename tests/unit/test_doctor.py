"""`huleedu doctor` on a data directory, and of settings: it names what is to be mended."""

import sqlite3
from contextlib import closing
from pathlib import Path

from huleedu.cli.doctor import diagnose
from huleedu.platform.settings import Settings


async def wrong(data_dir: Path, peers: str = "") -> dict[str, str]:
    """Return what is said of each thing that is not sound."""
    checks = await diagnose(Settings(data_dir=data_dir, peers=peers))
    return {check.what: check.found for check in checks if not check.sound}


async def test_a_service_that_is_misspelled(tmp_path: Path) -> None:
    names = ("files", "orchestratr", "lifecycle", "phases", "aggregator", "gateway")
    told = await wrong(tmp_path, " ".join(f"{name}=http://127.0.0.1:1" for name in names))
    assert told.keys() == {"settings"}
    assert "HULEEDU_PEERS names orchestratr, and there is no such service" in told["settings"]
    assert told["settings"].endswith("of which it does not name orchestrator.")


async def test_settings_that_are_missing_where_services_are_said_to_be_apart(tmp_path: Path) -> None:
    told = await wrong(tmp_path, "files=http://127.0.0.1:1")
    assert told.keys() == {"settings"}
    needed = ("DATABASE_URL", "LOG_URL", "BACKPLANE_URL", "BLOBS_URL", "SERVICE_KEYS")
    assert f"set {', '.join(f'HULEEDU_{name}' for name in needed)}." in told["settings"]


async def test_tables_that_are_lost_from_the_file(tmp_path: Path) -> None:
    assert await wrong(tmp_path) == {}
    with closing(sqlite3.connect(tmp_path / "huleedu.db")) as connection:
        for table in ("feed", "dead_letter"):
            connection.execute(f"DROP TABLE {table}")
    assert await wrong(tmp_path) == {
        "database": "Tables are missing: dead_letter, feed. Restore the database from its back-up."
    }
