"""`huleedu doctor` on a data directory, and where services are apart: it names what is to be mended."""

import asyncio
import socket
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from huleedu.cli.doctor import diagnose
from huleedu.platform.settings import Settings


async def wrong(data_dir: Path, peers: str = "") -> dict[str, str]:
    """Return what is said of each thing that is not sound."""
    checks = await diagnose(Settings(data_dir=data_dir, peers=peers))
    return {check.what: check.found for check in checks if not check.sound}


@asynccontextmanager
async def answering(status: str, body: str) -> AsyncIterator[str]:
    """Answer every request so; return where."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n{body}".encode())
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_a_service_that_does_not_know_the_key(tmp_path: Path) -> None:
    async with answering("401 Unauthorized", "") as url:
        told = await wrong(tmp_path, f"files={url}")
    assert told.keys() == {"files"}
    assert f"at {url} does not know the key" in told["files"]
    assert "HULEEDU_SERVICE_KEYS" in told["files"]


@pytest.mark.parametrize("status", ["200 OK", "404 Not Found"])
async def test_something_else_where_a_service_is_said_to_be(tmp_path: Path, status: str) -> None:
    async with answering(status, "<h1>The printer</h1>") as url:
        told = await wrong(tmp_path, f"files={url}")
    assert told == {"files": f"Something other than the service answers at {url}: mend HULEEDU_PEERS."}


async def test_a_service_that_is_away(tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        told = await wrong(tmp_path, f"files={url}")
    assert told == {"files": f"The service does not answer at {url}: start it there, or mend HULEEDU_PEERS."}


async def test_a_service_that_is_misspelled(tmp_path: Path) -> None:
    names = ("files", "orchestratr", "lifecycle", "phases", "aggregator", "gateway")
    told = await wrong(tmp_path, " ".join(f"{name}=http://127.0.0.1:1" for name in names))
    assert told.keys() == {"settings"}
    assert "HULEEDU_PEERS names orchestratr, and there is no such service" in told["settings"]
    assert told["settings"].endswith("of which it does not name orchestrator.")


async def test_services_without_a_place_are_told_and_looked_at_here(tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        peers = f"files=http://127.0.0.1:{nobody.getsockname()[1]}"
        found = {check.what: check for check in await diagnose(Settings(data_dir=tmp_path, peers=peers))}
    missing = "HULEEDU_PEERS does not name orchestrator, lifecycle, phases, aggregator, gateway"
    assert (found["settings"].sound, found["orchestrator"].sound) == (True, True)
    assert found["settings"].found.endswith(missing)


async def test_tables_that_are_lost_from_the_file(tmp_path: Path) -> None:
    assert await wrong(tmp_path) == {}
    with closing(sqlite3.connect(tmp_path / "huleedu.db")) as connection:
        for table in ("feed", "dead_letter"):
            connection.execute(f"DROP TABLE {table}")
    assert await wrong(tmp_path) == {
        "database": "Tables are missing: dead_letter, feed. Restore the database from its back-up."
    }
