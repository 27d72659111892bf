"""What the orchestrator does on each message and request: load, decide, save, say."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import structlog

from huleedu.contracts.batch import (
    BatchDetail,
    BatchErasedV1,
    BatchErasureReportedV1,
    BatchPatch,
    BatchPipelineCancelRequestedV1,
    BatchPipelineRejectedV1,
    BatchRegistrationRequestV1,
    ClientBatchPipelineRequestV1,
    ProcessingPipelineState,
)
from huleedu.contracts.essay import EssayContentProvisionedV1, EssayRemovedV1
from huleedu.contracts.messages import ERASERS
from huleedu.contracts.notice import RecordParkedV1
from huleedu.contracts.phase import ELSBatchPhaseOutcomeV1, EssayRef
from huleedu.orchestrator import model, store
from huleedu.platform.context import bound, current
from huleedu.platform.errors import Conflict, Gone, NotFound, Problem, Unprocessable
from huleedu.platform.log import parking
from huleedu.platform.log import store as log_store

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from huleedu.contracts.envelope import Event, EventEnvelope
    from huleedu.orchestrator.model import Batch, Decision
    from huleedu.platform.clock import Clock
    from huleedu.platform.db import Db, Tx
    from huleedu.platform.http import Peer

GROUP = "orchestrator-service"
PATIENCE = timedelta(hours=24)
"""A run that has not moved for so long is given up: longer than any queue, short enough for the next school day."""
WATCH_SECONDS = 30.0
log = structlog.get_logger()


class Orchestrator:
    """Owns batches. Its state is the truth that every view is made from."""

    def __init__(self, db: Db, clock: Clock, files: Peer) -> None:
        self._db = db
        self._clock = clock
        self._files = files

    # -- the log

    async def close_intakes(self, envelopes: Sequence[EventEnvelope[Any]]) -> dict[str, object]:
        """Close the intake of every batch that is about to start, and get its frozen list of essays.

        Only for the first start of a batch in a fetch, and only if no run of it is under way: the others are refused
        without it. Asking again for the same run gives the same list, so a crash between here and the plan is harmless.
        """
        starts: dict[str, EventEnvelope[Any]] = {}
        for envelope in envelopes:
            if isinstance(envelope.data, ClientBatchPipelineRequestV1):
                starts.setdefault(envelope.subject, envelope)
        known = await self._db.read(lambda tx: store.load_many(tx, starts)) if starts else []
        facts: dict[str, object] = {}
        for batch in known:
            envelope = starts[batch.state.batch_id]
            if not batch.processing and batch.state.user_id == envelope.data.user_id:
                facts[envelope.subject] = await self._close_intake(envelope)
        return facts

    async def _close_intake(self, envelope: EventEnvelope[Any]) -> tuple[str, tuple[EssayRef, ...]] | None:
        run_id = str(envelope.event_id)
        with bound(user_id=envelope.user_id, correlation_id=envelope.correlation_id, batch_id=envelope.subject):
            path = f"/internal/v1/batches/{envelope.subject}/intake:close"
            try:
                answer = await self._files.ask("POST", path, json={"run_id": run_id})
            except Gone:  # this run has ended already: its start is a late one
                return None
        return run_id, tuple(EssayRef.model_validate(essay) for essay in answer["essays"])

    def on_pipeline_request(self, tx: Tx, request: ClientBatchPipelineRequestV1, fact: object) -> Iterable[Event]:
        """Plan the run, or reject it with the reason. The run's id is the id of this very event."""
        run_id = str(current().causation_id)
        batch = store.load(tx, request.batch_id)
        try:
            order = self._order(tx, batch, request, run_id, fact)
        except Problem as problem:
            return [
                BatchPipelineRejectedV1(
                    batch_id=request.batch_id, run_id=run_id, code=problem.code, detail=problem.detail
                )
            ]
        return self._keep(tx, model.start(order[0], order[1], tx.now))

    def _order(
        self, tx: Tx, batch: Batch | None, request: ClientBatchPipelineRequestV1, run_id: str, fact: object
    ) -> tuple[Batch, model.Start]:
        batch = _startable(batch, request.user_id, request.requested_pipeline)
        if not isinstance(fact, tuple) or fact[0] != run_id:
            detail = "Another start of this batch was in hand. See how it went, then try again."
            raise Conflict(detail, code="ALREADY_STARTED")
        if not fact[1]:
            raise Conflict("There is no essay in this batch. Add essays, then start.", code="NO_ESSAYS")
        cancelled = store.was_cancelled(tx, request.batch_id, run_id)
        return batch, model.Start(
            run_id=run_id, requested=request.requested_pipeline, essays=fact[1], cancelled=cancelled
        )

    def on_cancel(self, tx: Tx, request: BatchPipelineCancelRequestedV1) -> Iterable[Event]:
        """Stop the run; if it has not come yet, remember that it is not wanted."""
        batch = store.load(tx, request.batch_id)
        if batch is None or batch.state.user_id != request.user_id:
            return []
        if batch.state.run_id != request.run_id:
            store.remember_cancel(tx, request.batch_id, request.run_id)
            return []
        return self._keep(tx, model.cancel(batch, request.run_id, tx.now))

    def on_essay_stored(self, tx: Tx, message: EssayContentProvisionedV1) -> Iterable[Event]:
        """A batch with an essay is ready."""
        return self._note_essay(tx, message, removed=False)

    def on_essay_removed(self, tx: Tx, message: EssayRemovedV1) -> Iterable[Event]:
        """A batch without essays waits for some."""
        return self._note_essay(tx, message, removed=True)

    def _note_essay(
        self, tx: Tx, message: EssayContentProvisionedV1 | EssayRemovedV1, *, removed: bool
    ) -> Iterable[Event]:
        batch = store.load(tx, message.batch_id)
        if batch is None:  # erased: nothing of it is kept
            return []
        store.note_essay(tx, message.batch_id, message.essay_id, removed=removed)
        trigger = model.Trigger.ESSAY_STORED if store.has_essays(tx, message.batch_id) else model.Trigger.EMPTIED
        return self._keep(tx, model.move(batch, trigger, tx.now))

    def on_phase_outcome(self, tx: Tx, outcome: ELSBatchPhaseOutcomeV1) -> Iterable[Event]:
        """Go on to the next phase, or end the run."""
        batch = store.load(tx, outcome.batch_id)
        if batch is None:
            return []
        if batch.state.run_id != outcome.run_id or not batch.processing:
            late = {"run_id": outcome.run_id, "phase": outcome.phase_name.value}
            tx.after_commit(log.info, "orchestrator.late_outcome", **late)
        return self._keep(tx, model.conclude(batch, outcome, tx.now))

    def on_parked(self, tx: Tx, message: RecordParkedV1) -> Iterable[Event]:
        """Let the timer of a batch rest while something of it is parked; after that it has its whole time again."""
        if store.load(tx, message.batch_id) is None:
            return []
        store.note_parked(tx, message.batch_id, (message.group, message.topic), parked=message.parked > 0)
        if not message.parked:
            store.rearm(tx, tx.now + PATIENCE, message.batch_id)
        return []

    def on_erasure_reported(self, tx: Tx, message: BatchErasureReportedV1) -> Iterable[Event]:
        """Note which service has let go of an erased batch; after the last one, the log lets go of it too."""
        store.note_erasure(tx, message.batch_id, message.service)
        if store.erasure_reports(tx, message.batch_id) == len(ERASERS):
            log_store.forget(tx, message.batch_id)
        return []

    # -- requests

    async def register(self, registration: BatchRegistrationRequestV1) -> None:
        """Insert the batch, or leave the one that is there: a repeated request is harmless."""
        owner = registration.user_id
        if not owner:
            raise Unprocessable("A batch needs an owner.", code="NO_OWNER")

        def insert(tx: Tx) -> None:
            log_store.hold(tx, GROUP, [registration.batch_id])
            if store.erased_for(tx, registration.batch_id):
                raise Gone("This batch has been deleted. Make a new one, under a new Idempotency-Key.")
            if store.load(tx, registration.batch_id) is not None:
                return
            batch, messages = model.register(registration, owner, tx.now)
            store.save(tx, batch)
            log_store.append(tx, messages)

        with bound(user_id=owner, batch_id=registration.batch_id):
            await self._db.write(insert)

    async def amend(self, batch_id: str, user_id: str, patch: BatchPatch) -> ProcessingPipelineState:
        """Change what may be changed until the first start."""

        def change(tx: Tx) -> ProcessingPipelineState:
            log_store.hold(tx, GROUP, [batch_id])
            batch = _owned(store.load(tx, batch_id), user_id)
            if not batch.editable:
                raise Conflict("The batch has been started; make a new one instead.", code="ALREADY_STARTED")
            fields = patch.model_dump(exclude_unset=True)
            changes = {name: value for name, value in fields.items() if value is not None or name == "title"}
            decision = model.amend(batch, changes, tx.now)
            log_store.append(tx, self._keep(tx, decision))
            return decision[0].state

        return await self._db.write(change)

    async def erase(self, batch_id: str, user_id: str) -> bool:
        """Erase the batch everywhere; return whether every service has reported that it holds nothing any more."""

        def remove(tx: Tx) -> bool:
            log_store.hold(tx, GROUP, [batch_id])
            if store.erased_for(tx, batch_id) == user_id:
                return store.erasure_reports(tx, batch_id) >= len(ERASERS)
            batch = _owned(store.load(tx, batch_id), user_id)
            if batch.processing:
                raise Conflict("The batch is being assessed. Cancel it first, then delete it.", code="PROCESSING")
            store.erase(tx, batch)
            parking.discard(tx, GROUP, batch_id)
            log_store.append(tx, [BatchErasedV1(batch_id=batch_id)])
            return False

        return await self._db.write(remove)

    async def detail(self, batch_id: str, user_id: str) -> BatchDetail:
        """Return what its teacher entered of a batch."""
        batch = _owned(await self._db.read(lambda tx: store.load(tx, batch_id)), user_id)
        return model.detail(batch)

    async def pipeline_state(self, batch_id: str) -> ProcessingPipelineState:
        """Return the state of one batch: the truth."""
        batch = await self._db.read(lambda tx: store.load(tx, batch_id))
        if batch is None:
            raise NotFound("There is no such batch.")
        return batch.state

    async def pipeline_states(self, batch_ids: Sequence[str]) -> tuple[list[ProcessingPipelineState], list[str]]:
        """Return the states of those batches that exist, and which of them were erased."""
        found, erased = await self._db.read(
            lambda tx: (store.load_many(tx, batch_ids), store.erased_among(tx, batch_ids))
        )
        return [batch.state for batch in found], erased

    async def all_states(self, after: str, limit: int) -> list[ProcessingPipelineState]:
        """Return all states, page by page, in the order of the batches' ids."""
        return [batch.state for batch in await self._db.read(lambda tx: store.page(tx, after, limit))]

    async def check_start(self, batch_id: str, user_id: str, requested: str | None) -> str:
        """Return the pipeline that a start would run, or raise what the teacher shall be told.

        None asks for the last one again: what failed or was cancelled is done anew, what was done is reused.
        """
        batch = await self._db.read(lambda tx: store.load(tx, batch_id))
        if requested is None:
            requested = _owned(batch, user_id).state.requested_pipeline
            if requested is None:
                raise Conflict("The batch has not been started yet; start it instead.", code="NEVER_STARTED")
        _startable(batch, user_id, requested)
        answer = await self._files.ask("POST", "/internal/v1/essays:query", json={"batch_ids": [batch_id]})
        if not answer["items"]:
            raise Conflict("There is no essay in this batch. Add essays, then start.", code="NO_ESSAYS")
        return requested

    async def check_cancel(self, batch_id: str, user_id: str) -> str:
        """Return the run that a cancel would stop."""
        batch = _owned(await self._db.read(lambda tx: store.load(tx, batch_id)), user_id)
        if not batch.processing or batch.state.run_id is None:
            raise Conflict("Nothing is being assessed in this batch.", code="NOT_PROCESSING")
        return batch.state.run_id

    # -- the watchdog

    def rearm(self, tx: Tx) -> None:
        """Give every run its whole time again: while nothing ran here, nothing could move."""
        store.rearm(tx, tx.now + PATIENCE)

    async def watch(self) -> None:
        """End runs that have not moved until their time was up; time that the machine slept through does not count."""
        while True:
            before = self._clock.now()
            await self._clock.sleep(WATCH_SECONDS)
            slept = (self._clock.now() - before).total_seconds() > 2 * WATCH_SECONDS
            await self._db.write(self.rearm if slept else self.end_overdue)

    def end_overdue(self, tx: Tx) -> None:
        """End, with a reason, every run whose time is up."""
        late = {batch.state.batch_id for batch in store.overdue(tx)}
        log_store.hold(tx, GROUP, late)
        for batch in (batch for batch in store.overdue(tx) if batch.state.batch_id in late):
            with bound(user_id=batch.state.user_id, batch_id=batch.state.batch_id):
                tx.after_commit(log.error, "orchestrator.run_timed_out", run_id=batch.state.run_id)
                log_store.append(tx, self._keep(tx, model.give_up(batch, tx.now)))

    def _keep(self, tx: Tx, decision: Decision) -> Iterable[Event]:
        batch, messages = decision
        if messages:
            store.save(tx, batch, due=tx.now + PATIENCE)
            known = {"status": batch.state.status.value, "version": batch.state.version, "run_id": batch.state.run_id}
            tx.after_commit(log.info, "orchestrator.state", **known)
        return messages


def _owned(batch: Batch | None, user_id: str) -> Batch:
    if batch is None or batch.state.user_id != user_id:
        raise NotFound("There is no such batch.")
    return batch


def _startable(batch: Batch | None, user_id: str, requested: str) -> Batch:
    batch = _owned(batch, user_id)
    if batch.processing:
        raise Conflict("The batch is being assessed already. Wait for it, or cancel it.", code="PROCESSING")
    try:
        model.pipeline(requested, batch.state.language)
    except ValueError as error:
        raise Unprocessable(str(error), code="PHASE_NOT_OFFERED") from error
    return batch
