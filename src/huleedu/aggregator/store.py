"""The aggregator's views, each under a generation.

A rebuild writes the next generation beside the one that is read; the swap makes it the current one. The generation is
the feed's epoch too: after a swap every client takes a fresh snapshot.
"""

from __future__ import annotations

from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter
from sqlalchemy import (
    Boolean,
    Column,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    and_,
    bindparam,
    case,
    delete,
    func,
    outerjoin,
    select,
    true,
    update,
)

from huleedu.aggregator.model import EssayRow, PhaseRow, blank
from huleedu.contracts.batch import Attention, BatchClientStatus, ProcessingPipelineState
from huleedu.contracts.essay import EssayStatus
from huleedu.contracts.phase import PhaseName
from huleedu.platform.db import Timestamp, among, insert, member, metadata

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from sqlalchemy import Executable
    from sqlalchemy.dialects.postgresql import Insert

    from huleedu.aggregator.model import Counts
    from huleedu.contracts.batch import PipelineState
    from huleedu.contracts.essay import EssayPhaseChangedV1
    from huleedu.platform.db import ReadTx, Tx

batch_status_view = Table(
    "batch_status_view",
    metadata,
    Column("generation", Integer, nullable=False),
    Column("batch_id", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("pipeline_state", Text, nullable=False),
    Column("source_version", Integer, nullable=False),
    Column("version", Integer, nullable=False),
    Column("ended_run", Text),
    Column("created_at", Timestamp, nullable=False),
    Column("last_updated", Timestamp, nullable=False),
    PrimaryKeyConstraint("generation", "batch_id"),
    Index("batch_status_view_batch", "batch_id"),
    Index("batch_status_view_user", "generation", "user_id", "batch_id"),
)
essay_view = Table(
    "essay_view",
    metadata,
    Column("generation", Integer, nullable=False),
    Column("essay_id", Text, nullable=False),
    Column("batch_id", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("file_name", Text, nullable=False),
    Column("text_storage_id", Text, nullable=False),
    Column("removed", Boolean, nullable=False),
    PrimaryKeyConstraint("generation", "essay_id"),
    Index("essay_view_batch", "batch_id", "generation"),
)
essay_phase_view = Table(
    "essay_phase_view",
    metadata,
    Column("generation", Integer, nullable=False),
    Column("essay_id", Text, nullable=False),
    Column("phase", Text, nullable=False),
    Column("batch_id", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("status", Text, nullable=False),
    Column("code", Text),
    Column("detail", Text),
    Column("result_id", Text),
    Column("metrics", Text, nullable=False),
    PrimaryKeyConstraint("generation", "essay_id", "phase"),
    Index("essay_phase_view_batch", "batch_id", "generation"),
)
attention = Table(
    "attention",
    metadata,
    Column("batch_id", Text, nullable=False),
    Column("grp", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("parked", Integer, nullable=False),
    Column("cause", Text, nullable=False),
    PrimaryKeyConstraint("batch_id", "grp", "topic"),
)
generation = Table(
    "generation",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("current", Integer, nullable=False),
    Column("next", Integer),
)
_METRICS = TypeAdapter(dict[str, Any])  # with numbers several times as fast as the standard library
_ESSAY, _PHASE = tuple(essay_view.c.keys()), tuple(essay_phase_view.c.keys())
VIEWS = (batch_status_view, essay_view, essay_phase_view)
CURRENT = func.coalesce(select(generation.c.current).scalar_subquery(), 1)
"""The generation that is read, within a statement."""
_CURRENT, _GENERATIONS = select(CURRENT), select(generation)

_TOLD = batch_status_view.c.ended_run.is_not_distinct_from(member(batch_status_view.c.pipeline_state, "run_id"))
shown_status = case(
    (
        batch_status_view.c.status.in_([status.value for status in BatchClientStatus if status.terminal]) & ~_TOLD,
        "processing",
    ),
    else_=batch_status_view.c.status,
)
"""The status as it is shown: a run goes on until its end has been told, which is when all its essays are heard of."""


# -- generations


def current_generation(tx: ReadTx) -> int:
    """Return the generation that is read, which is the feed's epoch."""
    return int(tx.scalar(_CURRENT))


def written_generations(tx: ReadTx) -> list[int]:
    """Return the generations that a fold writes: the current one, and while a rebuild runs the next one."""
    row = tx.first(_GENERATIONS)
    return [1] if row is None else [row.current, *([row.next] if row.next else [])]


def begin_generation(tx: Tx) -> int:
    """Begin the next generation, empty; whatever an interrupted rebuild left goes."""
    current = current_generation(tx)
    after = max(written_generations(tx)) + 1
    for view in VIEWS:
        tx.execute(delete(view).where(view.c.generation != current))
    row = {"id": 1, "current": current, "next": after}
    tx.execute(insert(generation).values(row).on_conflict_do_update(index_elements=["id"], set_=row))
    return after


def swap_generation(tx: Tx, after: int) -> bool:
    """Read the next generation from now on; False if another rebuild has begun a newer one."""
    return bool(tx.execute(update(generation).where(generation.c.next == after).values(current=after, next=None)))


def abandon_generation(tx: Tx, after: int | None = None) -> None:
    """Stop writing the next generation, because the rebuild that wanted it is gone."""
    tx.execute(update(generation).where(true() if after is None else generation.c.next == after).values(next=None))


def delete_old(tx: Tx, limit: int) -> int:
    """Delete some rows of past generations; return how many."""
    current, deleted = current_generation(tx), 0
    for view in VIEWS:
        old = [view.c.generation, *view.primary_key.columns.values()[1:]]
        rows = tx.all(select(*old).where(view.c.generation < current).limit(limit))
        for row in rows:
            same = and_(*(column == value for column, value in zip(old, row, strict=True)))
            deleted += tx.execute(delete(view).where(same))
    return deleted


# -- views


@cache
def _put_batches() -> Insert:
    statement = insert(batch_status_view)
    old, new = batch_status_view.c, statement.excluded
    told = ("user_id", "status", "pipeline_state", "source_version", "created_at", "last_updated")
    newer = old.source_version < new.source_version
    changes = {name: case((newer, new[name]), else_=old[name]) for name in told}
    return statement.on_conflict_do_update(
        index_elements=["generation", "batch_id"], set_={**changes, "version": old.version + 1}
    )


def put_batches(tx: Tx, generations: Iterable[int], states: Iterable[ProcessingPipelineState]) -> None:
    """Write the states of batches, each unless a newer one is there, and give each view a new version."""
    rows = [
        {
            "batch_id": state.batch_id,
            "user_id": state.user_id,
            "status": state.status.value,
            "pipeline_state": state.model_dump_json(),
            "source_version": state.version,
            "version": 1,
            "created_at": state.created_at,
            "last_updated": state.last_updated,
        }
        for state in states
    ]
    tx.put(_put_batches(), [{"generation": number, **row} for number in generations for row in rows])


def note_end(tx: Tx, generations: Iterable[int], batch_id: str, run_id: str) -> bool:
    """Note that the end of a run is told; False if it was before."""
    view = batch_status_view.c
    same = (view.batch_id == batch_id) & view.generation.in_(list(generations))
    return bool(
        tx.execute(
            update(batch_status_view).where(same, view.ended_run.is_distinct_from(run_id)).values(ended_run=run_id)
        )
    )


@cache
def _batches() -> Executable:
    view = batch_status_view.c
    mine = (view.generation == CURRENT) & among(view.batch_id, "batch_ids")
    return select(view.batch_id, view.pipeline_state, view.version).where(mine).order_by(view.batch_id)


def batches(tx: ReadTx, batch_ids: Iterable[str]) -> dict[str, tuple[ProcessingPipelineState, int]]:
    """Return batches' states and their views' versions."""
    return {
        row.batch_id: (ProcessingPipelineState.model_validate_json(row.pipeline_state), row.version)
        for row in tx.all(_batches(), batch_ids=batch_ids)
    }


def batch_ids(tx: ReadTx, user_id: str, status: BatchClientStatus | None, before: str | None, limit: int) -> list[str]:
    """Return the teacher's batches, newest first (ids grow with time), older than `before`."""
    mine = (batch_status_view.c.generation == CURRENT) & (batch_status_view.c.user_id == user_id)
    if status is not None:
        mine &= shown_status == status.value
    if before is not None:
        mine &= batch_status_view.c.batch_id < before
    statement = select(batch_status_view.c.batch_id).where(mine)
    return list(tx.scalars(statement.order_by(batch_status_view.c.batch_id.desc()).limit(limit)))


_PUT_ESSAYS = insert(essay_view).on_conflict_do_nothing()


def put_essays(tx: Tx, generations: Iterable[int], essays: Sequence[EssayRow]) -> None:
    """Write essays; one that was removed stays removed."""
    for number in generations:
        rows = [{"generation": number, "removed": False, **vars(essay)} for essay in essays]
        tx.put(_PUT_ESSAYS, rows)


def remove_essay(tx: Tx, generations: Iterable[int], batch_id: str, essay_id: str) -> None:
    """Blank an essay; what stays says only that it is gone, for what is heard of it late."""
    gone = {"user_id": "", "file_name": "", "text_storage_id": "", "removed": True}
    for number in generations:
        row = {"generation": number, "essay_id": essay_id, "batch_id": batch_id, **gone}
        tx.execute(
            insert(essay_view).values(row).on_conflict_do_update(index_elements=["generation", "essay_id"], set_=gone)
        )
        same = (essay_phase_view.c.generation == number) & (essay_phase_view.c.essay_id == essay_id)
        tx.execute(update(essay_phase_view).where(same).values(code=None, detail=None, result_id=None, metrics="{}"))


@cache
def _put_phases() -> Insert:
    statement = insert(essay_phase_view)
    new = statement.excluded
    return statement.on_conflict_do_update(
        index_elements=["generation", "essay_id", "phase"],
        set_={
            "run_id": new.run_id,
            "version": new.version,
            "status": new.status,
            "code": new.code,
            "detail": new.detail,
            "result_id": func.coalesce(new.result_id, essay_phase_view.c.result_id),
            "metrics": case((new.result_id.is_(None), essay_phase_view.c.metrics), else_=new.metrics),
        },
        where=essay_phase_view.c.version < new.version,
    )


def put_phases(tx: Tx, generations: Iterable[int], rows: Sequence[EssayPhaseChangedV1]) -> None:
    """Write what was heard of essays in phases, oldest first, unless newer is there; a result stays until replaced."""
    if not rows:
        return
    for number in generations:
        gone = removed(tx, number, [row.essay_id for row in rows])
        kept = [blank(row) if row.essay_id in gone else row for row in rows]
        values = [
            {"generation": number, **vars(row), "metrics": _METRICS.dump_json(row.metrics).decode()} for row in kept
        ]
        tx.put(_put_phases(), values)


@cache
def _removed() -> Executable:
    view = essay_view.c
    mine = (view.generation == bindparam("number")) & among(view.essay_id, "essay_ids")
    return select(view.essay_id).where(mine, view.removed)


def removed(tx: ReadTx, number: int, essay_ids: Sequence[str]) -> set[str]:
    """Return those of the essays that were removed."""
    return set(tx.scalars(_removed(), number=number, essay_ids=essay_ids))


@cache
def _essays(*, some: bool) -> tuple[Executable, Executable]:
    essay, phase = essay_view.c, essay_phase_view.c
    there = (essay.generation == CURRENT) & among(essay.batch_id, "batch_ids") & essay.removed.is_(False)
    heard = (phase.generation == CURRENT) & among(phase.batch_id, "batch_ids")
    if some:
        there &= among(essay.essay_id, "essay_ids")
        heard &= among(phase.essay_id, "essay_ids")
    return select(essay_view).where(there), select(essay_phase_view).where(heard).order_by(phase.phase.desc())


def essays(
    tx: ReadTx, batch_ids: Collection[str], essay_ids: Collection[str] | None = None
) -> list[tuple[EssayRow, list[PhaseRow]]]:
    """Return batches' essays, or these of them, in the order in which they came, with what is known of each."""
    there, heard = _essays(some=essay_ids is not None)
    given = {"batch_ids": batch_ids} | ({} if essay_ids is None else {"essay_ids": essay_ids})
    phases: dict[str, list[PhaseRow]] = {}
    for row in tx.all(heard, **given):
        found = dict(zip(_PHASE, row, strict=True), metrics=_METRICS.validate_json(row.metrics))
        phases.setdefault(row.essay_id, []).append(PhaseRow.model_validate(found))
    rows = sorted(tx.all(there, **given), key=attrgetter("essay_id"))  # told to sort, SQLite reads the whole school's
    return [
        (EssayRow.model_validate(dict(zip(_ESSAY, row, strict=True))), phases.get(row.essay_id, [])) for row in rows
    ]


@cache
def _counts() -> Executable:
    view = essay_phase_view.c
    columns = (view.batch_id, view.run_id, view.phase, view.status)
    mine = (view.generation == CURRENT) & among(view.batch_id, "batch_ids")
    return select(*columns, func.count().label("essays")).where(mine).group_by(*columns)


def counts(tx: ReadTx, batch_ids: Iterable[str]) -> dict[tuple[str, str | None], Counts]:
    """Count the essays of batches by run, phase and status; by (batch, run)."""
    found: dict[tuple[str, str | None], Counts] = {}
    for row in tx.all(_counts(), batch_ids=batch_ids):
        counted = found.setdefault((row.batch_id, row.run_id), {})
        counted.setdefault(PhaseName(row.phase), {})[EssayStatus(row.status)] = row.essays
    return found


@cache
def _through() -> Executable:
    view = essay_phase_view.c
    mine = (view.generation == CURRENT) & among(view.batch_id, "batch_ids")
    phases, through = func.count(), func.count().filter(view.status == EssayStatus.COMPLETED.value)
    columns = (view.batch_id, view.run_id, view.essay_id)
    return select(*columns, phases.label("phases")).where(mine).group_by(*columns).having(phases == through)


def waiting(tx: ReadTx, ended: Mapping[str, PipelineState]) -> set[str]:
    """Return the essays that came through every phase of these runs that they were handed to, but not through all."""
    return {
        row.essay_id
        for row in tx.all(_through(), batch_ids=ended)
        if row.run_id == (state := ended[row.batch_id]).run_id and row.phases < len(state.requested_pipelines)
    }


@cache
def _essay_totals() -> Executable:
    essay, phase = essay_view.c, essay_phase_view.c
    there = (essay.generation == CURRENT) & among(essay.batch_id, "batch_ids") & essay.removed.is_(False)
    mine = (phase.generation == CURRENT) & among(phase.batch_id, "batch_ids")
    with_phases = outerjoin(essay_view, essay_phase_view, mine & (phase.essay_id == essay.essay_id))
    total, fresh = func.count(essay.essay_id.distinct()), func.count().filter(phase.essay_id.is_(None))
    counted = select(essay.batch_id, total.label("total"), fresh.label("fresh")).select_from(with_phases)
    return counted.where(there).group_by(essay.batch_id)


def essay_totals(tx: ReadTx, batch_ids: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Return how many essays each batch has, and how many of them no run has taken in yet; nothing where none is."""
    rows = tx.all(_essay_totals(), batch_ids=batch_ids)
    return {row.batch_id: (row.total, row.fresh) for row in rows}


def put_attention(tx: Tx, place: tuple[str, str, str], parked: int, cause: str) -> None:
    """Note how many records are parked in one place: (batch, group, topic)."""
    batch_id, group, topic = place
    same = (attention.c.batch_id == batch_id) & (attention.c.grp == group) & (attention.c.topic == topic)
    if not parked:
        tx.execute(delete(attention).where(same))
        return
    row = {"batch_id": batch_id, "grp": group, "topic": topic, "parked": parked, "cause": cause}
    statement = insert(attention).values(row)
    tx.execute(statement.on_conflict_do_update(index_elements=["batch_id", "grp", "topic"], set_=row))


def attentions(tx: ReadTx) -> dict[tuple[str, str, str], tuple[int, str]]:
    """Return how many are parked, and the cause of the first, by (batch, group, topic)."""
    rows = tx.all(select(attention))
    return {(row.batch_id, row.grp, row.topic): (row.parked, row.cause) for row in rows}


def replace_attention(
    tx: Tx,
    before: Mapping[tuple[str, str, str], tuple[int, str]],
    asked: Mapping[tuple[str, str, str], tuple[int, str]],
) -> None:
    """Write anew what is parked. What has changed since `before`, which was read first, has been heard of later."""
    there = attentions(tx)
    for place in before.keys() | asked.keys():
        if there.get(place) == before.get(place):
            put_attention(tx, place, *asked.get(place, (0, "")))


@cache
def _batch_attentions() -> Executable:
    places = select(attention).where(among(attention.c.batch_id, "batch_ids"))
    return places.order_by(attention.c.batch_id, attention.c.grp, attention.c.topic)


def batch_attentions(tx: ReadTx, batch_ids: Iterable[str]) -> dict[str, Attention]:
    """Return what of the batches is parked, where anything is; the cause is that of the first."""
    found: dict[str, Attention] = {}
    for row in tx.all(_batch_attentions(), batch_ids=batch_ids):
        before = found.get(row.batch_id, Attention(parked=0, cause=row.cause))
        found[row.batch_id] = before.model_copy(update={"parked": before.parked + row.parked})
    return found


def erase(tx: Tx, batch_id: str) -> None:
    """Delete what is held of a batch."""
    for table in (*VIEWS, attention):
        tx.execute(delete(table).where(table.c.batch_id == batch_id))
