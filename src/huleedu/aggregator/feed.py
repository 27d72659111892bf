"""The teachers' feeds: what each was told, numbered without a gap. What is old goes, and where it ended is known."""

from __future__ import annotations

from collections import defaultdict
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter
from sqlalchemy import Column, Index, Integer, PrimaryKeyConstraint, Table, Text, delete, or_, select, update

from huleedu.contracts.notice import FeedEvent, FeedItem
from huleedu.platform.db import Timestamp, among, insert, metadata

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Executable
    from sqlalchemy.sql.dml import ReturningInsert

    from huleedu.platform.db import ReadTx, Tx

feed = Table(
    "feed",
    metadata,
    Column("user_id", Text, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("event", Text, nullable=False),
    Column("batch_id", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("payload", Text, nullable=False),
    Column("at", Timestamp, nullable=False),
    Column("traceparent", Text),
    PrimaryKeyConstraint("user_id", "seq"),
    Index("feed_batch", "batch_id"),
    Index("feed_subject", "subject"),
)
feed_head = Table(
    "feed_head",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("seq", Integer, nullable=False),
    Column("trimmed", Integer, nullable=False, server_default="0"),
)
_DATA = TypeAdapter(dict[str, Any])  # with numbers several times as fast as the standard library


@cache
def _kept() -> Executable:
    columns = (feed_head.c.user_id, feed_head.c.trimmed, feed_head.c.seq)
    return select(*columns).where(among(feed_head.c.user_id, "user_ids"))


def kept(tx: ReadTx, user_ids: Iterable[str]) -> dict[str, range]:
    """Return the places of these teachers' feeds after which everything is kept; the last one is the head."""
    new = dict.fromkeys(user_ids, range(1))
    return new | {row.user_id: range(row.trimmed, row.seq + 1) for row in tx.all(_kept(), user_ids=new)}


def heads(tx: ReadTx, user_ids: Iterable[str]) -> dict[str, int]:
    """Return the numbers of the feeds' last entries; 0 where there is none."""
    return {user_id: places[-1] for user_id, places in kept(tx, user_ids).items()}


def head(tx: ReadTx, user_id: str) -> int:
    """Return the number of the feed's last entry; 0 if there is none."""
    return heads(tx, [user_id])[user_id]


@cache
def _take_seqs() -> ReturningInsert[tuple[str, int]]:
    statement = insert(feed_head)
    return statement.on_conflict_do_update(
        index_elements=["user_id"], set_={"seq": feed_head.c.seq + statement.excluded.seq}
    ).returning(feed_head.c.user_id, feed_head.c.seq)


def take_seqs(tx: Tx, counts: Mapping[str, int]) -> dict[str, int]:
    """Take so many places in each teacher's feed and return the first of each; they are locked until the commit."""
    rows = [{"user_id": user_id, "seq": count} for user_id, count in counts.items()]
    return {row.user_id: row.seq - counts[row.user_id] + 1 for row in tx.put(_take_seqs(), rows)}


_ADD = insert(feed)


def add(tx: Tx, entries: Iterable[tuple[str, FeedItem]]) -> None:
    """Write entries of teachers' feeds: each teacher with what is told her."""
    rows = [
        {
            "user_id": user_id,
            "seq": item.seq,
            "event": item.event.value,
            "batch_id": item.batch_id,
            "subject": item.data.get("essay_id", item.batch_id),
            "version": item.version,
            "payload": _DATA.dump_json(item.data).decode(),
            "at": item.at,
            "traceparent": item.traceparent,
        }
        for user_id, item in entries
    ]
    tx.put(_ADD, rows)


def entries(tx: ReadTx, epoch: int, after: Collection[tuple[str, int]], limit: int) -> dict[str, list[FeedItem]]:
    """Return what teachers were told at so many places after each of these, (teacher, seq), as in this epoch."""
    found = defaultdict[str, list[FeedItem]](list)
    if after:
        asked = [(feed.c.user_id == user_id) & feed.c.seq.between(seq + 1, seq + limit) for user_id, seq in after]
        rows = tx.all(select(feed).where(or_(*asked)))
        for row in sorted(rows, key=attrgetter("seq")):  # told to sort, SQLite reads the whole school's
            found[row.user_id].append(_item(row, str(epoch)))
    return found


def begun_before(tx: ReadTx, moment: datetime) -> Sequence[str]:
    """Return the teachers whose feeds begin with an entry that is older than this."""
    first = select(feed.c.at).where(feed.c.user_id == feed_head.c.user_id).order_by(feed.c.seq).limit(1)
    return tx.scalars(select(feed_head.c.user_id).where(first.scalar_subquery() < moment))


def trim(tx: Tx, user_id: str, before: datetime, limit: int) -> int:
    """Delete some of the entries of a teacher's feed that are older than this; return how many."""
    old = select(feed.c.seq).where(feed.c.user_id == user_id, feed.c.at < before).order_by(feed.c.seq)
    last = max(tx.scalars(old.limit(limit)), default=0)
    behind = (feed_head.c.user_id == user_id) & (feed_head.c.trimmed < last)  # another may have got further
    tx.execute(update(feed_head).where(behind).values(trimmed=last))
    return tx.execute(delete(feed).where(feed.c.user_id == user_id, feed.c.seq <= last))


def erase_essay(tx: Tx, essay_id: str) -> None:
    """Delete what was told of an essay."""
    tx.execute(delete(feed).where(feed.c.subject == essay_id))


def erase(tx: Tx, batch_id: str) -> None:
    """Delete what was told of a batch."""
    tx.execute(delete(feed).where(feed.c.batch_id == batch_id))


def _item(row: Any, epoch: str) -> FeedItem:  # noqa: ANN401 -- a row of feed
    return FeedItem(
        event=FeedEvent(row.event),
        seq=row.seq,
        epoch=epoch,
        batch_id=row.batch_id,
        version=row.version,
        data=_DATA.validate_json(row.payload),
        at=row.at,
        traceparent=row.traceparent,
    )
