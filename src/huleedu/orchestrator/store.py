"""The orchestrator's tables: batches, which essays they have, runs cancelled before they came, erasures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import (
    Boolean,
    Column,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    delete,
    exists,
    func,
    select,
    true,
    update,
)

from huleedu.contracts.batch import BatchClientStatus
from huleedu.orchestrator.model import Batch
from huleedu.platform.db import Timestamp, among, insert, metadata

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from huleedu.platform.db import ReadTx, Tx

batch = Table(
    "batch",
    metadata,
    Column("batch_id", Text, primary_key=True),
    Column("user_id", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("body", Text, nullable=False),
    Column("due", Timestamp),
    Index("batch_due", "due"),
)
parked_lane = Table(
    "parked_lane",
    metadata,
    Column("batch_id", Text, nullable=False),
    Column("grp", Text, nullable=False),
    Column("topic", Text, nullable=False),
    PrimaryKeyConstraint("batch_id", "grp", "topic"),
)
batch_essay = Table(
    "batch_essay",
    metadata,
    Column("batch_id", Text, nullable=False),
    Column("essay_id", Text, nullable=False),
    Column("removed", Boolean, nullable=False),
    PrimaryKeyConstraint("batch_id", "essay_id"),
)
cancelled_run = Table(
    "cancelled_run",
    metadata,
    Column("batch_id", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    PrimaryKeyConstraint("batch_id", "run_id"),
)
erasure = Table(
    "erasure",
    metadata,
    Column("batch_id", Text, primary_key=True),
    Column("user_id", Text, nullable=False),
    Column("at", Timestamp, nullable=False),
)
erasure_report = Table(
    "erasure_report",
    metadata,
    Column("batch_id", Text, nullable=False),
    Column("service", Text, nullable=False),
    PrimaryKeyConstraint("batch_id", "service"),
)


def load(tx: ReadTx, batch_id: str) -> Batch | None:
    """Return the batch, if it exists."""
    body = tx.scalar(select(batch.c.body).where(batch.c.batch_id == batch_id))
    return Batch.model_validate_json(body) if body else None


def load_many(tx: ReadTx, batch_ids: Iterable[str]) -> list[Batch]:
    """Return those of the batches that exist."""
    bodies = tx.scalars(select(batch.c.body).where(among(batch.c.batch_id, "asked")), asked=batch_ids)
    return [Batch.model_validate_json(body) for body in bodies]


def page(tx: ReadTx, after: str, limit: int) -> list[Batch]:
    """Return the batches that follow this id, in the order of their ids."""
    statement = select(batch.c.body).where(batch.c.batch_id > after).order_by(batch.c.batch_id).limit(limit)
    return [Batch.model_validate_json(body) for body in tx.scalars(statement)]


def save(tx: Tx, saved: Batch, due: datetime | None = None) -> None:
    """Write the batch. `due` is when a run that has not moved is given up; a parked batch's timer rests."""
    state = saved.state
    row = {
        "batch_id": state.batch_id,
        "user_id": state.user_id,
        "status": state.status.value,
        "version": state.version,
        "body": saved.model_dump_json(),
        "due": due if state.status is BatchClientStatus.PROCESSING else None,
    }
    tx.execute(insert(batch).values(row).on_conflict_do_update(index_elements=["batch_id"], set_=row))


def overdue(tx: ReadTx, limit: int = 100) -> list[Batch]:
    """Return batches whose run has not moved until its time was up, and of which nothing is parked."""
    parked = exists().where(parked_lane.c.batch_id == batch.c.batch_id)
    late = select(batch.c.body).where(batch.c.due < tx.now, ~parked).limit(limit)
    return [Batch.model_validate_json(body) for body in tx.scalars(late)]


def rearm(tx: Tx, due: datetime, batch_id: str | None = None) -> None:
    """Give every run under way, or that of one batch, its whole time again."""
    meant = true() if batch_id is None else batch.c.batch_id == batch_id
    tx.execute(update(batch).where(batch.c.due.is_not(None), meant).values(due=due))


def note_parked(tx: Tx, batch_id: str, lane: tuple[str, str], *, parked: bool) -> None:
    """Note whether records of the batch are parked in one (group, topic)."""
    row = {"batch_id": batch_id, "grp": lane[0], "topic": lane[1]}
    if parked:
        tx.execute(insert(parked_lane).values(row).on_conflict_do_nothing())
    else:
        same = [parked_lane.c[name] == value for name, value in row.items()]
        tx.execute(delete(parked_lane).where(*same))


def note_essay(tx: Tx, batch_id: str, essay_id: str, *, removed: bool) -> None:
    """Note that an essay came or went; a removal may be heard before the arrival, and is final."""
    row = {"batch_id": batch_id, "essay_id": essay_id, "removed": removed}
    statement = insert(batch_essay).values(row)
    if removed:
        tx.execute(statement.on_conflict_do_update(index_elements=["batch_id", "essay_id"], set_={"removed": True}))
    else:
        tx.execute(statement.on_conflict_do_nothing())


def has_essays(tx: ReadTx, batch_id: str) -> bool:
    """Return whether the batch has an essay, as far as has been heard."""
    there = (batch_essay.c.batch_id == batch_id) & batch_essay.c.removed.is_(False)
    return bool(tx.scalar(select(exists().where(there))))


def remember_cancel(tx: Tx, batch_id: str, run_id: str) -> None:
    """Remember a cancel whose run has not come yet."""
    tx.execute(insert(cancelled_run).values(batch_id=batch_id, run_id=run_id).on_conflict_do_nothing())


def was_cancelled(tx: ReadTx, batch_id: str, run_id: str) -> bool:
    """Return whether a cancel of this run came before it."""
    same = (cancelled_run.c.batch_id == batch_id) & (cancelled_run.c.run_id == run_id)
    return bool(tx.scalar(select(exists().where(same))))


def erase(tx: Tx, erased: Batch) -> None:
    """Delete all that is held of the batch; what stays is its id, whose it was (only she may ask), and when."""
    batch_id, user_id = erased.state.batch_id, erased.state.user_id
    for table in (batch, batch_essay, cancelled_run, parked_lane):
        tx.execute(delete(table).where(table.c.batch_id == batch_id))
    tx.execute(insert(erasure).values(batch_id=batch_id, user_id=user_id, at=tx.now).on_conflict_do_nothing())


def erased_for(tx: ReadTx, batch_id: str) -> str | None:
    """Return whose the batch was, if it was erased."""
    owner = tx.scalar(select(erasure.c.user_id).where(erasure.c.batch_id == batch_id))
    return str(owner) if owner else None


def erased_among(tx: ReadTx, batch_ids: Iterable[str]) -> list[str]:
    """Return those of the batches that were erased."""
    return list(tx.scalars(select(erasure.c.batch_id).where(among(erasure.c.batch_id, "asked")), asked=batch_ids))


def note_erasure(tx: Tx, batch_id: str, service: str) -> None:
    """Note that a service has deleted what it held."""
    tx.execute(insert(erasure_report).values(batch_id=batch_id, service=service).on_conflict_do_nothing())


def erasure_reports(tx: ReadTx, batch_id: str) -> int:
    """Return how many services have deleted what they held."""
    mine = select(func.count()).select_from(erasure_report).where(erasure_report.c.batch_id == batch_id)
    return int(tx.scalar(mine))
