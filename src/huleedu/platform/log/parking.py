"""Dead letters: what cannot be handled is kept with its cause, and what follows on its key waits behind it in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    and_,
    delete,
    func,
    select,
    true,
    update,
)

from huleedu.contracts.notice import RecordParkedV1
from huleedu.platform.context import caused_by
from huleedu.platform.db import Big, Timestamp, insert, metadata
from huleedu.platform.log import store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, Row

    from huleedu.platform.db import ReadTx, Tx
    from huleedu.platform.log.delivery import Delivery

dead_letter = Table(
    "dead_letter",
    metadata,
    Column("id", Big, primary_key=True, autoincrement=True),
    Column("grp", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("part", Integer, nullable=False),
    Column("key", Text, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("value", LargeBinary, nullable=False),
    Column("cause", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("traceparent", Text),
    Column("redrive", Integer, nullable=False),
    Column("told", Boolean, nullable=False),
    Column("at", Timestamp, nullable=False),
    UniqueConstraint("grp", "event_id"),
    Index("dead_letter_key", "grp", "topic", "key"),
    sqlite_autoincrement=True,
)

BEHIND = "waits behind an earlier record of the same key"


def redrive_channel(group: str) -> str:
    """Return the channel on which a redrive of this group is announced."""
    return f"redrive:{group}"


def parked_lanes(tx: ReadTx, group: str) -> set[tuple[str, str]]:
    """Return the (topic, key) pairs of this group that wait for a redrive."""
    rows = tx.all(select(dead_letter.c.topic, dead_letter.c.key).distinct().where(dead_letter.c.grp == group))
    return {(row.topic, row.key) for row in rows}


def counts(tx: ReadTx, group: str) -> tuple[int, int]:
    """Return how many records of a group are parked, and of how many lanes."""
    lane = (dead_letter.c.topic + " " + dead_letter.c.key).label("lane")
    found = select(lane).where(dead_letter.c.grp == group).limit(store.MOST).subquery()
    counted = select(func.count().label("letters"), func.count(found.c.lane.distinct()).label("lanes"))
    (row,) = tx.all(counted.select_from(found))
    return row.letters, row.lanes


def divert(tx: Tx, group: str, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
    """Park what comes behind a parked record of its key; return the rest."""
    parked = parked_lanes(tx, group)
    for delivery in deliveries:
        if delivery.lane in parked:
            park(tx, group, delivery, BEHIND)
    return [delivery for delivery in deliveries if delivery.lane not in parked]


def park(tx: Tx, group: str, delivery: Delivery, cause: str, attempts: int = 0) -> None:
    """Put a record among the dead letters, once, and tell it. What joins a key that is being redriven goes with it."""
    record, envelope = delivery.record, delivery.envelope
    redriven = select(func.coalesce(func.max(dead_letter.c.redrive), 0)).where(_same(group, *delivery.lane))
    statement = insert(dead_letter).values(
        grp=group,
        topic=record.topic,
        part=record.partition,
        key=record.key,
        event_id=delivery.event_id,
        value=record.value,
        cause=cause,
        attempts=attempts,
        traceparent=envelope.traceparent if envelope else None,
        redrive=redriven.scalar_subquery(),
        told=_is_told(delivery),
        at=tx.now,
    )
    tx.execute(statement.on_conflict_do_nothing())
    _tell(tx, group, delivery)


def give_up(tx: Tx, group: str, delivery: Delivery, cause: str, attempts: int) -> None:
    """Pass over a record that cannot be handled, and park it."""
    store.advance(tx, group, [delivery.record])
    park(tx, group, delivery, cause, attempts)


def unpark(tx: Tx, group: str, letter_id: int, delivery: Delivery) -> None:
    """Take one dead letter away, because it is handled in this transaction, and tell it."""
    tx.execute(delete(dead_letter).where(dead_letter.c.id == letter_id))
    _tell(tx, group, delivery)


def _is_told(delivery: Delivery) -> bool:
    """Whether its teacher is told: without a known owner it is the operator's only, as is a parked notice of this."""
    envelope = delivery.envelope
    return envelope is not None and envelope.user_id is not None and not isinstance(envelope.data, RecordParkedV1)


def _tell(tx: Tx, group: str, delivery: Delivery) -> None:
    """Say how many of its lane are parked now, and why the first of them is."""
    envelope, (topic, key) = delivery.envelope, delivery.lane
    if envelope is None or not _is_told(delivery):
        return
    told = and_(_same(group, topic, key), dead_letter.c.told)
    parked = tx.scalar(select(func.count()).select_from(dead_letter).where(told))
    cause = tx.scalar(select(dead_letter.c.cause).where(told).order_by(dead_letter.c.id).limit(1)) or ""
    with caused_by(envelope):
        store.append(tx, [RecordParkedV1(batch_id=key, group=group, topic=topic, cause=cause, parked=parked)])


def _same(group: str, topic: str, key: str) -> ColumnElement[bool]:
    return and_(dead_letter.c.grp == group, dead_letter.c.topic == topic, dead_letter.c.key == key)


def letters(tx: ReadTx, group: str, *shown: ColumnElement[Any]) -> Sequence[Any]:
    """Return the group's dead letters, oldest first: whole, or only what is to be shown of them."""
    columns = shown or tuple(dead_letter.c)
    return tx.all(select(*columns).where(dead_letter.c.grp == group).order_by(dead_letter.c.id))


def due(tx: ReadTx, group: str) -> Row[Any] | None:
    """Return the oldest dead letter that a redrive was asked for."""
    wanted = and_(dead_letter.c.grp == group, dead_letter.c.redrive == 1)
    return tx.first(select(dead_letter).where(wanted).order_by(dead_letter.c.id).limit(1))


def request_redrive(tx: Tx, group: str, key: str | None) -> int:
    """Ask the partition's owner to try the parked records again; return how many there are."""
    wanted = and_(dead_letter.c.grp == group, true() if key is None else dead_letter.c.key == key)
    tx.announce(redrive_channel(group))
    return tx.execute(update(dead_letter).where(wanted).values(redrive=1))


def keep(tx: Tx, letter: Any, cause: str) -> None:  # noqa: ANN401 -- a row of dead_letter
    """Note that a redrive failed again; the rest of its key waits on."""
    tx.execute(update(dead_letter).where(_same(letter.grp, letter.topic, letter.key)).values(redrive=0))
    failed = update(dead_letter).where(dead_letter.c.id == letter.id)
    tx.execute(failed.values(cause=cause, attempts=dead_letter.c.attempts + 1))


def bury(tx: Tx, group: str, key: str) -> None:
    """Hear nothing of this key any more, and forget its dead letters: its subject is erased."""
    store.bury(tx, group, key)
    discard(tx, group, key)


def discard(tx: Tx, group: str, key: str) -> None:
    """Forget the dead letters of a key."""
    tx.execute(delete(dead_letter).where(dead_letter.c.grp == group, dead_letter.c.key == key))
