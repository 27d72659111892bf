"""What the lifecycle does on each message: hand out, judge, conclude."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from huleedu.contracts.batch import BatchErasedV1, BatchErasureReportedV1
from huleedu.contracts.essay import EssayRemovedV1
from huleedu.contracts.phase import (
    PLAN,
    BatchPhaseCancelCommandV1,
    BatchPhaseInitiateCommandV1,
    PhaseName,
    PhaseWorkCompletedV1,
    PhaseWorkRequestedV1,
    WorkOutcome,
)
from huleedu.lifecycle import model, store
from huleedu.lifecycle.model import EssayPhase, Trigger
from huleedu.platform.context import current, new_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from huleedu.contracts.envelope import Event
    from huleedu.platform.db import Db, Tx

log = structlog.get_logger()


class Lifecycle:
    """Owns the states of essays. It alone judges whether a result counts."""

    def __init__(self, db: Db) -> None:
        self._db = db

    def on_initiate(self, tx: Tx, command: BatchPhaseInitiateCommandV1) -> Iterable[Event]:
        """Hand out the work of a phase; if its run is cancelled already, cancel all of it."""
        if not store.open_phase(tx, command.batch_id, command.run_id, command.phase):
            return []
        essays = [
            EssayPhase(
                batch_id=command.batch_id,
                run_id=command.run_id,
                phase=command.phase,
                place=place,
                **essay.model_dump(),
            )
            for place, essay in enumerate(command.essays)
        ]
        if store.is_stopped(tx, command.run_id):
            return self._move_all(tx, essays, Trigger.CANCELLED)
        return [*self._move_all(tx, essays, Trigger.DISPATCHED), *self._work(tx, command)]

    def _work(self, tx: Tx, command: BatchPhaseInitiateCommandV1) -> Iterable[Event]:
        inputs = store.results(tx, command.run_id, PLAN[command.phase].needs)
        for essay in command.essays:
            yield PhaseWorkRequestedV1(
                batch_id=command.batch_id,
                work_id=str(new_id()),
                run_id=command.run_id,
                phase=command.phase,
                essays=(essay,),
                inputs={essay.essay_id: inputs.get(essay.essay_id, {})},
                context=command.context,
            )

    def on_work_completed(self, tx: Tx, message: PhaseWorkCompletedV1) -> Iterable[Event]:
        """Judge each result: it counts once, in its own run, while its essay is undecided."""
        counted = []
        latest = store.versions(tx, (result.essay_id for result in message.essays))
        for result in message.essays:
            essay = store.load(tx, message.run_id, message.phase, result.essay_id)
            trigger = Trigger.SUCCEEDED if result.outcome is WorkOutcome.COMPLETED else Trigger.FAILED
            found = {name: getattr(result, name) for name in ("code", "detail", "result_id", "metrics")}
            moved = essay and model.move(essay, trigger, latest[essay.essay_id], **found)
            if moved is None:
                tx.after_commit(log.info, "lifecycle.late_result", run_id=message.run_id, phase=message.phase.value)
                store.note_late(tx, message.batch_id, message.run_id, message.phase, result)
            else:
                counted.append(moved)
        store.save(tx, counted)
        return [*map(model.changed, counted), *self._conclude(tx, message.run_id, message.phase)]

    def on_cancel(self, tx: Tx, command: BatchPhaseCancelCommandV1) -> Iterable[Event]:
        """Cancel what is undecided, and remember the run for what arrives later."""
        store.stop(tx, command.batch_id, command.run_id)
        return self._move_all(tx, store.undecided(tx, command.run_id), Trigger.CANCELLED)

    def on_essay_removed(self, tx: Tx, message: EssayRemovedV1) -> Iterable[Event]:
        """Let go of what an essay held; that it was part of its runs stays, so that their counts still add up."""
        store.blank_essay(tx, message.essay_id)
        return []

    def on_batch_erased(self, tx: Tx, message: BatchErasedV1) -> Iterable[Event]:
        """Let go of a batch, and report it."""
        store.erase(tx, message.batch_id)
        return [BatchErasureReportedV1(batch_id=message.batch_id, service="lifecycle")]

    async def essays(self, batch_ids: Sequence[str]) -> list[EssayPhase]:
        """Return the states of these batches' essays, oldest change first."""
        return await self._db.read(lambda tx: store.of_batches(tx, batch_ids))

    def _move_all(self, tx: Tx, essays: Sequence[EssayPhase], trigger: Trigger) -> list[Event]:
        """Move these essays and say so; conclude the phases that have none left to wait for."""
        latest = store.versions(tx, (essay.essay_id for essay in essays))
        moves = (model.move(essay, trigger, latest.get(essay.essay_id, 0)) for essay in essays)
        moved = [essay for essay in moves if essay]
        store.save(tx, moved)
        messages: list[Event] = [model.changed(essay) for essay in moved]
        for run_id, phase in sorted({(essay.run_id, essay.phase) for essay in moved}):
            messages += self._conclude(tx, run_id, phase)
        return messages

    def _conclude(self, tx: Tx, run_id: str, phase: PhaseName) -> Iterable[Event]:
        """Say what came of the phase, exactly once, when all its essays are decided."""
        if store.any_undecided(tx, run_id, phase) or not store.conclude(tx, run_id, phase):
            return []
        return [model.outcome(store.of_phase(tx, run_id, phase), str(current().correlation_id))]
