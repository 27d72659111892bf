"""Blobs that are to go: what nothing refers to is garbage from before it is put, so that no death leaves it behind.

Whoever is about to put blobs says so first (`expect`), and until when; whoever refers to them takes them off the list
in the same transaction (`keep`). What stays on the list is swept when its time has come. A prefix that is expected
belongs to one putter alone, so nobody else loses what is swept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, PrimaryKeyConstraint, Table, Text, delete, exists, select, update

from huleedu.platform.db import Timestamp, insert, metadata

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from huleedu.platform.db import ReadTx, Tx

garbage = Table(
    "garbage",
    metadata,
    Column("grp", Text, nullable=False),
    Column("prefix", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("due", Timestamp, nullable=False),
    PrimaryKeyConstraint("grp", "prefix"),
)
CHANNEL = "blobs:garbage"


def expect(tx: Tx, group: str, prefix: str, user_id: str, until: datetime) -> None:
    """Blobs will be put below this prefix; they are garbage unless they are kept before this moment."""
    statement = insert(garbage).values(grp=group, prefix=prefix, user_id=user_id, due=until)
    tx.execute(statement.on_conflict_do_update(index_elements=["grp", "prefix"], set_={"due": until}))


def keep(tx: Tx, group: str, prefix: str) -> bool:
    """Something refers to these blobs from now on; False if it is too late for that."""
    mine = (garbage.c.grp == group) & (garbage.c.prefix == prefix) & (garbage.c.due > tx.now)
    return bool(tx.execute(delete(garbage).where(mine)))


def discard(tx: Tx, group: str, prefix: str, user_id: str) -> None:
    """Nothing refers to these blobs any more."""
    expect(tx, group, prefix, user_id, tx.now)
    tx.announce(CHANNEL)


def discard_expected(tx: Tx, group: str) -> None:
    """Nobody is about to put anything: whoever was has died."""
    tx.execute(update(garbage).where(garbage.c.grp == group).values(due=tx.now))
    tx.announce(CHANNEL)


def due(tx: ReadTx, group: str) -> Sequence[Any]:
    """Return what is to go: (prefix, user_id, due)."""
    return tx.all(select(garbage).where(garbage.c.grp == group, garbage.c.due <= tx.now).order_by(garbage.c.due))


def forget(tx: Tx, group: str, prefix: str, due: datetime) -> None:
    """Note that what was to go at this moment is gone."""
    gone = (garbage.c.grp == group) & (garbage.c.prefix == prefix) & (garbage.c.due == due)
    tx.execute(delete(garbage).where(gone))


def remains(tx: ReadTx, group: str, batch_id: str) -> bool:
    """Return whether the group has blobs of this batch to delete, or expects some."""
    its = (garbage.c.prefix == batch_id) | garbage.c.prefix.startswith(f"{batch_id}/", autoescape=True)
    return bool(tx.scalar(select(exists().where(garbage.c.grp == group, its))))
