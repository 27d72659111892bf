"""`huleedu doctor` where services are apart: it names the setting by which they find and trust one another."""

import asyncio
import socket
from pathlib import Path

from huleedu.cli.doctor import diagnose
from huleedu.platform.settings import Settings


async def wrong(data_dir: Path, peers: str) -> dict[str, str]:
    """Return what is said of each thing that is not sound."""
    checks = await diagnose(Settings(data_dir=data_dir, peers=peers))
    return {check.what: check.found for check in checks if not check.sound}


async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer as a service that does not know the key."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    writer.close()
    await writer.wait_closed()


async def test_a_service_that_does_not_know_the_key(tmp_path: Path) -> None:
    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        told = await wrong(tmp_path, f"files={url}")
    assert told.keys() == {"files"}
    assert f"at {url} does not know the key" in told["files"]
    assert "HULEEDU_SERVICE_KEYS" in told["files"]


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
