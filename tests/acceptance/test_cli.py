"""The commands, as processes: what they print, write and end with."""

import csv
import json
import os
import random
import re
import signal
import socket
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
import typer
from typer.testing import CliRunner
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect

from huleedu import __version__
from huleedu.cli import app
from huleedu.contracts.messages import MESSAGES
from huleedu.contracts.results import NlpResultV1, SpellcheckResultV1
from huleedu.phases.worker import PRELOAD
from scripts.servers import free_ports
from tests.acceptance.served import HULEEDU, STOP_SECONDS, Served, client, huleedu, rows, served, teacher, told

pytestmark = pytest.mark.timeout(120)  # many commands that are processes of their own
GOOD = "My sumer was very good. I was in the sea with my frend and we swam every day until it was cold."
KEYS = {"batch_id", "status", "pipeline_state", "essays", "refused"}


@pytest.fixture(scope="module")
def essays(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("essays")
    (folder / "=cmd.txt").write_text(GOOD)
    (folder / "åke.txt").write_bytes(f"{GOOD} Å, ä och ö.".encode("cp1252"))
    (folder / ".hidden").write_text("not meant")
    return folder


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("house")


@pytest.fixture(scope="module")
def token(house: Path) -> str:
    """Return a token of an account that was made before any server ran."""
    return teacher(house)


@pytest.fixture(scope="module")
def server(house: Path, token: str) -> Iterator[Served]:
    assert token
    with served(house) as server:
        yield server


def test_all_went_well(essays: Path, tmp_path: Path) -> None:
    files = ("--json", tmp_path / "out.json", "--csv", tmp_path / "out.csv")
    printed = told("assess", essays, "--pipeline", "nlp", *files)
    assert "2 essays, 0 refused: completed_successfully" in printed
    report = json.loads((tmp_path / "out.json").read_text())
    assert set(report) == KEYS
    assert [essay["file_name"] for essay in report["essays"]] == ["=cmd.txt", "åke.txt"]
    for essay in report["essays"]:
        assert set(essay) == {"essay_id", "file_name", "status", "results"}
        checked = SpellcheckResultV1.model_validate(essay["results"]["spellcheck"])
        assert {"sumer", "frend"} <= {correction.original for correction in checked.corrections}
        assert checked.engine.language == "en"
        assert NlpResultV1.model_validate(essay["results"]["nlp"]).metrics.word_count >= 20
    assert "Å, ä och ö." in report["essays"][1]["results"]["spellcheck"]["corrected_text"]
    with (tmp_path / "out.csv").open(encoding="utf-8-sig", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["file_name"] for row in table] == ["'=cmd.txt", "åke.txt"], "no spreadsheet takes it for a formula"
    assert (
        float(table[0]["spellcheck.word_count"])
        == report["essays"][0]["results"]["spellcheck"]["metrics"]["word_count"]
    )


def test_some_were_refused(essays: Path, tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("Too short.")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    (tmp_path / "same.txt").write_text(GOOD)
    words = ("--pipeline", "spellcheck", "--json", tmp_path / "out.json")
    assert "1 essay, 3 refused: completed" in told("assess", essays / "=cmd.txt", tmp_path, *words, code=1)
    report = json.loads((tmp_path / "out.json").read_text())
    assert len(report["essays"]) == 1
    assert set(report["essays"][0]["results"]) == {"spellcheck"}
    refused = {item["file_name"]: item["code"] for item in report["refused"]}
    assert refused.pop("same.txt", None) == "DUPLICATE" or refused.pop("=cmd.txt") == "DUPLICATE"
    assert refused == {"picture.png": "UNSUPPORTED_TYPE", "short.txt": "CONTENT_TOO_SHORT"}
    assert all(item["detail"].endswith(".") for item in report["refused"])


def test_an_essay_that_takes_too_long_fails_alone(essays: Path, tmp_path: Path) -> None:
    letters = random.Random(1)
    gibberish = ("".join(letters.choices("abcdefghijklmnoprstuvy", k=8)) for _ in range(5_500))
    (tmp_path / "long.txt").write_text(" ".join(gibberish))
    out = tmp_path / "out.json"
    told("assess", essays, tmp_path / "long.txt", "--json", out, code=1, HULEEDU_WORK_TIMEOUT_SECONDS="1")
    report = json.loads(out.read_text())
    assert (report["status"], set(report)) == ("completed_with_failures", KEYS)
    failed = {essay["file_name"]: essay["error"]["code"] for essay in report["essays"] if essay["status"] == "failed"}
    assert failed == {"long.txt": "PHASE_TIMEOUT"}
    states = {name: phase["status"] for name, phase in report["pipeline_state"]["phases"].items()}
    assert states == {"spellcheck": "completed_with_partial_success", "nlp": "completed_successfully"}


def test_by_a_server(server: Served, token: str, essays: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    words = ("assess", essays, "--pipeline", "spellcheck", "--language", "sv", "--url", server.url)
    assert "completed_successfully" in told(*words, "--token", token, "--json", out)
    report = json.loads(out.read_text())
    with client(server.url, token) as http:
        seen = http.get(f"/v1/batches/{report['batch_id']}/status").json()
    assert (seen["status"], seen["language"], seen["essays"]) == ("completed_successfully", "sv", 2)
    assert "completed_successfully" in told(*words, HULEEDU_TOKEN=token)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nowhere.txt",), "does not exist"),
        (("{essays}", "--pipeline", "horoscope"), "There is no phase 'horoscope'"),
        (("{essays}", "--language", "xx"), "xx"),
        (("{empty}",), "no file in the folder"),
        (("{essays}", "--url", "http://127.0.0.1:1", "--token", "x"), "cannot be reached"),
        (("{essays}", "--url", "{url}"), "--token"),
        (("{essays}", "--url", "{url}", "--token", "x"), "show a valid token"),
        (("{essays}", "--json", "/proc/none.json"), "/proc/none.json"),
    ],
)
def test_what_was_asked_wrongly(
    words: tuple[str, ...], said: str, server: Served, essays: Path, tmp_path: Path
) -> None:
    given = [word.format(essays=essays, empty=tmp_path, url=server.url) for word in words]
    assert said in told("assess", *given, code=2)


def test_accounts_while_the_server_runs_and_while_it_does_not(server: Served, house: Path, tmp_path: Path) -> None:
    for data_dir in (house, tmp_path):
        where = ("--data-dir", data_dir)
        told("user", "add", "Berit@School.se", "--name", "Berit Öst", *where)
        assert "There is an account" in told("user", "add", "berit@school.se", "--name", "B", *where, code=2)
        assert "berit@school.se  Berit Öst" in told("user", "list", *where)
        token = told("user", "token", "berit@school.se", *where).strip()
        assert "no account for nobody@school.se" in told("user", "token", "nobody@school.se", *where, code=2)
        with client(server.url, token) as http:
            assert http.get("/v1/me").status_code == (200 if data_dir == house else 401)
            assert told("user", "token", "berit@school.se", "--revoke", *where) == "1 token revoked\n"
            assert http.get("/v1/me").status_code == 401
    for secret in ("keys.json", "control.json"):
        assert (house / secret).stat().st_mode & 0o777 == 0o600


def signs_in(url: str, link: str) -> bool:
    """Open a sign-in link as the page does: what stands after the # goes into the body, and nowhere else."""
    address, _, secret = link.partition("/sign-in#")
    with httpx2.Client(base_url=url, headers={"origin": address}, timeout=60) as page:
        done = page.post("/v1/session", json={"link": secret}).status_code == 201
        assert (page.get("/v1/me").status_code == 200) is done
    return done


def test_a_sign_in_link_while_the_server_runs_and_while_it_does_not(
    server: Served, house: Path, tmp_path: Path
) -> None:
    link = told("user", "link", "anna@school.se", "--data-dir", house).strip()
    assert link.startswith(f"{server.url}/sign-in#hule_")
    assert [signs_in(server.url, link) for _ in range(2)] == [True, False]
    assert "no account for nobody@school.se" in told("user", "link", "nobody@school.se", "--data-dir", house, code=2)
    where = ("--data-dir", tmp_path)
    told("user", "add", "anna@school.se", "--name", "Anna Ek", *where)
    assert told("user", "link", "anna@school.se", *where).startswith("http://127.0.0.1:4001/sign-in#")
    link = told("user", "link", "anna@school.se", *where, HULEEDU_PUBLIC_URL="https://HuleEdu.school.se/").strip()
    assert link.startswith("https://huleedu.school.se/sign-in#")
    with served(tmp_path) as restarted:
        assert signs_in(restarted.url, link.replace("https://huleedu.school.se", restarted.url))
        assert restarted.printed == "", "who has made accounts makes the links too"


def test_an_account_is_disabled_and_enabled_again(server: Served, house: Path) -> None:
    where = ("--data-dir", house)
    cilla = teacher(house, "cilla@school.se")
    link = told("user", "link", "cilla@school.se", *where).strip()
    told("user", "disable", "cilla@school.se", *where)
    assert "cilla@school.se  Anna Ek  (disabled)" in told("user", "list", *where)
    for command in ("link", "token"):
        assert "--undo" in told("user", command, "cilla@school.se", *where, code=2)
    with client(server.url, cilla) as http:
        assert (http.get("/v1/me").status_code, signs_in(server.url, link)) == (401, False)
        told("user", "disable", "cilla@school.se", "--undo", *where)
        assert http.get("/v1/me").status_code == 401
    assert signs_in(server.url, told("user", "link", "cilla@school.se", *where).strip())


def test_a_machine_of_ones_own_has_an_account_and_a_link_at_each_start(tmp_path: Path) -> None:
    links = []
    for _ in range(2):
        with served(tmp_path) as server:
            (link,) = re.findall(r"^ +(http\S+)$", server.printed, re.MULTILINE)
            assert f"HuleEdu is at {server.url}\n" in server.printed
            assert signs_in(server.url, link)
        assert "hule_" not in json.dumps(server.lines)
        links.append(link)
    assert links[0].partition("#")[2] != links[1].partition("#")[2]
    assert "teacher@localhost  Teacher" in told("user", "list", "--data-dir", tmp_path)
    told("user", "disable", "teacher@localhost", "--data-dir", tmp_path)
    with served(tmp_path) as server:
        assert server.printed == ""
    told("user", "disable", "teacher@localhost", "--undo", "--data-dir", tmp_path)
    told("user", "add", "anna@school.se", "--name", "Anna Ek", "--data-dir", tmp_path)
    with served(tmp_path) as server:
        assert server.printed == ""


def test_a_server_for_others_makes_no_account_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HULEEDU_PUBLIC_URL", "https://huleedu.school.se")
    with served(tmp_path) as server:
        assert (server.printed, told("user", "list", "--data-dir", tmp_path)) == ("", "")


def test_rebuilding_and_doctor_while_the_server_runs(server: Served, token: str, house: Path) -> None:
    with client(server.url, token) as http:
        batch_id = http.post("/v1/batches", json={}).json()["batch_id"]
        http.post(f"/v1/batches/{batch_id}/essays", files={"files": ("a.txt", GOOD.encode())})
        before = http.get("/v1/batches").json()
        batches = rows(house, "SELECT count(*) FROM batch")[0][0]
        noun = "batch" if batches == 1 else "batches"
        assert told("rebuild-view", "--page-size", "1", "--data-dir", house) == f"{batches} {noun}\n"
        after = http.get("/v1/batches").json()
    assert after["live_cursor"].split(":")[0] == str(int(before["live_cursor"].split(":")[0]) + 1)
    assert batch_id in {item["batch_id"] for item in after["items"]}
    assert "WRONG" not in told("doctor", "--data-dir", house)


def test_dead_letters(tmp_path: Path) -> None:
    teacher(tmp_path)
    where = ("--data-dir", tmp_path)
    assert "Nothing is parked." in told("dlq", "list", *where)
    with sqlite3.connect(tmp_path / "huleedu.db") as connection:
        topic, envelope = "huleedu.essay.phase.changed.v1", '{"data": "a pupil wrote this"}'
        row = (topic, "batch-1", envelope, "2026-01-01 00:00:00.000000")
        connection.execute("INSERT INTO outbox (topic, key, envelope, at) VALUES (?, ?, ?, ?)", row)
    connection.close()
    with served(tmp_path) as server:
        _parked(server, 1)
        listed = told("dlq", "list", *where)
        assert "batch-1" in listed
        assert "result-aggregator-service" in listed
        ((number, attempts),) = rows(tmp_path, "SELECT id, attempts FROM dead_letter")
        shown = told("dlq", "show", str(number), *where)
        assert (json.loads(shown)["attempts"], "pupil" in shown) == (attempts, False)
        assert "1 record to" in told("dlq", "redrive", "--key", "batch-1", *where)
        assert "0 records" in told("dlq", "redrive", "--key", "another", *where)
    assert "There is no dead letter 999" in told("dlq", "show", "999", *where, code=2)
    assert "1 record to" in told("dlq", "redrive", *where)
    assert "1 record parked" in told("doctor", *where, code=1)


def _parked(server: Served, expected: int) -> None:
    parked = threading.Event()
    server.on_line = lambda _count: _count_parked()

    def _count_parked() -> None:
        if sum(line["event"] == "log.parked" for line in server.lines) >= expected:
            parked.set()

    _count_parked()
    assert parked.wait(10)


def test_what_keeps_a_server_from_starting(server: Served, house: Path, tmp_path: Path) -> None:
    port = server.url.rpartition(":")[2]
    assert "Another HuleEdu uses" in told("serve", "--port", "0", "--data-dir", house, code=2)
    assert f"Cannot listen on 127.0.0.1:{port}" in told("serve", "--port", port, "--data-dir", tmp_path, code=2)
    (tmp_path / "file").write_text("")
    assert "Cannot write" in told("serve", "--port", "0", "--data-dir", tmp_path / "file" / "below", code=2)
    assert "There is no service 'oracle'" in told("serve", "oracle", code=2)
    assert "set HULEEDU_DATABASE_URL, HULEEDU_LOG_URL" in told("serve", "files", code=2)
    assert "A setting does not fit" in told("serve", "--port", "0", code=2, HULEEDU_WORKERS="none")
    told("migrate", "--data-dir", tmp_path / "new")
    with sqlite3.connect(tmp_path / "new/huleedu.db") as connection:
        connection.execute("INSERT INTO alembic_version VALUES ('files_9999')")
    connection.close()
    for command in (("serve", "--port", "0"), ("migrate",), ("user", "list")):
        assert "made by a newer HuleEdu" in told(*command, "--data-dir", tmp_path / "new", code=2)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_server_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    token = teacher(tmp_path)
    with served(tmp_path) as server, client(server.url, token) as http:
        batch_id = http.post("/v1/batches", json={}).json()["batch_id"]
        files = [("files", (f"{place}.txt", f"{place} {GOOD}".encode())) for place in range(10)]
        http.post(f"/v1/batches/{batch_id}/essays", files=files)
        assert http.post(f"/v1/batches/{batch_id}/pipelines", json={"requested_pipeline": "all"}).status_code == 202
        bearer = {"authorization": f"Bearer {token}"}
        with connect(f"{server.url}/ws".replace("http", "ws"), additional_headers=bearer, proxy=None) as live:
            live.send('{"event": "hello", "cursor": null}')
            assert json.loads(live.recv(10))["event"] == "welcome"
            assert server.stop(number) == 0
            frames: list[Any] = []
            with pytest.raises(ConnectionClosedError):
                frames.extend(map(json.loads, iter(partial(live.recv, 10), None)))
            assert (frames[-1], live.close_code) == ({"event": "reconnect", "after_ms": 0}, 1012)
        assert not (tmp_path / "control.json").exists()
        assert [line["event"] for line in server.lines][-1] == "serve.stopped"
        assert not [line for line in server.lines if line["level"] == "error"]


def test_a_server_that_is_stopped_gives_back_what_is_in_hand_and_takes_nothing_more(
    essays: Path, tmp_path: Path
) -> None:
    token = teacher(tmp_path)
    unfinished = (
        f"POST /v1/batches HTTP/1.1\r\nhost: here\r\nauthorization: Bearer {token}\r\ncontent-length: 9\r\n\r\n"
    )
    with served(tmp_path) as server, client(server.url, token) as http:
        told("assess", essays, "--url", server.url, HULEEDU_TOKEN=token)
        nurseries = psutil.Process(server.process.pid).children()
        (nursery,) = [process for process in nurseries if PRELOAD in process.cmdline()]
        nursery.children()[0].suspend()  # of the two workers, one goes on
        batch_id = http.post("/v1/batches", json={}).json()["batch_id"]
        files = [("files", (f"{place}.txt", f"{place} {GOOD}".encode())) for place in range(20)]
        http.post(f"/v1/batches/{batch_id}/essays", files=files)
        with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as slow:
            slow.sendall(unfinished.encode())
            http.post(f"/v1/batches/{batch_id}/pipelines", json={"requested_pipeline": "spellcheck"})
            while rows(tmp_path, "SELECT count(*) FROM work WHERE state = 'running'") != [(2,)]:
                """They have not begun."""
            assert server.stop() == 0, "a slow request gives the workers time"
    left = rows(tmp_path, "SELECT state, attempt, lease, lease_until FROM work")
    assert set(left) == {("queued", 0, None, None)}
    assert len(left) > 10


def test_a_service_waits_for_its_database_and_stops_meanwhile() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        (own,) = free_ports(1)
        env = {
            "HULEEDU_INTERNAL_PORT": str(own),
            "HULEEDU_DATABASE_URL": f"postgresql://huleedu:secret@127.0.0.1:{port}/huleedu",
            "HULEEDU_LOG_URL": "kafka://127.0.0.1:1",
            "HULEEDU_BACKPLANE_URL": "redis://127.0.0.1:1",
            "HULEEDU_BLOBS_URL": "s3://huleedu",
            "HULEEDU_SERVICE_KEYS": "k" * 32,
            "HULEEDU_PEERS": "files=http://127.0.0.1:1",
        }
        command = [HULEEDU, "serve", "orchestrator"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **env})
        assert process.stderr
        lines = [json.loads(process.stderr.readline()) for _ in range(2)]
        with httpx2.Client(base_url=f"http://127.0.0.1:{own}", trust_env=False, timeout=60) as http:
            alive, ready, asked = map(http.get, ("/healthz", "/readyz", "/internal/v1/ready"))
        process.terminate()
        _, rest = process.communicate(timeout=STOP_SECONDS)
    lines += map(json.loads, rest.splitlines())
    assert ({line["event"] for line in lines}, process.returncode) == ({"serve.waiting"}, 0)
    assert "HULEEDU_DATABASE_URL" in lines[0]["cause"]
    assert "secret" not in json.dumps(lines)
    assert (alive.status_code, alive.json()) == (200, {"status": "alive"})
    for answer in (ready, asked):
        assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
        assert (answer.json()["code"], answer.headers["retry-after"]) == ("NOT_READY", "2")
        assert answer.json()["detail"] == "Not ready yet: database. Try again in a moment."
        assert answer.json()["correlation_id"] is None, "nobody has asked for anything yet"


def test_what_the_code_says_of_itself() -> None:
    assert MESSAGES[0].topic in huleedu("topology").stdout
    assert "/v1/batches/{batch_id}/status" in json.loads(told("openapi"))["paths"]
    assert huleedu("--version").stdout.strip() == __version__
    unasked = huleedu()
    assert "rebuild-view" in unasked.stdout + unasked.stderr


def test_every_help_shows_an_example() -> None:
    root = typer.main.get_command(app)
    found = []
    groups: list[tuple[tuple[str, ...], Any]] = [((), root)]
    for words, group in groups:
        for name, command in getattr(group, "commands", {}).items():
            groups.append(((*words, name), command))
    for words, command in groups:
        if not hasattr(command, "commands"):
            printed = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "200"}).stdout
            assert f"Example: huleedu {' '.join(words)}" in printed.replace("export HULEEDU_TOKEN=$(", ""), words
            found.append(words)
    assert len(found) == 17
