"""Forgetting what the log does not need any more: records that every group has passed, and old inbox entries.

The views can be made again from their owners, so nothing ever has to be read again from the log's beginning.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, select

from huleedu.platform.log.store import inbox, outbox, position

if TYPE_CHECKING:
    from collections.abc import Callable

    from huleedu.platform.clock import Clock
    from huleedu.platform.db import Db, Tx

INBOX_KEPT = timedelta(days=30)
"""Longer than the log: what is delivered again must still be known."""
CHUNK = 1_000
EVERY_SECONDS = 3600.0


async def trim(db: Db, clock: Clock, forget: Callable[[Tx, datetime], int], kept: timedelta) -> None:
    """Forget what is older, now and then, in transactions short enough for others to write between them."""
    while True:
        before = clock.now() - kept
        while await db.write(lambda tx: forget(tx, before)):  # noqa: B023 -- awaited at once
            pass
        await clock.sleep(EVERY_SECONDS)


def trim_log(tx: Tx, before: datetime) -> int:
    """Delete some old records that every group of their topic has passed; return how many."""
    passed = select(position.c.topic, func.min(position.c.position).label("floor")).group_by(position.c.topic)
    deleted = 0
    for row in tx.all(passed):
        old = (outbox.c.topic == row.topic) & (outbox.c.pos < row.floor) & (outbox.c.at < before)
        oldest = select(outbox.c.pos).where(old).order_by(outbox.c.pos).limit(CHUNK)
        deleted += tx.execute(delete(outbox).where(outbox.c.pos.in_(oldest)))
    return deleted


def trim_inbox(tx: Tx, before: datetime) -> int:
    """Delete some old entries; event ids begin with their time (UUID version 7), so they are in order."""
    milliseconds = int(before.timestamp() * 1000)
    first_kept = f"{milliseconds >> 16:08x}-{milliseconds & 0xFFFF:04x}"
    deleted = 0
    for group in tx.scalars(select(position.c.grp).distinct()):
        old = (inbox.c.grp == group) & (inbox.c.event_id < first_kept)
        oldest = select(inbox.c.event_id).where(old).order_by(inbox.c.event_id).limit(CHUNK)
        deleted += tx.execute(delete(inbox).where(inbox.c.grp == group, inbox.c.event_id.in_(oldest)))
    return deleted
