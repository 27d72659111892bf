"""`huleedu copy-data`: moves a school that has outgrown its data directory to PostgreSQL and a bucket.

The copy of the database is one transaction, and the last thing that is done: until it has been compared and committed
nothing is there, and whoever was stopped on the way begins again. Blobs that are there by then are compared, not sent.

Every table goes along whole, but two of the log's. A position is a place in the old log and means nothing in another.
Of the outbox goes what some group has not passed: every group reads it from the new log, and those that had passed it
know it by their inbox. What all have passed stays behind, because the inbox may have forgotten it.
"""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import cast, create_engine, exists, false, func, literal, or_, select, text
from sqlalchemy.dialects.postgresql import REGCLASS
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from huleedu.cli.topology import services
from huleedu.contracts.messages import TOPICS
from huleedu.files.store import essay
from huleedu.phases.store import phase_result
from huleedu.platform.blobs import blob_id
from huleedu.platform.blobs.files import FileBlobs
from huleedu.platform.clock import Clock
from huleedu.platform.db import insert, metadata
from huleedu.platform.errors import Usage
from huleedu.platform.installation import BLOBS, DATABASE, blobs_at, examine, locked
from huleedu.platform.log.store import outbox, position
from huleedu.platform.log.trim import INBOX_KEPT
from huleedu.platform.migrate import is_current, postgres

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Iterator
    from pathlib import Path

    from sqlalchemy import ColumnElement, Connection, Select, Table

    from huleedu.platform.blobs import Blobs
    from huleedu.platform.settings import Settings

PAGE = {"yield_per": 1_000}
AT_ONCE = 32


class Copied(NamedTuple):
    """A table, or all blobs, the same on both sides: how many there are, and the hash of all."""

    what: str
    rows: int
    sha256: str


class Copy(NamedTuple):
    """What was copied, and what rows name that was lost before."""

    copied: list[Copied]
    lost: list[str]


async def copy_data(settings: Settings) -> Copy:
    """Copy the data directory, which stays as it is, to the database and the bucket that the settings name."""
    url, directory = settings.database_url.get_secret_value(), settings.data_dir
    if not url or not settings.blobs_url:
        raise Usage("Say where to copy: --to postgresql://USER:PASSWORD@HOST/NAME --blobs s3://BUCKET.")
    if not (directory / DATABASE).exists():
        raise Usage(f"There is no school in {directory}. Name its --data-dir.")
    with locked(directory), _read_only(directory / DATABASE) as source:
        unheard = _require_sound(source, directory)
        await examine(settings, "blobs_url")
        async with postgres(url) as target:
            await target.run_sync(_require_empty)
        ours = FileBlobs(directory / BLOBS)
        wanted, lost = _named(source, await ours.names())
        blobs = await _copy_blobs(ours, blobs_at(settings.blobs_url.get_secret_value(), directory), wanted)
        try:
            async with postgres(url) as target:
                tables = await target.run_sync(_copy_tables, source, unheard)
        except DBAPIError as error:
            raise Usage(f"PostgreSQL does not take the copy: {error.orig}. Nothing of it is there.") from error
    return Copy([*tables, blobs], lost)


@contextmanager
def _read_only(path: Path) -> Iterator[Connection]:
    uri = f"{path.absolute().as_uri()}?mode=ro"
    engine = create_engine("sqlite://", creator=partial(sqlite3.connect, uri, uri=True), poolclass=NullPool)
    with engine.connect() as connection:
        yield connection


def _require_sound(source: Connection, directory: Path) -> Select[Any]:
    """Raise Usage unless the school can go on elsewhere; return what of its outbox goes along."""
    if not is_current(source):
        raise Usage(f"{directory} has not the form of this version: start the server there once, then copy.")
    unheard = select(outbox).where(or_(false(), *_unheard(source)))
    oldest = source.execute(select(func.min(unheard.subquery().c.at))).scalar()
    if oldest is not None and oldest < Clock().now() - INBOX_KEPT:
        raise Usage(f"In {directory} old events wait to be heard: start the server there once more, then copy.")
    return unheard


def _unheard(source: Connection) -> Iterator[ColumnElement[bool]]:
    """Say of each topic what some group that hears it has not passed; a group without a position has passed nothing."""
    passed = {(row.grp, row.topic): row.position for row in source.execute(select(position))}
    floors: dict[str, int] = {}
    for service in services():
        for topic in (TOPICS[message] for message in service.hears):
            here = passed.get((service.group, topic), 0)
            floors[topic] = min(floors.get(topic, here), here)
    for topic, floor in floors.items():
        yield (outbox.c.topic == topic) & (outbox.c.pos >= floor)


def _require_empty(target: Connection) -> None:
    """Raise Usage unless the target has every table and no row; let nobody else write until this is over."""
    if not is_current(target):
        raise Usage("--to names a database without the tables of this version: make them by `huleedu migrate`.")
    tables = metadata.sorted_tables
    target.execute(text(f"LOCK TABLE {', '.join(table.name for table in tables)} IN EXCLUSIVE MODE"))
    for table in tables:
        if target.execute(select(exists(select(literal(1)).select_from(table)))).scalar():
            raise Usage(f"--to names a database that has {table.name} already: name an empty one.")


def _named(source: Connection, there: set[str]) -> tuple[set[str], list[str]]:
    """Return the blobs that belong to an essay, so that somebody can erase them; and what rows name that is lost."""
    essays = {f"{row.batch_id}/{row.essay_id}" for row in source.execute(select(essay.c.batch_id, essay.c.essay_id))}
    named: set[str] = set()
    for column in (essay.c.original_id, essay.c.text_storage_id, phase_result.c.result_id):
        named.update(source.execute(select(column)).scalars())
    wanted, expected = ({name for name in names if _essay(name) in essays} for names in (there, named))
    return wanted, sorted(expected - wanted)


def _essay(blob: str) -> str:
    return "/".join(blob.split("/")[:2])


async def _copy_blobs(source: Blobs, target: Blobs, wanted: set[str]) -> Copied:
    there = await target.names()
    if foreign := there - wanted:
        raise Usage(f"--blobs names a place where {len(foreign)} other things are: empty it, or name another.")

    async def copy(name: str) -> None:
        data, prefix = await source.get(name), name.rpartition("/")[0]
        if blob_id(prefix, data) != name:
            raise Usage(f"{BLOBS}/{name} is damaged: take it from a back-up, or delete that essay, then copy.")
        if name not in there:
            await target.put(prefix, data)
        if await target.get(name) != data:
            raise Usage(f"{name} came back changed from the bucket: empty the bucket and begin again.")

    names = sorted(wanted)
    for first in range(0, len(names), AT_ONCE):
        await _all(map(copy, names[first : first + AT_ONCE]))
    if await target.names() != wanted:
        raise Usage("Somebody else uses the bucket: empty it, or name another, and begin again.")
    return Copied("blobs", len(names), hashlib.sha256("\n".join(names).encode()).hexdigest())


async def _all(work: Iterable[Awaitable[None]]) -> None:
    """Wait for all, also when one has failed: nothing comes to the bucket when the fault has been told."""
    for fault in filter(None, await asyncio.gather(*work, return_exceptions=True)):
        raise fault


def _copy_tables(target: Connection, source: Connection, unheard: Select[Any]) -> list[Copied]:
    _require_empty(target)
    rows = {table: unheard if table is outbox else select(table) for table in metadata.sorted_tables}
    del rows[position]
    return [_copy_table(target, source, table, some) for table, some in rows.items()]


def _copy_table(target: Connection, source: Connection, table: Table, rows: Select[Any]) -> Copied:
    for page in source.execute(rows, execution_options=PAGE).mappings().partitions():
        target.execute(insert(table), [dict(row) for row in page])
    if (counter := table.autoincrement_column) is not None:
        sequence = cast(func.pg_get_serial_sequence(table.name, counter.name), REGCLASS)
        target.execute(select(func.setval(sequence, select(func.max(counter)).scalar_subquery())))
    copied = _read(source, table, rows)
    if _read(target, table, select(table)) != copied:
        raise Usage(f"The copy of {table.name} differs, and nothing was kept of it: begin again.")
    return copied


def _read(connection: Connection, table: Table, rows: Select[Any]) -> Copied:
    """Count and hash, in the same order on both sides: text compares by its bytes."""
    digest, count = hashlib.sha256(), 0
    for row in connection.execute(rows.order_by(*table.primary_key), execution_options=PAGE):
        digest.update(repr(tuple(row)).encode())
        count += 1
    return Copied(table.name, count, digest.hexdigest())
