"""The work queue: claim in turn, run in a worker process, finish in one transaction.

A claim is a lease, which is renewed while the work is done. A worker that dies or takes too long uses up one attempt. A
server that stops or dies uses none: it gives its leases back, or they run out. Nor does a fault that will pass, such as
a full disk: it is waited out. Whoever does not hold the lease any more says nothing, and what it has put is swept.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

import anyio
import structlog

from huleedu.contracts.phase import Engine, EssayOutcome, PhaseWorkCompletedV1, WorkOutcome
from huleedu.phases import fairness, store, worker
from huleedu.platform.context import bound, new_id
from huleedu.platform.errors import Retry, describe
from huleedu.platform.log import store as log_store
from huleedu.platform.tracing import span
from huleedu.platform.workers import WorkerDied, WorkerTimeout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from huleedu.contracts.phase import EssayRef, PhaseContext, PhaseName
    from huleedu.phases.store import Work
    from huleedu.platform.app import Platform
    from huleedu.platform.db import Tx
    from huleedu.platform.workers import Workers

ATTEMPTS = 3
LEASE = timedelta(seconds=15)
"""So long the work of a server that was killed waits; so long one may be held up before its work is done again."""
PATIENCE = timedelta(hours=12)
"""Work that has waited so long is failed with a reason: the school day it was meant for is over."""
WATCH_SECONDS = 3.0
"""A renewal may come to nothing, even after a connection's five seconds, and the next is still in time."""
PAUSE_SECONDS = 5.0
"""How long a worker rests after a fault that will pass: somebody has to make room first."""
PASSING = (OSError, Retry)
"""What blobs and database raise when they cannot serve now; what a phase raises comes as PhaseFault."""
DIED = "The essay could not be assessed: the program that did it ended {attempts} times. The other essays go on."
SLOW = "The essay could not be assessed within {seconds} seconds, {attempts} times. The other essays go on."
BROKEN = "The essay could not be assessed because of a fault in this phase. The other essays go on."
LATE = "The essay waited too long for its turn. Start the assessment again."
log = structlog.get_logger()


class WorkQueue:
    """Spreads work over the worker processes, fairly over teachers, then over their batches."""

    def __init__(self, platform: Platform, workers: Workers) -> None:
        self._db = platform.db
        self._blobs = platform.blobs
        self._clock = platform.clock
        self._workers = workers
        self._timeout_s = platform.settings.work_timeout_seconds
        self._engines: dict[tuple[PhaseName, str], Engine] = {}
        self._teachers = fairness.Ring()
        self._batches: dict[str, fairness.Ring] = {}
        self._claiming = asyncio.Lock()
        self._running: dict[str, tuple[Work, anyio.CancelScope]] = {}
        self._stopping = False

    async def serve(self) -> None:
        """Do one unit of work after another. As many of these run as there are worker processes."""
        with self._db.watch([store.QUEUE_CHANNEL]) as watch:
            while True:
                work = await self._claim()
                if work is None:
                    await watch.take()
                    continue
                try:
                    finished = await self._attempt(work)
                except asyncio.CancelledError:
                    await self._give_back(work)
                    raise
                if not finished:
                    await self._db.write(lambda tx: store.let_go(tx, work))  # noqa: B023 -- awaited at once

    def stop(self) -> None:
        """Claim nothing more: this process is going down."""
        self._stopping = True

    async def _give_back(self, work: Work) -> None:
        """Let another process do the work at once, unless it is finished after all."""

        def give_back(tx: Tx) -> None:
            if store.put_back(tx, work, used=False):
                store.let_go(tx, work)

        with suppress(Retry):  # then the lease runs out
            await self._db.write(give_back)

    async def _attempt(self, work: Work) -> bool:
        """Do the work, unless it is cancelled meanwhile; return whether that finished it."""
        finished = False
        with anyio.CancelScope() as scope, self._bound(work):
            self._running[work.lease] = work, scope
            try:
                # A cancel between the claim and the line above has found nobody to stop.
                if await self._db.read(lambda tx: store.held(tx, [work.lease])):
                    finished = await self._perform(work)
            except PASSING as error:
                log.warning("phases.waiting", phase=work.request.phase.value, cause=describe(error))
                await self._clock.sleep(PAUSE_SECONDS)
                await self._db.write(lambda tx: store.put_back(tx, work, used=False))
            finally:
                del self._running[work.lease]
        return finished

    async def stop_cancelled(self) -> None:
        """Stop the workers of runs that have been cancelled."""
        with self._db.watch([store.CANCEL_CHANNEL]) as watch:
            while True:
                await watch.take()
                leases = list(self._running)
                held = await self._db.read(lambda tx: store.held(tx, leases))  # noqa: B023 -- awaited at once
                for lease in set(leases) - held:
                    if lost := self._running.get(lease):
                        lost[1].cancel()

    async def watch(self) -> None:
        """Renew leases, return those that have run out, and fail what has waited too long; not while asleep."""
        while True:
            before = self._clock.now()
            await self._clock.sleep(WATCH_SECONDS)
            if self._clock.now() - before > LEASE:
                await self._db.write(lambda tx: store.rearm(tx, tx.now + PATIENCE))
            with suppress(Retry):
                await self._db.write(partial(_renew, [work for work, _ in self._running.values()]))
            for work in await self._db.write(lambda tx: store.take_overdue(tx, str(new_id()), tx.now + LEASE)):
                with self._bound(work):
                    await self._finish(work, None, [_failed(essay, "DEADLINE", LATE) for essay in work.request.essays])

    async def _claim(self) -> Work | None:
        async with self._claiming:
            while not self._stopping and (waiting := await self._db.read(store.queued)):
                teacher, batch = self._next(waiting)
                until = self._clock.now() + LEASE
                # None if a cancel was quicker: others may wait all the same.
                if work := await self._lease(
                    partial(store.claim, user_id=teacher, batch_id=batch, lease=str(new_id()), until=until)
                ):
                    return work
            return None

    async def _lease(self, claim: Callable[[Tx], Work | None]) -> Work | None:
        """Claim; who is cancelled meanwhile gives back what it gets."""
        claiming = asyncio.ensure_future(self._db.write(claim))
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            if work := await claiming:
                await self._give_back(work)
            raise

    def _next(self, waiting: dict[str, dict[str, int]]) -> tuple[str, str]:
        """Return the teacher and the batch whose turn it is."""
        totals = {teacher: sum(batches.values()) for teacher, batches in waiting.items()}
        self._teachers, teacher = fairness.turn(self._teachers, totals)
        ring, batch = fairness.turn(self._batches.get(teacher, fairness.Ring()), waiting[teacher])
        self._batches = {name: known for name, known in self._batches.items() if name in waiting} | {teacher: ring}
        return teacher, batch

    async def _perform(self, work: Work) -> bool:
        """Run the phase on each essay of the work, and say what came of it; False if that is to be done again."""
        request, engine = work.request, None
        try:
            engine = await self._engine(request.phase, request.context)
            outcomes = [await self._assess(work, essay, engine) for essay in request.essays]
        except (WorkerDied, WorkerTimeout, MemoryError) as error:
            log.warning("phases.attempt_failed", phase=request.phase.value, attempt=work.attempt, cause=describe(error))
            if work.attempt < ATTEMPTS:
                await self._db.write(lambda tx: store.put_back(tx, work, used=True))
                return False
            slow = isinstance(error, WorkerTimeout)
            detail = (SLOW if slow else DIED).format(seconds=self._timeout_s, attempts=work.attempt)
            outcomes = [
                _failed(essay, "PHASE_TIMEOUT" if slow else "PHASE_CRASHED", detail) for essay in request.essays
            ]
        except PASSING:
            raise
        except Exception as error:  # noqa: BLE001 -- a phase may raise anything; it fails this work and no other
            cause = str(error) if isinstance(error, worker.PhaseFault) else describe(error)
            log.error("phases.fault", phase=request.phase.value, cause=cause)  # noqa: TRY400 -- no essay text
            outcomes = [_failed(essay, "PHASE_FAILED", BROKEN) for essay in request.essays]
        return await self._finish(work, engine, outcomes)

    async def _assess(self, work: Work, essay: EssayRef, engine: Engine) -> EssayOutcome:
        """Return what the phase makes of one essay, or what it has made of the same before."""
        request = work.request
        key = self._key(work, essay, engine)
        if known := await self._db.read(lambda tx: store.known_result(tx, **key)):
            return EssayOutcome(
                essay_id=essay.essay_id, outcome=WorkOutcome.COMPLETED, result_id=known[0], metrics=known[1]
            )
        text = (await self._blobs.get(essay.text_storage_id)).decode()
        given = request.inputs.get(essay.essay_id, {})
        inputs = {phase: await self._blobs.get(result_id) for phase, result_id in given.items()}
        context = request.context.model_dump_json()
        result, metrics = await self._workers.run(
            worker.perform, request.phase.value, text, context, inputs, timeout_s=self._timeout_s
        )
        result_id = await self._blobs.put(work.prefixes[essay.essay_id], result)
        return EssayOutcome(
            essay_id=essay.essay_id, outcome=WorkOutcome.COMPLETED, result_id=result_id, metrics=metrics
        )

    async def _finish(self, work: Work, engine: Engine | None, outcomes: list[EssayOutcome]) -> bool:
        """Take the work off the queue and say what came of it, in one transaction; without the lease, say nothing."""
        request = work.request

        def finish(tx: Tx) -> bool:
            log_store.hold(tx, store.GROUP, [request.batch_id])
            if not store.finish(tx, work):
                return False
            for essay, outcome in zip(request.essays, outcomes, strict=True):
                if engine and outcome.result_id:
                    store.keep_result(tx, self._key(work, essay, engine), outcome)
            completed = PhaseWorkCompletedV1(
                batch_id=request.batch_id,
                work_id=request.work_id,
                run_id=request.run_id,
                phase=request.phase,
                attempt=work.attempt,
                essays=tuple(outcomes),
                engine=engine,
            )
            log_store.append(tx, [completed])
            return True

        finished = False
        with anyio.CancelScope(shield=True):  # a cancel that comes now must not hide whether it was finished
            finished = await self._db.write(finish)
        if not finished:
            log.info("phases.lease_lost", phase=request.phase.value)
        return finished

    async def _engine(self, phase: PhaseName, context: PhaseContext) -> Engine:
        """Return the phase's engine, asked of a worker process once: this one does not load the phases' libraries."""
        language = context.language.value
        if (phase, language) not in self._engines:
            told = await self._workers.run(worker.engine, phase.value, language, timeout_s=self._timeout_s)
            self._engines[phase, language] = Engine.model_validate_json(told)
        return self._engines[phase, language]

    def _key(self, work: Work, essay: EssayRef, engine: Engine) -> dict[str, str]:
        """Return what decides a result: text, context and inputs (blob ids end in their content's hash), and engine."""
        request = work.request
        inputs = {phase: blob.rpartition("/")[2] for phase, blob in request.inputs.get(essay.essay_id, {}).items()}
        given = [essay.text_storage_id, request.context.model_dump(mode="json"), inputs]
        return {
            "batch_id": request.batch_id,
            "input_hash": _hash(json.dumps(given, sort_keys=True)),
            "phase": request.phase.value,
            "engine": _hash(json.dumps(engine.model_dump(mode="json"), sort_keys=True)),
        }

    @contextmanager
    def _bound(self, work: Work) -> Iterator[None]:
        """Work for whoever asked for it."""
        request, correlation_id = work.request, UUID(work.correlation_id)
        asked = {"batch_id": request.batch_id, "user_id": work.user_id, "traceparent": work.traceparent}
        with bound(**asked, correlation_id=correlation_id), span(f"work {request.phase.value}"):
            yield


def _renew(running: Sequence[Work], tx: Tx) -> None:
    """Let the leases of this process last, and give back those of others that have run out."""
    store.renew(tx, running, tx.now + LEASE)
    store.return_leases(tx, expired_only=True)


def _failed(essay: EssayRef, code: str, detail: str) -> EssayOutcome:
    return EssayOutcome(essay_id=essay.essay_id, outcome=WorkOutcome.FAILED, code=code, detail=detail)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
