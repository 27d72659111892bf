"""A real server is sent every file of the corpus: each is stored or refused as it should be, and it stays as it was."""

from pathlib import Path

import httpx2
import psutil
import pytest

from tests.acceptance.served import Served, client, served, teacher
from tests.corpus import MIB, Specimen, bombs, essay, ordinary

PATIENCE_S = 120


def uploaded(http: httpx2.Client, specimens: list[Specimen]) -> list[Specimen]:
    """Upload all at once; return what became of each, in the shape of what was expected."""
    batch_id = http.post("/v1/batches", json={}).json()["batch_id"]
    files = [("files", (specimen.name, specimen.data)) for specimen in specimens]
    answer = http.post(f"/v1/batches/{batch_id}/essays", files=files, timeout=PATIENCE_S)
    assert answer.status_code == 201, answer.text
    items = answer.json()["items"]
    for item in items:
        assert (item["status"] == "stored") == (item["essay_id"] is not None) == (item["code"] is None)
        assert item["code"] is None or item["detail"].endswith(".")
    return [Specimen(item["file_name"], b"", item["code"], item["hint"]) for item in items]


def expected(specimens: list[Specimen]) -> list[Specimen]:
    return [Specimen(specimen.name, b"", specimen.code, specimen.hint) for specimen in specimens]


def resident(server: Served) -> int:
    return int(psutil.Process(server.process.pid).memory_info().rss)


@pytest.mark.timeout(300)
def test_every_file_is_stored_or_refused_by_itself_and_the_server_stays_as_it_was(tmp_path: Path) -> None:
    token = teacher(tmp_path)
    with served(tmp_path) as server, client(server.url, token) as http:
        whole = ordinary()
        assert uploaded(http, whole) == expected(whole)
        before = resident(server)
        harmful = bombs()
        mixed = [file for bomb in harmful for file in (bomb, Specimen(f"beside {bomb}.txt", essay().encode()))]
        assert uploaded(http, mixed) == expected(mixed)
        assert resident(server) - before < 32 * MIB
        assert not [line for line in server.lines if line["level"] in {"error", "critical"}]
        again = [specimen for specimen in ordinary() if specimen.code is None]
        assert uploaded(http, again) == expected(again)
    # `served` has seen to it that no process is left, whatever the bombs did to those that read them.
