"""The platform as the settings say: a data directory, locked by the one process that uses it, or what many share."""

from __future__ import annotations

import asyncio
import fcntl
import os
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from huleedu.platform.app import Platform
from huleedu.platform.backplane.memory import MemoryBackplane
from huleedu.platform.blobs.files import FileBlobs
from huleedu.platform.clock import Clock
from huleedu.platform.db.postgres import PostgresDb
from huleedu.platform.db.sqlite import SqliteDb
from huleedu.platform.errors import Usage
from huleedu.platform.keys import Keys
from huleedu.platform.log.embedded import EmbeddedLog
from huleedu.platform.migrate import examine_postgres, migrate, migrate_postgres
from huleedu.platform.settings import collector

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
    from pathlib import Path

    from huleedu.platform.backplane import Backplane
    from huleedu.platform.backplane.redis import RedisClient
    from huleedu.platform.blobs import Blobs
    from huleedu.platform.blobs.s3 import S3Blobs
    from huleedu.platform.db import Db
    from huleedu.platform.log import Log
    from huleedu.platform.settings import Settings

DATABASE, BLOBS = "huleedu.db", "blobs"
CONTROL = "control.json"
"""Where the running server is, for the operator's commands."""
PAIR = {"database_url": "postgresql://USER:PASSWORD@HOST/NAME", "log_url": "kafka://HOST:PORT"}


class Locked(Usage):
    """Another process uses the data directory."""


@contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """Hold the data directory, made if need be, as its only user while the block runs."""
    try:
        for private in (data_dir, data_dir / BLOBS):  # essays are for this user only, whatever the umask says
            private.mkdir(mode=0o700, parents=True, exist_ok=True)
        (data_dir / DATABASE).touch(mode=0o600)  # what SQLite puts beside it is as private
        descriptor = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise Usage(
            f"Cannot write to the data directory {data_dir}: {error.strerror}. Choose another --data-dir."
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Locked(f"Another HuleEdu uses {data_dir}. Stop it, or choose another --data-dir.") from error
        (data_dir / CONTROL).unlink(missing_ok=True)  # of a server that was killed
        yield
    finally:
        os.close(descriptor)


def wire(settings: Settings, clock: Clock | None = None) -> Platform:
    """Return the platform as the settings say, with nothing started."""
    clock = clock or Clock()
    _require_pair(settings)
    url = settings.database_url.get_secret_value()
    db = PostgresDb(url, clock) if url else SqliteDb(settings.data_dir / DATABASE, clock)
    return Platform(
        settings=settings,
        keys=Keys.of(settings.data_dir, settings.service_keys.get_secret_value()),
        clock=clock,
        db=db,
        log=_log(settings.log_url.get_secret_value(), db),
        backplane=_backplane(settings.backplane_url.get_secret_value()),
        blobs=blobs_at(settings.blobs_url.get_secret_value(), settings.data_dir / BLOBS),
    )


async def prepare_database(settings: Settings) -> list[str]:
    """Make or upgrade the database, as often as one likes; return its revisions."""
    url = settings.database_url.get_secret_value()
    return await migrate_postgres(url) if url else migrate(settings.data_dir / DATABASE)


async def prepare(settings: Settings) -> list[str]:
    """Do that, and make the topics too, which are else made where the log is tended."""
    revisions = await prepare_database(settings)
    if url := settings.log_url.get_secret_value():
        with _extra("kafka"):
            from huleedu.platform.log.kafka_topics import create_topics  # noqa: PLC0415 -- its library is an extra
        await asyncio.to_thread(create_topics, url)
    return revisions


def require_shared(settings: Settings) -> None:
    """Raise Usage, with what is to be set, unless services may run in processes of their own."""
    needed = ("database_url", "log_url", "backplane_url", "blobs_url", "service_keys", "peers")
    missing = [f"HULEEDU_{name.upper()}" for name in needed if not getattr(settings, name)]
    if missing:
        raise Usage(
            f"A service by itself shares with the others what they keep: set {', '.join(missing)}."
            " `huleedu serve` without names runs all in one process and needs none of them."
        )


def _require_pair(settings: Settings) -> None:
    """Raise Usage, with what is to be set, if of PostgreSQL and Kafka one is named without the other."""
    missing = [f"HULEEDU_{name.upper()}={url}" for name, url in PAIR.items() if not getattr(settings, name)]
    if len(missing) == 1:
        raise Usage(f"PostgreSQL and Kafka go together, and only one of them is named: set {missing[0]}.")


def _log(url: str, db: Db) -> Log:
    if not url:
        return EmbeddedLog(db)
    with _extra("kafka"):
        from huleedu.platform.log.kafka import KafkaLog  # noqa: PLC0415 -- its library is an extra
    return KafkaLog(db, url)


def _backplane(url: str) -> Backplane:
    if not url:
        return MemoryBackplane("huleedu")
    return _redis(url)


def blobs_at(url: str, directory: Path) -> Blobs:
    """Return the blobs in this bucket or, without one, in this directory."""
    if not url:
        return FileBlobs(directory)
    return _s3(url)


async def examine(settings: Settings, name: str, groups: Iterable[str] = ()) -> str:
    """Look at the server that this setting names; return what was found, or raise Usage: what is to be mended.

    `groups` are those of the log's readers.
    """
    url = getattr(settings, name).get_secret_value()
    if name in PAIR:
        _require_pair(settings)
    if name == "database_url":
        return await examine_postgres(url)
    if name == "log_url":
        with _extra("kafka"):
            from huleedu.platform.log.kafka_topics import examine_topics  # noqa: PLC0415 -- its library is an extra
        return await asyncio.to_thread(examine_topics, url, groups)
    if name == "backplane_url":
        return await _redis(url).examine()
    return await _s3(url).examine()


def _redis(url: str) -> RedisClient:
    with _extra("redis"):
        from huleedu.platform.backplane.redis import RedisClient  # noqa: PLC0415 -- its library is an extra
    return RedisClient("huleedu", url)


def _s3(url: str) -> S3Blobs:
    with _extra("s3"):
        from huleedu.platform.blobs.s3 import S3Blobs  # noqa: PLC0415 -- its library is an extra
    return S3Blobs(url)


@contextmanager
def traced(name: str) -> Iterator[None]:
    """Send the spans of this process where the environment says, if it does."""
    if not collector():
        yield
        return
    with _extra("otel"):
        from huleedu.platform.collector import exported  # noqa: PLC0415 -- its library is an extra
    with exported(name):
        yield


@contextmanager
def _extra(name: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise Usage(f"{error.name} is not installed. Install it by: pip install 'huleedu[{name}]'.") from error


@asynccontextmanager
async def opened(
    settings: Settings, clock: Clock | None = None, prepare: Callable[[Settings], Awaitable[object]] = prepare_database
) -> AsyncIterator[Platform]:
    """Lock the data directory, if it is used, prepare the database, and open what there is while the block runs."""
    with locked(settings.data_dir) if settings.alone else nullcontext():
        platform = wire(settings, clock)
        await prepare(settings)
        await platform.db.start()
        await platform.backplane.start()
        try:
            yield platform
        finally:
            for peer in platform.peers.values():
                await peer.aclose()
            await platform.backplane.aclose()
            await platform.db.close()
