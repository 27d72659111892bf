"""The lifecycle's tables: essays by phase and run, concluded phases, cancelled runs, results that came late."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

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
    update,
)

from huleedu.contracts.essay import EssayStatus
from huleedu.lifecycle.model import EssayPhase
from huleedu.platform.db import Big, Timestamp, among, insert, metadata

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy.dialects.postgresql import Insert

    from huleedu.contracts.phase import EssayOutcome, PhaseName
    from huleedu.platform.db import ReadTx, Tx

essay_phase = Table(
    "essay_phase",
    metadata,
    Column("run_id", Text, nullable=False),
    Column("phase", Text, nullable=False),
    Column("essay_id", Text, nullable=False),
    Column("batch_id", Text, nullable=False),
    Column("place", Integer, nullable=False),
    Column("text_storage_id", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("code", Text),
    Column("detail", Text),
    Column("result_id", Text),
    Column("metrics", Text, nullable=False),
    PrimaryKeyConstraint("run_id", "phase", "essay_id"),
    Index("essay_phase_batch", "batch_id"),
    Index("essay_phase_essay", "essay_id", "version"),
)
phase_run = Table(
    "phase_run",
    metadata,
    Column("run_id", Text, nullable=False),
    Column("phase", Text, nullable=False),
    Column("batch_id", Text, nullable=False),
    Column("concluded", Boolean, nullable=False),
    PrimaryKeyConstraint("run_id", "phase"),
    Index("phase_run_batch", "batch_id"),
)
stopped_run = Table(
    "stopped_run",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("batch_id", Text, nullable=False),
)
late_result = Table(
    "late_result",
    metadata,
    Column("id", Big, primary_key=True),
    Column("batch_id", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("phase", Text, nullable=False),
    Column("essay_id", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("at", Timestamp, nullable=False),
)
UNDECIDED = (EssayStatus.ACCEPTED.value, EssayStatus.PROCESSING.value)


def open_phase(tx: Tx, batch_id: str, run_id: str, phase: PhaseName) -> bool:
    """Begin a phase of a run; False if it was begun before."""
    row = {"batch_id": batch_id, "run_id": run_id, "phase": phase.value, "concluded": False}
    return bool(tx.execute(insert(phase_run).values(row).on_conflict_do_nothing()))


def conclude(tx: Tx, run_id: str, phase: PhaseName) -> bool:
    """Mark the phase as concluded; False if it was already, so that its outcome is said once."""
    mine = (phase_run.c.run_id == run_id) & (phase_run.c.phase == phase.value)
    return bool(tx.execute(update(phase_run).where(mine, phase_run.c.concluded.is_(False)).values(concluded=True)))


def versions(tx: ReadTx, essay_ids: Iterable[str]) -> dict[str, int]:
    """Return the latest version of each essay that has one."""
    latest = select(essay_phase.c.essay_id, func.max(essay_phase.c.version).label("latest"))
    wanted = latest.where(among(essay_phase.c.essay_id, "essay_ids")).group_by(essay_phase.c.essay_id)
    return {row.essay_id: row.latest for row in tx.all(wanted, essay_ids=essay_ids)}


@cache
def _save() -> Insert:
    statement = insert(essay_phase)
    changeable = ("status", "version", "code", "detail", "result_id", "metrics")
    new = {name: statement.excluded[name] for name in changeable}
    return statement.on_conflict_do_update(index_elements=["run_id", "phase", "essay_id"], set_=new)


def save(tx: Tx, essays: Sequence[EssayPhase]) -> None:
    """Write these essays' rows."""
    rows = [{**essay.model_dump(mode="json"), "metrics": json.dumps(essay.metrics)} for essay in essays]
    tx.put(_save(), rows)


def load(tx: ReadTx, run_id: str, phase: PhaseName, essay_id: str) -> EssayPhase | None:
    """Return one essay in one phase of one run."""
    found = _find(
        tx,
        (essay_phase.c.run_id == run_id) & (essay_phase.c.phase == phase.value) & (essay_phase.c.essay_id == essay_id),
    )
    return found[0] if found else None


def of_phase(tx: ReadTx, run_id: str, phase: PhaseName) -> list[EssayPhase]:
    """Return all essays of one phase of one run, in the frozen order."""
    return _find(tx, (essay_phase.c.run_id == run_id) & (essay_phase.c.phase == phase.value))


def undecided(tx: ReadTx, run_id: str) -> list[EssayPhase]:
    """Return the essays of a run that can still change, in each of its phases."""
    return _find(tx, (essay_phase.c.run_id == run_id) & essay_phase.c.status.in_(UNDECIDED))


def any_undecided(tx: ReadTx, run_id: str, phase: PhaseName) -> bool:
    """Return whether an essay of this phase can still change."""
    mine = (essay_phase.c.run_id == run_id) & (essay_phase.c.phase == phase.value)
    return bool(tx.scalar(select(exists().where(mine, essay_phase.c.status.in_(UNDECIDED)))))


def results(tx: ReadTx, run_id: str, phases: Iterable[PhaseName]) -> dict[str, dict[PhaseName, str]]:
    """Return each essay's results in these phases of the run."""
    found: dict[str, dict[PhaseName, str]] = {}
    for phase in phases:
        for essay in of_phase(tx, run_id, phase):
            if essay.result_id:
                found.setdefault(essay.essay_id, {})[phase] = essay.result_id
    return found


def of_batches(tx: ReadTx, batch_ids: Iterable[str]) -> list[EssayPhase]:
    """Return all essays of these batches in all phases and runs, oldest change first."""
    wanted = select(essay_phase).where(among(essay_phase.c.batch_id, "batch_ids"))
    rows = tx.all(wanted.order_by(essay_phase.c.essay_id, essay_phase.c.version), batch_ids=batch_ids)
    return [_essay(row) for row in rows]


def stop(tx: Tx, batch_id: str, run_id: str) -> None:
    """Remember that the run is cancelled, for what arrives later."""
    tx.execute(insert(stopped_run).values(batch_id=batch_id, run_id=run_id).on_conflict_do_nothing())


def is_stopped(tx: ReadTx, run_id: str) -> bool:
    """Return whether the run is cancelled."""
    return bool(tx.scalar(select(exists().where(stopped_run.c.run_id == run_id))))


def note_late(tx: Tx, batch_id: str, run_id: str, phase: PhaseName, late: EssayOutcome) -> None:
    """Record a result that came too late to count."""
    tx.execute(
        insert(late_result).values(
            batch_id=batch_id,
            run_id=run_id,
            phase=phase.value,
            essay_id=late.essay_id,
            outcome=late.outcome.value,
            at=tx.now,
        )
    )


def blank_essay(tx: Tx, essay_id: str) -> None:
    """Delete what was found of an essay; its rows stay, so that the counts of its runs still add up."""
    blank = {"code": None, "detail": None, "result_id": None, "metrics": "{}"}
    tx.execute(update(essay_phase).where(essay_phase.c.essay_id == essay_id).values(blank))


def erase(tx: Tx, batch_id: str) -> None:
    """Delete what is held of a batch."""
    for table in (essay_phase, phase_run, stopped_run, late_result):
        tx.execute(delete(table).where(table.c.batch_id == batch_id))


def _find(tx: ReadTx, where: Any) -> list[EssayPhase]:  # noqa: ANN401 -- a condition
    return [_essay(row) for row in tx.all(select(essay_phase).where(where).order_by(essay_phase.c.place))]


def _essay(row: Any) -> EssayPhase:  # noqa: ANN401 -- a row of essay_phase
    return EssayPhase.model_validate({**row._mapping, "metrics": json.loads(row.metrics)})  # noqa: SLF001 -- public name
