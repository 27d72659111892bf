"""`huleedu doctor` on the second engine: each thing broken by itself is found, named and told how to mend."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclOperation
from confluent_kafka.admin._resource import ResourceType
from confluent_kafka.cimpl import NewTopic

from huleedu.cli.doctor import diagnose
from huleedu.contracts.messages import MESSAGES
from huleedu.platform import migrate
from huleedu.platform.blobs.s3 import S3Blobs
from huleedu.platform.http import NOT_READY
from huleedu.platform.installation import prepare, prepare_database
from huleedu.platform.log.kafka_topics import Cluster, create_topics
from huleedu.platform.settings import Settings
from tests.engine.kafka import altered, topics_at
from tests.engine.rights import MINIMUM, Right, allow, denied, guests
from tests.engine.whole import passwords, second_engine
from tests.given import Databases
from tests.servers import ENGINE, Servers

pytestmark = [*ENGINE]
SERVERS = ["PostgreSQL", "Kafka", "Redis", "S3"]
APART = {"service_keys": "k" * 32}
Engine = dict[str, Any]
Break = Callable[[Engine], Awaitable[None]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sound(servers: Servers) -> AsyncIterator[Engine]:
    """The settings of a sound second engine, which all tests look at and none changes."""
    async with second_engine(servers) as settings:
        await prepare(Settings(**settings))
        yield settings


@pytest.fixture
def engine(sound: Engine, tmp_path: Path) -> Engine:
    """Those settings, to be changed as one likes; whoever changes what they name takes a place of his own first."""
    return sound | {"data_dir": tmp_path}


@pytest.fixture
async def own_topics(servers: Servers, engine: Engine) -> AsyncIterator[Engine]:
    """Those settings with topics that nobody else uses."""
    async with topics_at(servers.env("kafka")["SERVERS_KAFKA_SASL_URL"]) as log_url:
        yield engine | {"log_url": log_url}
        await asyncio.to_thread(create_topics, log_url)


async def own_database(engine: Engine) -> str:
    """Have a sound database that nobody else uses, and return its address."""
    databases = Databases()
    databases.server = engine["database_url"]
    engine["database_url"] = await databases.create()
    await prepare_database(Settings(**engine))
    return str(engine["database_url"])


async def wrong(engine: Engine) -> dict[str, str]:
    """Return what is said of each thing that is not sound."""
    return {check.what: check.found for check in await diagnose(Settings(**engine)) if not check.sound}


async def execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


def admin(engine: Engine) -> tuple[AdminClient, str]:
    """Return a client for the broker, and the name of one of the topics."""
    cluster = Cluster.of(engine["log_url"])
    return AdminClient(cluster.config), f"{cluster.prefix}{MESSAGES[0].topic}"


async def wrong_password(engine: Engine) -> None:
    engine["database_url"] = re.sub(r":[^:@]+@", ":guessed@", engine["database_url"])


async def wrong_mode(engine: Engine) -> None:
    engine["database_url"] += "?sslmode=certainly"


async def no_database(engine: Engine) -> None:
    engine["database_url"] += "_of_another"


async def not_migrated(engine: Engine) -> None:
    await execute(await own_database(engine), "DELETE FROM alembic_version WHERE version_num LIKE 'files%'")


async def lost_tables(engine: Engine) -> None:
    await execute(await own_database(engine), "DROP TABLE essay CASCADE", "DROP TABLE feed")


async def least_rights(engine: Engine) -> str:
    """Be a role that may do no more than it must, and return its name."""
    role, database = f"r{uuid4().hex}", engine["database_url"]
    await execute(
        database,
        f"CREATE ROLE {role} LOGIN PASSWORD 'known'",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}",
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}",
    )
    engine["database_url"] = re.sub(r"//[^@]+@", f"//{role}:known@", database)
    return role


async def no_rights(engine: Engine) -> None:
    database = await own_database(engine)
    await execute(database, f"REVOKE DELETE ON essay FROM {await least_rights(engine)}")


async def no_log(engine: Engine) -> None:
    engine["log_url"] = ""


async def no_database_url(engine: Engine) -> None:
    engine["database_url"] = ""


async def has_partitions(client: AdminClient, topic: str, count: int) -> None:
    """Wait until the broker says so: what it has done it tells a moment later."""
    while True:
        there = (await asyncio.to_thread(client.list_topics, timeout=10)).topics
        if (len(there[topic].partitions) if topic in there else 0) == count:
            return


async def missing_topic(engine: Engine) -> None:
    client, topic = admin(engine)
    await asyncio.to_thread(client.delete_topics([topic])[topic].result)
    await has_partitions(client, topic, 0)


async def other_partitions(engine: Engine) -> None:
    await missing_topic(engine)
    client, topic = admin(engine)
    for making in client.create_topics([NewTopic(topic, 3, -1)]).values():
        await asyncio.to_thread(making.result)
    await has_partitions(client, topic, 3)


async def short_retention(engine: Engine) -> None:
    await altered(engine["log_url"], MESSAGES[0].topic, "retention.ms", "3600000")


async def compacted(engine: Engine) -> None:
    await altered(engine["log_url"], MESSAGES[0].topic, "cleanup.policy", "compact")


async def compacted_too(engine: Engine) -> None:
    await altered(engine["log_url"], MESSAGES[0].topic, "cleanup.policy", "compact,delete")


async def small_records(engine: Engine) -> None:
    await altered(engine["log_url"], MESSAGES[0].topic, "max.message.bytes", "1048588")


async def unknown_user(engine: Engine) -> None:
    engine["log_url"] = re.sub(r":[^:@]+@", ":guessed@", engine["log_url"])


async def no_broker(engine: Engine) -> None:
    engine["log_url"] = "kafka://127.0.0.1:1"


async def no_place_for_the_backplane(engine: Engine) -> None:
    engine |= APART | {"peers": "files=http://127.0.0.1:1", "backplane_url": ""}


async def no_redis(engine: Engine) -> None:
    engine["backplane_url"] = "redis://127.0.0.1:1/0"


async def wrong_password_of_redis(engine: Engine) -> None:
    engine["backplane_url"] = re.sub(r":[^:@]+@", ":guessed@", engine["backplane_url"])


async def no_bucket(engine: Engine) -> None:
    engine["blobs_url"] = "s3://of-another-school"


async def no_store(engine: Engine) -> None:
    engine["blobs_url"] += "?endpoint_url=http://127.0.0.1:1"


async def told_by_itself(
    engine: Engine, break_it: Break, what: str, mend: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Break it, and see that nothing else is told, and no password."""
    right = passwords(engine)
    await break_it(engine)
    told = await wrong(engine)
    assert told.keys() == {what}
    assert mend in told[what]
    shown = told[what] + "".join(capfd.readouterr())
    assert not [password for password in right | passwords(engine) if password in shown]


async def test_a_sound_engine(engine: Engine) -> None:
    checks = await diagnose(Settings(**engine))
    assert [check for check in checks if not check.sound] == []
    told = [check.what for check in checks]
    assert [what for what in told if what in SERVERS] == SERVERS
    assert told[-1] == "gateway"


@pytest.mark.parametrize(
    ("break_it", "what", "mend"),
    [
        (wrong_password, "PostgreSQL", "HULEEDU_DATABASE_URL names: password authentication failed"),
        (wrong_mode, "PostgreSQL", "HULEEDU_DATABASE_URL names: `sslmode` parameter must be one of"),
        (no_database, "PostgreSQL", '_of_another" does not exist'),
        (not_migrated, "PostgreSQL", "run `huleedu migrate`"),
        (lost_tables, "PostgreSQL", "Tables are missing: essay, feed. Restore"),
        (no_rights, "PostgreSQL", "may not use essay: grant it"),
        (no_log, "PostgreSQL", "set HULEEDU_LOG_URL"),
        (no_database_url, "Kafka", "set HULEEDU_DATABASE_URL"),
        (unknown_user, "Kafka", "Invalid username or password"),
        (no_broker, "Kafka", "Connection refused"),
        (no_place_for_the_backplane, "settings", "what they keep: set HULEEDU_BACKPLANE_URL."),
        (no_redis, "Redis", "HULEEDU_BACKPLANE_URL names cannot be used"),
        (wrong_password_of_redis, "Redis", "password"),
        (no_bucket, "S3", "There is no bucket of-another-school: make it"),
        (no_store, "S3", "mend AWS_ENDPOINT_URL"),
    ],
)
async def test_what_is_broken_is_told_by_itself_with_what_to_mend(
    engine: Engine, break_it: Break, what: str, mend: str, capfd: pytest.CaptureFixture[str]
) -> None:
    await told_by_itself(engine, break_it, what, mend, capfd)


@pytest.mark.parametrize(
    ("break_it", "mend"),
    [
        (missing_topic, f"{MESSAGES[0].topic}. Run `huleedu migrate`"),
        (other_partitions, "has 3 partitions and must have 6"),
        (short_retention, f"{MESSAGES[0].topic} forgets too early: set its retention.ms to 604800000"),
        (compacted, f"{MESSAGES[0].topic} is compacted and loses records: set its cleanup.policy to delete"),
        (compacted_too, f"{MESSAGES[0].topic} is compacted and loses records: set its cleanup.policy to delete"),
        (small_records, f"{MESSAGES[0].topic} refuses large records: set its max.message.bytes to 4194304"),
    ],
)
async def test_a_topic_that_is_broken_is_told_by_itself_with_what_to_mend(
    own_topics: Engine, break_it: Break, mend: str, capfd: pytest.CaptureFixture[str]
) -> None:
    await told_by_itself(own_topics, break_it, "Kafka", mend, capfd)


async def test_a_group_that_may_not_be_read(own_topics: Engine, servers: Servers) -> None:
    url = own_topics["log_url"]
    await allow(url, *MINIMUM)
    guest = own_topics | {"log_url": guests(servers, url)}
    assert await wrong(guest) == {}
    async with denied(url, Right(ResourceType.GROUP, "phase-service", AclOperation.READ)):
        told = await wrong(guest)
    assert told == {"Kafka": f"Give HULEEDU_LOG_URL's user READ on the groups {Cluster.of(url).prefix}phase-service."}


@asynccontextmanager
async def left_open(url: str) -> AsyncIterator[int]:
    """Have a transaction open, in another database of the server; return the process that serves it."""
    connection = await asyncpg.connect(f"{url.rpartition('/')[0]}/postgres", server_settings={"application_name": "x"})
    try:
        async with connection.transaction():
            await connection.execute("SELECT pg_current_xact_id()")
            yield connection.get_server_pid()
    finally:
        await connection.close()


async def test_a_transaction_that_is_left_open(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    async with left_open(engine["database_url"]) as pid:
        assert await wrong(engine) == {}
        monkeypatch.setattr(migrate, "LEFT_OPEN_SECONDS", 0.0)
        told = (await wrong(engine))["PostgreSQL"]
    assert re.search(r"is open since 20\d\d-.* UTC: of huleedu in the database postgres, application 'x'\.", told)
    assert f"SELECT pg_terminate_backend({pid})." in told
    assert await wrong(engine) == {}


async def test_a_transaction_of_which_this_role_is_told_little(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    url = await own_database(engine)
    await least_rights(engine)
    monkeypatch.setattr(migrate, "LEFT_OPEN_SECONDS", 0.0)
    async with left_open(url) as pid:
        row = "INSERT INTO outbox (topic, key, envelope, at, xid) VALUES ('t', 'k', '', now(), {})"
        await execute(url, row.format("'999999999999'"))
        assert await wrong(engine) == {}, "what was restored from another server waits for nobody"
        await execute(url, row.format("DEFAULT"))
        told = (await wrong(engine))["PostgreSQL"]
    assert "is open for too long: of huleedu in the database postgres, application 'x'" in told
    assert f"SELECT pg_terminate_backend({pid})." in told


async def test_a_bucket_that_keeps_what_is_erased(engine: Engine) -> None:
    blobs = S3Blobs(engine["blobs_url"])
    enable = {"Status": "Enabled"}
    try:
        blobs._s3.put_bucket_versioning(Bucket=blobs._bucket, VersioningConfiguration=enable)
        assert "keeps old versions" in (await wrong(engine))["S3"]
    finally:
        blobs._s3.put_bucket_versioning(Bucket=blobs._bucket, VersioningConfiguration={"Status": "Suspended"})
        blobs._s3.close()


async def test_a_setting_that_nobody_reads(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HULEEDU_BACKPLAN_URL", "redis://somewhere")
    assert "There is no setting HULEEDU_BACKPLAN_URL" in (await wrong(engine))["settings"]


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


STRANGER = "Something other than the service answers at {url}: mend HULEEDU_PEERS."
KEYS = "The service at {url} does not know the key of this process: give both the same HULEEDU_SERVICE_KEYS."
STARTING = "The service at {url} waits for its database: its log says why (serve.waiting)."


@pytest.mark.parametrize(
    ("status", "body", "found"),
    [
        ("401 Unauthorized", "", KEYS),
        ("503 Service Unavailable", f'{{"code": "{NOT_READY}"}}', STARTING),
        ("200 OK", "<h1>The printer</h1>", STRANGER),
        ("404 Not Found", "<h1>The printer</h1>", STRANGER),
        ("200 OK", '{"ink": "low"}', STRANGER),
        ("200 OK", '["ink"]', STRANGER),
    ],
)
async def test_what_answers_in_the_place_of_a_service(engine: Engine, status: str, body: str, found: str) -> None:
    async with answering(status, body) as url:
        told = await wrong(engine | APART | {"peers": f"files={url}"})
    assert told == {"files": found.format(url=url)}


async def test_a_service_that_is_away(engine: Engine) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        told = await wrong(engine | APART | {"peers": f"files={url}"})
    assert told == {"files": f"The service does not answer at {url}: start it there, or mend HULEEDU_PEERS."}


async def test_services_without_a_place_are_told_and_looked_at_here(engine: Engine) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        peers = f"files=http://127.0.0.1:{nobody.getsockname()[1]}"
        found = {check.what: check for check in await diagnose(Settings(**engine | APART | {"peers": peers}))}
    missing = "HULEEDU_PEERS does not name orchestrator, lifecycle, phases, aggregator, gateway"
    assert (found["settings"].sound, found["orchestrator"].sound) == (True, True)
    assert found["settings"].found.endswith(missing)
