"""The tables of files: essays, and the intake of each run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, PrimaryKeyConstraint, Table, Text, UniqueConstraint, delete, exists, select, update

from huleedu.contracts.essay import StoredEssay
from huleedu.contracts.phase import EssayRef
from huleedu.platform.db import Timestamp, among, insert, metadata

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from huleedu.platform.db import ReadTx, Tx

essay = Table(
    "essay",
    metadata,
    Column("essay_id", Text, primary_key=True),
    Column("batch_id", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("file_name", Text, nullable=False),
    Column("original_id", Text, nullable=False),
    Column("text_storage_id", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("created_at", Timestamp, nullable=False),
    UniqueConstraint("batch_id", "fingerprint"),
)
intake = Table(
    "intake",
    metadata,
    Column("batch_id", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("essays", Text, nullable=False),
    PrimaryKeyConstraint("batch_id", "run_id"),
)

CLOSED = "closed"
ENDED = "ended"


def add_essay(tx: Tx, row: Mapping[str, Any]) -> bool:
    """Insert an essay; False if the batch has the same text already."""
    return bool(tx.execute(insert(essay).values(created_at=tx.now, **row).on_conflict_do_nothing()))


def twin(tx: ReadTx, batch_id: str, fingerprint: str) -> str:
    """Return the file name of the essay with this text."""
    same = (essay.c.batch_id == batch_id) & (essay.c.fingerprint == fingerprint)
    return str(tx.scalar(select(essay.c.file_name).where(same)))


def essays(tx: ReadTx, batch_ids: Iterable[str]) -> list[StoredEssay]:
    """Return the essays of these batches, in the order in which they came."""
    wanted = select(essay).where(among(essay.c.batch_id, "batch_ids")).order_by(essay.c.batch_id, essay.c.essay_id)
    rows = tx.all(wanted, batch_ids=batch_ids)
    return [StoredEssay.model_validate(row._mapping) for row in rows]  # noqa: SLF001 -- SQLAlchemy's public name


def remove_essay(tx: Tx, batch_id: str, essay_id: str, user_id: str) -> bool:
    """Delete the row of an essay; False if there is none."""
    same = (essay.c.batch_id == batch_id) & (essay.c.essay_id == essay_id) & (essay.c.user_id == user_id)
    return bool(tx.execute(delete(essay).where(same)))


def is_closed(tx: ReadTx, batch_id: str) -> bool:
    """Return whether a run is under way that has the list of essays."""
    return bool(tx.scalar(select(exists().where((intake.c.batch_id == batch_id) & (intake.c.state == CLOSED)))))


def close_intake(tx: Tx, batch_id: str, run_id: str) -> list[EssayRef] | None:
    """Freeze the batch's list for this run and return it; a repeat returns the same. None: the run has ended."""
    row = tx.first(select(intake).where(intake.c.batch_id == batch_id, intake.c.run_id == run_id))
    if row is not None:
        frozen = [EssayRef.model_validate(item) for item in json.loads(row.essays)]
        return frozen if row.state == CLOSED else None
    # The orchestrator closes only when no run is under way: whatever is closed here is an older run that has ended.
    tx.execute(update(intake).where(intake.c.batch_id == batch_id).values(state=ENDED))
    listed = [EssayRef(essay_id=item.essay_id, text_storage_id=item.text_storage_id) for item in essays(tx, [batch_id])]
    stored = json.dumps([item.model_dump() for item in listed])
    tx.execute(insert(intake).values(batch_id=batch_id, run_id=run_id, state=CLOSED, essays=stored))
    return listed


def end_run(tx: Tx, batch_id: str, run_id: str) -> None:
    """Note that the run has ended, even if it never closed anything; what it closed is open again."""
    row = {"batch_id": batch_id, "run_id": run_id, "state": ENDED, "essays": "[]"}
    statement = insert(intake).values(row)
    tx.execute(
        statement.on_conflict_do_update(index_elements=["batch_id", "run_id"], set_={"state": ENDED, "essays": "[]"})
    )


def erase(tx: Tx, batch_id: str) -> None:
    """Delete every row of the batch."""
    for table in (essay, intake):
        tx.execute(delete(table).where(table.c.batch_id == batch_id))
