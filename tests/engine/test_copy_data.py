"""A school outgrows its data directory: everything goes along, and goes on."""

import asyncio
import hashlib
import re
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio
from sqlalchemy import func, select
from typer.testing import CliRunner

from huleedu.cli import app
from huleedu.cli.copying import copy_data
from huleedu.contracts.messages import TOPICS
from huleedu.contracts.phase import PhaseName, PhaseWorkRequestedV1
from huleedu.lifecycle.store import essay_phase
from huleedu.platform.blobs.s3 import S3Blobs
from huleedu.platform.db import metadata
from huleedu.platform.errors import Usage
from huleedu.platform.installation import locked, prepare
from huleedu.platform.log import store
from huleedu.platform.settings import Settings
from tests.engine.kafka import topics_at
from tests.given import Databases
from tests.servers import ENGINE, Servers
from tests.system.house import House, Teacher, essay, inhabited

pytestmark = [*ENGINE]
PASSWORD = "a long enough password"
WORK = TOPICS[PhaseWorkRequestedV1]
LETTER = (
    "INSERT INTO dead_letter (grp, topic, part, key, event_id, value, cause, attempts, redrive, told, at)"
    " VALUES ('orchestrator-service', 'a.topic', 0, 'b', 'e', x'00ff', 'c', 3, 0, 0, '2026-01-01 00:00:00.000000')"
)


@pytest.fixture
async def target(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The settings that say where to copy: tables and a bucket are there, and nothing in them."""
    databases, bucket = Databases(), servers.env("s3")
    databases.server = servers.env("postgres")["HULEEDU_DATABASE_URL"]
    for name in bucket.keys() - {"HULEEDU_BLOBS_URL"}:
        monkeypatch.setenv(name, bucket[name])
    blobs_url = f"{bucket['HULEEDU_BLOBS_URL']}/{uuid4()}"
    settings: dict[str, Any] = {"database_url": await databases.create(), "blobs_url": blobs_url}
    await prepare(Settings(**settings))
    return settings


@pytest.fixture
async def engine(servers: Servers, target: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    """The settings of the second engine: those, and topics with nothing in them."""
    async with topics_at(servers.env("kafka")["SERVERS_KAFKA_SASL_URL"]) as log_url:
        yield target | {"log_url": log_url, "backplane_url": servers.env("redis")["HULEEDU_BACKPLANE_URL"]}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with one account, one class and one essay."""
    directory = tmp_path_factory.mktemp("founded") / "school"
    async with inhabited(directory, without=["phases"]) as house:
        anna = await house.teacher()
        await anna.settled(await anna.batch(essay()), 1)
    return directory


@pytest.fixture
def school(founded: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed as one likes."""
    return Path(shutil.copytree(founded, tmp_path / "school"))


def at(directory: Path, settings: dict[str, Any]) -> Settings:
    return Settings(data_dir=directory, database_url=settings["database_url"], blobs_url=settings["blobs_url"])


def change(directory: Path, *statements: str) -> None:
    """Do this to the database of a data directory."""
    with closing(sqlite3.connect(directory / "huleedu.db")) as database, database:
        for statement in statements:
            database.execute(statement)


def contents(directory: Path) -> dict[str, str]:
    """Return what is in a data directory, with the database as it reads."""
    with closing(sqlite3.connect(directory / "huleedu.db")) as database:
        dump = "\n".join(database.iterdump())
    found = {"": hashlib.sha256(dump.encode()).hexdigest()}
    for path in (directory / "blobs").rglob("*"):
        if path.is_file():
            found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


async def fetched(engine: dict[str, Any], query: str) -> Any:  # noqa: ANN401 -- as the column
    connection = await asyncpg.connect(engine["database_url"])
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def shown(teacher: Teacher) -> dict[str, Any]:
    """Return all that a teacher can see and take along."""
    found: dict[str, Any] = {"/batches": await teacher.ask("GET", "/batches", 200)}
    for batch_id in (item["batch_id"] for item in found["/batches"]["items"]):
        for path in (f"/batches/{batch_id}/status", f"/batches/{batch_id}/essays"):
            found[path] = await teacher.ask("GET", path, 200)
        for item in found[f"/batches/{batch_id}/essays"]["items"]:
            path = f"/batches/{batch_id}/essays/{item['essay_id']}"
            found[path] = await teacher.ask("GET", path, 200)
        found[f"{batch_id}.csv"] = (await teacher.http.get(f"/v1/batches/{batch_id}/results.csv")).text
    return found


def again(house: House, teacher: Teacher) -> Teacher:
    """Return the same teacher in another house, with the token that she has had."""
    return Teacher(house, teacher.user_id, teacher.email, teacher.token)


async def test_teachers_find_everything_as_they_left_it_and_go_on(tmp_path: Path, engine: dict[str, Any]) -> None:
    async with inhabited(tmp_path / "school") as house:
        anna, bo = await house.teacher("Anna Ek"), await house.teacher("Bo Å")
        browser = await anna.browser()
        response = await browser.put("/v1/me/password", json={"password": PASSWORD})
        assert response.status_code == 204, response.text
        finished = await anna.batch("We was hapy in the sommer. " + essay(), essay(), essay(), title="9B å")
        first = (await anna.settled(finished, 3))["batch_id"]
        listed = (await anna.ask("GET", f"/batches/{first}/essays", 200))["items"]
        await anna.ask("DELETE", f"/batches/{first}/essays/{listed[1]['essay_id']}", 204)
        await anna.settled(finished, 2)
        await anna.ended(finished, await anna.start(finished))
        erased = await anna.batch(essay("Quokka."))
        await anna.settled(erased, 1)
        await anna.ask("DELETE", f"/batches/{erased}", 202)
        while (status := (await anna.http.delete(f"/v1/batches/{erased}")).status_code) == 202:
            """Some service holds something of it."""
        assert status == 204
        waiting = await bo.batch(essay(), essay())
        await bo.settled(waiting, 2)
        await house.folded()  # what is read there says, already, what is still to be heard: each makes a version
        before = [await shown(anna), await shown(bo)]
    change(tmp_path / "school", LETTER)
    source = contents(tmp_path / "school")
    copied = {one.what: one.rows for one in (await copy_data(at(tmp_path / "school", engine))).copied}
    assert contents(tmp_path / "school") == source
    assert copied.keys() == {*metadata.tables, "blobs"} - {"position"}
    assert (copied["account"], copied["essay"], copied["dead_letter"]) == (2, 4, 1)
    assert await fetched(engine, "SELECT nextval(pg_get_serial_sequence('dead_letter', 'id'))") == 2
    assert copied["blobs"] >= 2 * copied["essay"] + copied["phase_result"]
    async with inhabited(tmp_path / "new", **engine) as house:
        anna, bo = again(house, anna), again(house, bo)
        assert [await shown(anna), await shown(bo)] == before
        browser = house.browser()
        response = await browser.post("/v1/session", json={"email": anna.email, "password": PASSWORD})
        assert response.status_code == 201, response.text
        letters = await house.platform.peer("orchestrator").ask("GET", "/internal/v1/dead-letters")
        assert [letter["event_id"] for letter in letters["items"]] == ["e"]
        await anna.ask("GET", f"/batches/{erased}/status", 404)
        ended = await bo.ended(waiting, await bo.start(waiting))
        assert (ended["status"], ended["unassessed"]) == ("completed_successfully", 0)
        fresh = await anna.batch(essay())
        await anna.ended(fresh, await anna.start(fresh))
        await bo.ask("DELETE", f"/batches/{waiting}", 202)


async def test_what_was_not_heard_yet_is_heard_once_by_those_that_had_not(
    tmp_path: Path, engine: dict[str, Any]
) -> None:
    async with inhabited(tmp_path / "school", without=["aggregator", "phases"]) as house:
        anna = await house.teacher()
        batch_id = await anna.batch(essay(), essay())
        run_id = await anna.start(batch_id)
        with house.platform.db.watch([store.topic_channel(WORK)]) as watch:
            while len(await house.platform.db.read(lambda tx: store.tail(tx, WORK, 0, 9))) < 2:
                await watch.take()
    copy = await copy_data(at(tmp_path / "school", engine))
    assert copy.lost == []
    async with inhabited(tmp_path / "new", **engine) as house:
        anna = again(house, anna)
        ended = await anna.ended(batch_id, run_id)
        assert (ended["status"], ended["unassessed"]) == ("completed_successfully", 0)
        await anna.until(batch_id, lambda found: found["essays"] == 2)
        items = (await anna.ask("GET", f"/batches/{batch_id}/essays", 200))["items"]
        assert {item["status"] for item in items} == {"completed"}
        handed_out = await house.platform.db.read(lambda tx: tx.scalar(select(func.count()).select_from(essay_phase)))
        assert handed_out == 2 * len(PhaseName)


async def test_whoever_was_stopped_on_the_way_begins_again(school: Path, target: dict[str, Any]) -> None:
    *_, blob = sorted(path for path in (school / "blobs").rglob("*") if path.is_file())
    whole = blob.read_bytes()
    blob.write_bytes(b"damaged")
    with pytest.raises(Usage, match=f"{blob.name} is damaged"):
        await copy_data(at(school, target))
    blob.write_bytes(whole)
    change(school, "UPDATE account SET name = 'Anna' || char(0)")
    with pytest.raises(Usage, match="PostgreSQL does not take the copy"):
        await copy_data(at(school, target))
    assert await fetched(target, "SELECT count(*) FROM inbox") == 0
    change(school, "UPDATE account SET name = 'Anna'")
    copy = await copy_data(at(school, target))
    assert {one.what for one in copy.copied if one.rows} >= {"account", "essay", "inbox", "blobs"}
    with pytest.raises(Usage, match="has account already"):
        await copy_data(at(school, target))


async def test_a_server_that_runs_is_left_alone(school: Path, target: dict[str, Any]) -> None:
    with locked(school), pytest.raises(Usage, match="Stop it"):
        await copy_data(at(school, target))


async def test_only_an_empty_place_is_filled(school: Path, engine: dict[str, Any], tmp_path: Path) -> None:
    async with inhabited(tmp_path / "other", without=["phases"], **engine) as house:
        bo = await house.teacher("Bo Å")
        await bo.settled(await bo.batch(essay()), 1)
    with pytest.raises(Usage, match="name an empty one"):
        await copy_data(at(school, engine))
    databases = Databases()
    databases.server = engine["database_url"]
    fresh = engine | {"database_url": await databases.create()}
    with pytest.raises(Usage, match="without the tables of this version"):
        await copy_data(at(school, fresh))
    await prepare(Settings(**fresh))
    with pytest.raises(Usage, match="2 other things"):
        await copy_data(at(school, fresh))


@pytest.mark.parametrize(
    ("done", "said"),
    [
        ("UPDATE outbox SET at = '2026-01-01 00:00:00'; UPDATE position SET position = 1", "old events wait"),
        ("DELETE FROM alembic_version WHERE version_num LIKE '%files%'", "not the form of this version"),
    ],
)
async def test_what_would_not_go_on_is_not_copied(school: Path, target: dict[str, Any], done: str, said: str) -> None:
    change(school, *done.split("; "))
    with pytest.raises(Usage, match=said):
        await copy_data(at(school, target))


@pytest.mark.parametrize("done", ["NEW.name := 'Bo Å'; RETURN NEW;", "RETURN NULL;"], ids=["changed", "missing"])
async def test_nothing_is_kept_of_a_copy_that_differs_from_what_was_copied(
    school: Path, target: dict[str, Any], done: str
) -> None:
    await fetched(target, f"CREATE FUNCTION differ() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {done} END $$")
    await fetched(target, "CREATE TRIGGER differ BEFORE INSERT ON account FOR EACH ROW EXECUTE FUNCTION differ()")
    with pytest.raises(Usage, match="The copy of account differs"):
        await copy_data(at(school, target))
    assert await fetched(target, "SELECT (SELECT count(*) FROM account) + (SELECT count(*) FROM inbox)") == 0


async def test_nothing_is_copied_beside_blobs_that_come_back_changed_or_with_others(
    school: Path, target: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    get = S3Blobs.get

    async def changed(blobs: S3Blobs, blob_id: str) -> bytes:
        return await get(blobs, blob_id) + b"!"

    async def with_another(blobs: S3Blobs, blob_id: str) -> bytes:
        await blobs.put("batch/another", b"Quokka.")
        return await get(blobs, blob_id)

    for instead, said in ((changed, "came back changed"), (with_another, "Somebody else uses the bucket")):
        monkeypatch.setattr(S3Blobs, "get", instead)
        with pytest.raises(Usage, match=said):
            await copy_data(at(school, target))
    assert await fetched(target, "SELECT count(*) FROM account") == 0


async def test_the_command_prints_what_was_copied_and_names_a_text_that_was_lost_before(
    school: Path, target: dict[str, Any]
) -> None:
    blob = min(path for path in (school / "blobs").rglob("*") if path.is_file())
    blob.unlink()
    places = ["--to", target["database_url"], "--blobs", target["blobs_url"], "--data-dir", str(school)]
    result = await asyncio.to_thread(CliRunner().invoke, app, ["copy-data", *places])
    assert result.exit_code == 0, result.output
    assert re.search(r"^ *account +1 +[0-9a-f]{16} *$", result.stdout, re.MULTILINE), result.stdout
    assert re.search(r"^ *blobs +1 +[0-9a-f]{16} *$", result.stdout, re.MULTILINE), result.stdout
    assert f"not in the copy: {blob.relative_to(school / 'blobs').as_posix()}\n" in result.stdout
    assert await fetched(target, "SELECT count(*) FROM account") == 1
