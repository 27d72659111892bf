"""The log's own tables, once per database, keyed by group: outbox, position, inbox, tombstone (and dead letters)."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from itertools import takewhile
from operator import attrgetter
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import (
    Column,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    bindparam,
    case,
    delete,
    func,
    select,
    true,
    update,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from huleedu.contracts.messages import ENVELOPES, TOPICS
from huleedu.platform.context import current, new_id
from huleedu.platform.db import Big, Timestamp, among, each, insert, metadata
from huleedu.platform.errors import TooLarge
from huleedu.platform.log import Backlog

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Executable, Select

    from huleedu.contracts.envelope import Event
    from huleedu.platform.db import ReadTx, Tx
    from huleedu.platform.log import Record

outbox = Table(
    "outbox",
    metadata,
    Column("pos", Big, primary_key=True, autoincrement=True),
    Column("topic", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("envelope", Text, nullable=False),
    Column("at", Timestamp, nullable=False),
    Index("outbox_topic", "topic"),
    sqlite_autoincrement=True,
)
position = Table(
    "position",
    metadata,
    Column("grp", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("part", Integer, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("position", Big, nullable=False),
    Column("log", Text),
    PrimaryKeyConstraint("grp", "topic", "part"),
)
inbox = Table(
    "inbox",
    metadata,
    Column("grp", Text, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("at", Timestamp, nullable=False),
    PrimaryKeyConstraint("grp", "event_id"),
    sqlite_with_rowid=False,
)
tombstone = Table(
    "tombstone",
    metadata,
    Column("grp", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("at", Timestamp, nullable=False),
    PrimaryKeyConstraint("grp", "key"),
)


LARGEST_BYTES = 4_000_000
"""Of one event: the frozen list of a batch of thousands of essays fits many times."""
MOST = 10_000
"""What waits is counted so far: whoever looks must not make it worse."""


class Settled(FunctionElement[bool]):
    """Whether no transaction is left that can still add a row before this one: what a relay may read, by `pos`.

    With several writers a sequence is not commit order. Whoever says something about a key holds that key, so of one
    key the order of `pos` is that of the commits; that of the transactions' ids is not, for one may wait for a key. So
    what is settled may still come after something of the same key that is not.

    A row that can be seen has an id that this server has given, unless it was restored from the copy of another.
    """

    inherit_cache = True


@compiles(Settled)
def _always(*_: object, **_how: object) -> str:
    return "1 = 1"


@compiles(Settled, "postgresql")
def _below_horizon(*_: object, **_how: object) -> str:
    now = "pg_current_snapshot()"
    return f"(outbox.xid < pg_snapshot_xmin({now}) OR outbox.xid >= pg_snapshot_xmax({now}))"


class Fenced(Exception):
    """Somebody else was assigned this partition: what this process holds of it is void."""


def topic_channel(topic: str) -> str:
    """Return the channel on which a topic's news is announced."""
    return f"topic:{topic}"


def append(tx: Tx, messages: Iterable[Event], *, event_id: UUID | None = None) -> None:
    """Say these messages: rows in the outbox, in the caller's transaction, in the bound context.

    `event_id` gives the id of a single message whose id is known beforehand.
    """
    post(tx, compose(tx, messages, event_id=event_id))


def compose(tx: Tx, messages: Iterable[Event], *, event_id: UUID | None = None) -> list[dict[str, Any]]:
    """Return the messages' rows in the bound context. The event ids are minted here, once.

    Raises:
        TooLarge: so that nothing is said that a broker would never take, and that would hold its key for ever.
    """
    context = current()
    rows = []
    for message in messages:
        minted = event_id or new_id()
        topic = TOPICS[type(message)]
        envelope = ENVELOPES[topic](
            event_id=minted,
            event_type=topic,
            event_timestamp=tx.now,
            source_service=context.service,
            correlation_id=context.correlation_id or minted,
            causation_id=context.causation_id,
            traceparent=context.traceparent,
            subject=message.batch_id,
            user_id=context.user_id,
            version=message.subject_version,
            data=message,
        ).model_dump_json()
        if (size := len(envelope.encode())) > LARGEST_BYTES:
            raise TooLarge(f"{type(message).__name__} has {size:,} bytes; the log takes {LARGEST_BYTES:,} at most.")
        rows.append({"topic": topic, "key": message.batch_id, "envelope": envelope, "at": tx.now})
    return rows


_POST = insert(outbox)


def post(tx: Tx, rows: Sequence[dict[str, Any]]) -> None:
    """Put composed messages into the outbox, in this order."""
    for topic in {row["topic"] for row in rows}:
        tx.announce(topic_channel(topic))
    tx.put(_POST, rows)


def forget(tx: Tx, key: str) -> None:
    """Delete every record of a key that nobody will hear of any more. It reads the whole outbox: erasures are rare."""
    tx.execute(delete(outbox).where(outbox.c.key == key))


def tail(tx: ReadTx, topic: str, start: int, limit: int) -> Sequence[Any]:
    """Return the topic's rows from this position on, oldest first: (pos, key, envelope)."""
    return tx.all(
        select(outbox.c.pos, outbox.c.key, outbox.c.envelope)
        .where(outbox.c.topic == topic, outbox.c.pos >= start)
        .order_by(outbox.c.pos)
        .limit(limit)
    )


def hold(tx: Tx, group: str, keys: Iterable[str]) -> None:
    """Let nobody else of this group decide about these keys before this transaction is over."""
    tx.lock(f"{group}/{key}" for key in keys)


def waiting(tx: ReadTx, limit: int, besides: Iterable[str] = ()) -> Sequence[Any]:
    """Return rows that a relay has not brought to the broker yet, oldest first: (pos, topic, key, envelope, lane).

    A lane is "topic/key"; of those in `besides` nothing is returned, nor anything behind what is not settled.
    """
    lane = (outbox.c.topic + "/" + outbox.c.key).label("lane")
    columns = (outbox.c.pos, outbox.c.topic, outbox.c.key, outbox.c.envelope, lane, Settled().label("settled"))
    others = select(*columns).where(lane.not_in(select(each("besides").c.value)))
    rows = tx.all(others.order_by(outbox.c.pos).limit(limit), besides=besides)
    return list(takewhile(attrgetter("settled"), rows))


def relayed(tx: Tx, positions: Sequence[int]) -> None:
    """Take rows out of the outbox: the broker has them."""
    tx.execute(delete(outbox).where(outbox.c.pos.in_(positions)))


def take(tx: Tx, group: str, topic: str, part: int, log: str) -> tuple[int, int]:
    """Assign a partition: raise its fence, so that whoever had it can commit no more. (fence, next to read).

    A position counts in one log and means nothing in another: there the group begins at the beginning, and its inbox
    knows what it has handled. One that does not say of which log it is, from before that was noted, is of this one.
    """
    statement = insert(position).values(grp=group, topic=topic, part=part, fence=1, position=0, log=log)
    here = func.coalesce(position.c.log, log) == log
    taken = {"fence": position.c.fence + 1, "position": case((here, position.c.position), else_=0), "log": log}
    upsert = statement.on_conflict_do_update(index_elements=["grp", "topic", "part"], set_=taken)
    (row,) = tx.all(upsert.returning(position.c.fence, position.c.position))
    return row.fence, row.position


def advance(tx: Tx, group: str, records: Sequence[Record]) -> None:
    """Move the positions past these records.

    Raises:
        Fenced: if any of their assignments is over.
    """
    last = {(record.topic, record.partition): record for record in records}
    for (topic, part), record in sorted(last.items()):
        mine = (position.c.grp == group, position.c.topic == topic, position.c.part == part)
        unfenced = update(position).where(*mine, position.c.fence == record.fence)
        if not tx.execute(unfenced.values(position=record.offset + 1)):
            raise Fenced


def hold_position(tx: Tx, group: str, topic: str, part: int) -> None:
    """Lock the partition's position, so that nothing of it is decided elsewhere meanwhile."""
    mine = (position.c.grp == group, position.c.topic == topic, position.c.part == part)
    tx.execute(update(position).where(*mine).values(fence=position.c.fence))


def positions(tx: ReadTx, group: str) -> dict[tuple[str, int], int]:
    """Return how far a group is, by topic and partition: the next record to be read."""
    rows = tx.all(select(position.c.topic, position.c.part, position.c.position).where(position.c.grp == group))
    return {(row.topic, row.part): row.position for row in rows}


def behind(tx: ReadTx, topic: str, start: int) -> Backlog:
    """Return what the outbox has of a topic from this position on."""
    return backlog(tx, select(outbox.c.at).where(outbox.c.topic == topic, outbox.c.pos >= start).order_by(outbox.c.pos))


def unsent(tx: ReadTx) -> Backlog:
    """Return what the outbox has."""
    return backlog(tx, select(outbox.c.at).order_by(outbox.c.pos))


def backlog(tx: ReadTx, waiting: Select[tuple[datetime]]) -> Backlog:
    """Return how many of these there are, and the oldest of the moments."""
    found = waiting.limit(MOST).subquery()
    (row,) = tx.all(select(func.count().label("size"), func.min(found.c.at).label("since")).select_from(found))
    return Backlog(row.size, row.since)


def newest(tx: ReadTx, group: str) -> datetime | None:
    """Return when the newest event that a group has handled was said: ids begin with their time (UUID version 7).

    Those of the next five hundred years begin with a zero; what others made up hardly does.
    """
    last = tx.scalar(select(func.max(inbox.c.event_id)).where(inbox.c.grp == group, inbox.c.event_id < "1"))
    return datetime.fromtimestamp(int(UUID(last)) / 2**80 / 1000, UTC) if last else None


@cache
def _unseen() -> Executable:
    source = select(bindparam("group", type_=Text), each("event_ids").c.value, bindparam("now", type_=Timestamp))
    statement = insert(inbox).from_select(["grp", "event_id", "at"], source.where(true()))
    return statement.on_conflict_do_nothing().returning(inbox.c.event_id)


def unseen(tx: Tx, group: str, event_ids: Iterable[str]) -> set[str]:
    """Note these events in the group's inbox and return those that were not there."""
    return set(tx.scalars(_unseen(), group=group, event_ids=sorted(event_ids), now=tx.now))


def bury(tx: Tx, group: str, key: str) -> None:
    """Nothing of this key is heard by the group any more."""
    row = {"grp": group, "key": key, "at": tx.now}
    tx.execute(insert(tombstone).values(row).on_conflict_do_nothing())


@cache
def _buried() -> Executable:
    return select(tombstone.c.key).where(tombstone.c.grp == bindparam("group"), among(tombstone.c.key, "keys"))


def buried(tx: ReadTx, group: str, keys: Iterable[str]) -> set[str]:
    """Return those of the keys that nothing is heard of any more."""
    return set(tx.scalars(_buried(), group=group, keys=set(keys)))
