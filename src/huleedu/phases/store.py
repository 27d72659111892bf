"""The tables of phases: work that waits or is being done, results that can be used again, runs that were cancelled."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import (
    Column,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    bindparam,
    delete,
    exists,
    func,
    select,
    update,
)

from huleedu.contracts.phase import PhaseName, PhaseWorkRequestedV1
from huleedu.platform.blobs import store as garbage
from huleedu.platform.db import Big, Timestamp, among, insert, member, metadata
from huleedu.platform.log import Backlog
from huleedu.platform.log import store as log_store

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime, timedelta

    from sqlalchemy import ColumnElement, Row
    from sqlalchemy.dialects.postgresql import Insert

    from huleedu.contracts.phase import EssayOutcome
    from huleedu.platform.db import ReadTx, Tx

work = Table(
    "work",
    metadata,
    Column("place", Big, primary_key=True, autoincrement=True),
    Column("work_id", Text, nullable=False, unique=True),
    Column("run_id", Text, nullable=False),
    Column("batch_id", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("correlation_id", Text, nullable=False),
    Column("traceparent", Text),
    Column("request", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("lease", Text),
    Column("lease_until", Timestamp),
    Column("due", Timestamp, nullable=False),
    Index("work_queue", "state", "user_id", "batch_id", "place"),
    Index("work_run", "run_id"),
    sqlite_autoincrement=True,
)
phase_result = Table(
    "phase_result",
    metadata,
    Column("batch_id", Text, nullable=False),
    Column("essay_id", Text, nullable=False),
    Column("input_hash", Text, nullable=False),
    Column("phase", Text, nullable=False),
    Column("engine", Text, nullable=False),
    Column("result_id", Text, nullable=False),
    Column("metrics", Text, nullable=False),
    PrimaryKeyConstraint("batch_id", "input_hash", "phase", "engine"),
)
dropped_run = Table(
    "dropped_run",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("batch_id", Text, nullable=False),
)
GROUP = "phase-service"
QUEUED = "queued"
RUNNING = "running"
QUEUE_CHANNEL = "phases:queue"
CANCEL_CHANNEL = "phases:cancel"
OVERDUE = 100
"""Units that are failed in one go, for want of time."""


class Work(NamedTuple):
    """A claimed unit of work. Only who holds the lease, and while it lasts, may finish it."""

    request: PhaseWorkRequestedV1
    user_id: str
    correlation_id: str
    traceparent: str | None
    attempt: int
    lease: str

    @property
    def prefixes(self) -> dict[str, str]:
        """Where the results of this lease, and of no other, are put: a prefix for each essay."""
        request = self.request
        return {essay.essay_id: f"{request.batch_id}/{essay.essay_id}/{self.lease}" for essay in request.essays}


CLAIMED = [work.c[field] for field in Work._fields]


@cache
def _enqueue() -> Insert:
    columns = [column for column in work.c if column.name not in {"place", "lease", "lease_until"}]
    given = select(*(bindparam(column.name, type_=column.type) for column in columns))
    dropped = exists().where(dropped_run.c.run_id == bindparam("run_id"))
    return insert(work).from_select([column.name for column in columns], given.where(~dropped)).on_conflict_do_nothing()


def enqueue(tx: Tx, request: PhaseWorkRequestedV1, asked_by: Mapping[str, str | None], due: datetime) -> None:
    """Put work into the queue, once, unless its run is cancelled."""
    row = {
        "work_id": request.work_id,
        "run_id": request.run_id,
        "batch_id": request.batch_id,
        "request": request.model_dump_json(),
        "state": QUEUED,
        "attempt": 0,
        "due": due,
        **asked_by,
    }
    tx.execute(_enqueue(), **row)
    tx.announce(QUEUE_CHANNEL)


def waiting(tx: ReadTx, patience: timedelta) -> dict[str, Backlog]:
    """Return what waits for a worker, by phase; all work is due as long after it came."""
    phase = member(work.c.request, "phase").label("phase")
    found = select(phase, work.c.due).where(work.c.state == QUEUED).limit(log_store.MOST).subquery()
    counted = select(found.c.phase, func.count().label("size"), func.min(found.c.due).label("due"))
    none = {phase.value: Backlog() for phase in PhaseName}
    rows = tx.all(counted.group_by(found.c.phase))
    return none | {row.phase: Backlog(row.size, row.due - patience) for row in rows}


def queued(tx: ReadTx) -> dict[str, dict[str, int]]:
    """Return how much waits for each teacher and batch."""
    counted = select(work.c.user_id, work.c.batch_id, func.count().label("units")).where(work.c.state == QUEUED)
    waiting: dict[str, dict[str, int]] = {}
    for row in tx.all(counted.group_by(work.c.user_id, work.c.batch_id)):
        waiting.setdefault(row.user_id, {})[row.batch_id] = row.units
    return waiting


def claim(tx: Tx, user_id: str, batch_id: str, lease: str, until: datetime) -> Work | None:
    """Take the oldest waiting work of a batch, for as long as the lease lasts."""
    waiting = (work.c.state == QUEUED) & (work.c.user_id == user_id) & (work.c.batch_id == batch_id)
    oldest = select(work.c.place).where(waiting).order_by(work.c.place).limit(1).with_for_update(skip_locked=True)
    row = tx.first(
        update(work)
        .where(work.c.place == oldest.scalar_subquery())
        .values(state=RUNNING, attempt=work.c.attempt + 1, lease=lease, lease_until=until)
        .returning(*CLAIMED)
    )
    if row is None:
        return None
    claimed = _work(row)
    _expect(tx, claimed, until)
    return claimed


def renew(tx: Tx, running: Iterable[Work], until: datetime) -> None:
    """Let these leases last until then, but none that has run out: its results may be swept already."""
    for one in running:
        if tx.execute(update(work).where(_ours(tx, one)).values(lease_until=until)):
            _expect(tx, one, until)


def _expect(tx: Tx, claimed: Work, until: datetime) -> None:
    for prefix in claimed.prefixes.values():
        garbage.expect(tx, GROUP, prefix, claimed.user_id, until)


def _ours(tx: ReadTx, claimed: Work) -> ColumnElement[bool]:
    return (work.c.work_id == claimed.request.work_id) & (work.c.lease == claimed.lease) & (work.c.lease_until > tx.now)


def finish(tx: Tx, done: Work) -> bool:
    """Take the work off the queue; False if the lease is not ours any more, and then nothing may be said."""
    if not tx.execute(delete(work).where(_ours(tx, done))):
        return False
    for prefix in done.prefixes.values():
        garbage.keep(tx, GROUP, prefix)
    return True


def let_go(tx: Tx, unfinished: Work) -> None:
    """Discard whatever results this lease has put."""
    for prefix in unfinished.prefixes.values():
        garbage.discard(tx, GROUP, prefix, unfinished.user_id)


def put_back(tx: Tx, failed: Work, *, used: bool) -> bool:
    """Return work to the queue, behind all others; its attempt is used up or not. False if the lease is not ours."""
    log_store.hold(tx, GROUP, [failed.request.batch_id])
    mine = (work.c.work_id == failed.request.work_id) & (work.c.lease == failed.lease)
    kept = [column for column in work.c if column.name not in {"place", "state", "attempt", "lease", "lease_until"}]
    row = tx.first(delete(work).where(mine).returning(*kept))
    if row is not None:
        attempt = failed.attempt if used else failed.attempt - 1
        tx.execute(insert(work).values(state=QUEUED, attempt=attempt, **row._mapping))  # noqa: SLF001 -- public name
    tx.announce(QUEUE_CHANNEL)
    return row is not None


def return_leases(tx: Tx, *, expired_only: bool) -> int:
    """Return work whose server has died to the queue: it used up no attempt."""
    lost = work.c.state == RUNNING
    if expired_only:
        lost &= work.c.lease_until < tx.now
    values = {"state": QUEUED, "attempt": work.c.attempt - 1, "lease": None, "lease_until": None}
    if returned := tx.execute(update(work).where(lost).values(values)):
        tx.announce(QUEUE_CHANNEL)
    return returned


def rearm(tx: Tx, due: datetime) -> None:
    """Give all work its whole time again: while nothing ran here, nothing had its turn."""
    tx.execute(update(work).values(due=due))


def take_overdue(tx: Tx, lease: str, until: datetime) -> list[Work]:
    """Claim work that has waited past its time; not all at once, for it is failed one by one within its lease."""
    late = (work.c.state == QUEUED) & (work.c.due < tx.now)
    some = select(work.c.work_id).where(late).limit(OVERDUE)
    rows = tx.all(
        update(work)
        .where(late, work.c.work_id.in_(some))
        .values(state=RUNNING, lease=lease, lease_until=until)
        .returning(*CLAIMED)
    )
    return [_work(row) for row in rows]


def _work(row: Row[Any]) -> Work:
    return Work._make([PhaseWorkRequestedV1.model_validate_json(row.request), *row[1:]])


def drop_run(tx: Tx, batch_id: str, run_id: str) -> None:
    """Forget the work of a cancelled run, also what is being done, and remember the run for what comes later."""
    tx.execute(insert(dropped_run).values(run_id=run_id, batch_id=batch_id).on_conflict_do_nothing())
    tx.execute(delete(work).where(work.c.run_id == run_id))
    tx.announce(CANCEL_CHANNEL)


def held(tx: ReadTx, leases: Iterable[str]) -> set[str]:
    """Return those of the leases that still hold work."""
    return set(tx.scalars(select(work.c.lease).where(among(work.c.lease, "leases")), leases=leases))


def known_result(
    tx: ReadTx, batch_id: str, input_hash: str, phase: str, engine: str
) -> tuple[str, dict[str, float]] | None:
    """Return what the same engine has made of the same input before: the result's id and figures."""
    row = tx.first(
        select(phase_result.c.result_id, phase_result.c.metrics).where(
            phase_result.c.batch_id == batch_id,
            phase_result.c.input_hash == input_hash,
            phase_result.c.phase == phase,
            phase_result.c.engine == engine,
        )
    )
    return (row.result_id, json.loads(row.metrics)) if row else None


def keep_result(tx: Tx, key: Mapping[str, str], outcome: EssayOutcome) -> None:
    """Keep a result for the next time; failures are never kept."""
    statement = insert(phase_result).values(
        essay_id=outcome.essay_id, result_id=outcome.result_id, metrics=json.dumps(outcome.metrics), **key
    )
    tx.execute(statement.on_conflict_do_nothing())


def remove_essay(tx: Tx, batch_id: str, essay_id: str) -> None:
    """Let go of an essay."""
    mine = (phase_result.c.batch_id == batch_id) & (phase_result.c.essay_id == essay_id)
    tx.execute(delete(phase_result).where(mine))


def erase(tx: Tx, batch_id: str) -> None:
    """Let go of a batch."""
    for table in (work, phase_result, dropped_run):
        tx.execute(delete(table).where(table.c.batch_id == batch_id))
    tx.announce(CANCEL_CHANNEL)
