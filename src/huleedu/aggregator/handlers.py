"""What the aggregator does: ask the owners, fold what happened into views and feeds, answer queries."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import structlog

from huleedu.aggregator import feed, store, views
from huleedu.aggregator.model import EssayRow
from huleedu.contracts.batch import (
    AggregatedBatchStatus,
    BatchClientStatus,
    BatchErasedV1,
    BatchErasureReportedV1,
    BatchPipelineRejectedV1,
    PipelineState,
    ProcessingPipelineState,
)
from huleedu.contracts.essay import (
    EssayContentProvisionedV1,
    EssayPhaseChangedV1,
    EssayRemovedV1,
    EssayResultIds,
    EssayValidationFailedV1,
)
from huleedu.contracts.notice import FeedEvent, FeedItem, FeedPage, FeedPlace, RecordParkedV1
from huleedu.platform.context import caused_by, current
from huleedu.platform.errors import NotFound, Unprocessable
from huleedu.platform.log import store as log_store
from huleedu.platform.service import Notice

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from huleedu.contracts.envelope import EventEnvelope
    from huleedu.platform.app import Platform
    from huleedu.platform.db import ReadTx, Tx

FEED_PAGE = 1_000
"""Entries of one feed in one answer."""
FEED_ANSWER = 5_000
"""Entries in one answer for many feeds, each of which has its share: so many can be told in a second."""
FEED_KEPT = timedelta(days=30)
TRIM_SECONDS = 3600.0
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Answer:
    """What the owners say of a batch: its state (None: erased) and those of its essays that are new here."""

    state: ProcessingPipelineState | None
    essays: Mapping[str, EssayRow] = field(default_factory=dict)


@dataclass(slots=True)
class Change:
    """What a stretch of the log has changed for one batch: what is new, and what is to be told."""

    state: ProcessingPipelineState
    traceparent: str | None = None
    essays: list[EssayRow] = field(default_factory=list)
    phases: list[EssayPhaseChangedV1] = field(default_factory=list)
    essay_ids: set[str] = field(default_factory=set)
    also: list[tuple[FeedEvent, dict[str, Any]]] = field(default_factory=list)


class Told(NamedTuple):
    """What a teacher is told of a batch, before it has its place in her feed."""

    user_id: str
    event: FeedEvent
    batch_id: str
    version: int
    data: AggregatedBatchStatus | dict[str, Any]
    traceparent: str | None


class Aggregator:
    """Owns the views and the feeds. It is the single writer of each teacher's feed."""

    def __init__(self, platform: Platform) -> None:
        self._db = platform.db
        self._clock = platform.clock
        self._orchestrator = platform.peer("orchestrator")
        self._files = platform.peer("files")
        self._ask_missing = platform.settings.handle_missing_batches == "query_bos"

    # -- the log

    async def ask_owners(self, envelopes: Sequence[EventEnvelope[Any]]) -> dict[str, object]:
        """Ask the orchestrator for the states of all batches of the fetch, once, and files for new essays.

        A batch that the orchestrator does not know fails the records of that batch: it is never stored.
        """
        asked = sorted({envelope.subject for envelope in envelopes})
        told = await self._orchestrator.ask(
            "POST", "/internal/v1/batches/pipeline-states:query", json={"batch_ids": asked}
        )
        states = {item["batch_id"]: ProcessingPipelineState.model_validate(item) for item in told["items"]}
        fresh = sorted({item.subject for item in envelopes if isinstance(item.data, EssayContentProvisionedV1)})
        essays = await self._ask_essays(fresh) if fresh else {}
        facts: dict[str, object] = {
            batch_id: Answer(state, essays.get(batch_id, {})) for batch_id, state in states.items()
        }
        facts |= {batch_id: Answer(None) for batch_id in told["erased"]}
        unknown = NotFound("The orchestrator does not know this batch.")
        return dict.fromkeys(asked, unknown) | facts

    async def _ask_essays(self, batch_ids: Sequence[str]) -> dict[str, dict[str, EssayRow]]:
        told = await self._files.ask("POST", "/internal/v1/essays:query", json={"batch_ids": batch_ids})
        essays: dict[str, dict[str, EssayRow]] = {}
        for item in told["items"]:
            essays.setdefault(item["batch_id"], {})[item["essay_id"]] = EssayRow.model_validate(item)
        return essays

    def fold(self, tx: Tx, envelopes: Sequence[EventEnvelope[Any]], facts: Mapping[str, object]) -> list[Notice]:
        """Bring views and feeds up to date with a stretch of the log, in one transaction.

        The statements are as many for one batch as for a hundred, except where essays are removed and runs end.
        """
        generations = store.written_generations(tx)
        changes: dict[str, Change] = {}
        for envelope in envelopes:
            answer = facts[envelope.subject]
            if isinstance(answer, Answer) and answer.state is not None:
                change = changes.setdefault(envelope.subject, Change(answer.state))
                change.traceparent = envelope.traceparent
                self._note(tx, generations, envelope.data, answer, change)
        told = [changes[batch_id] for batch_id in sorted(changes)]
        phases = [row for change in told for row in change.phases]
        store.put_essays(tx, generations, [essay for change in told for essay in change.essays])
        store.put_phases(tx, generations, sorted(phases, key=attrgetter("version")))
        store.put_batches(tx, generations, [change.state for change in told])
        for envelope in {envelope.subject: envelope for envelope in envelopes}.values():
            with caused_by(envelope):
                message = type(envelope.data).__name__
                tx.after_commit(log.info, "aggregator.view_updated", message=message, messages=len(envelopes))
        erased = [envelope for envelope in envelopes if isinstance(envelope.data, BatchErasedV1)]
        return self._write(tx, [*self._tell(tx, generations, changes), *self._erase(tx, erased)])

    def _note(self, tx: Tx, generations: list[int], message: object, answer: Answer, change: Change) -> None:
        """Take in one message; what it changes of essays and feed is collected in `change`."""
        batch_id = change.state.batch_id
        match message:
            case EssayContentProvisionedV1(essay_id=essay_id) if essay_id in answer.essays:
                change.essays.append(answer.essays[essay_id])
                change.essay_ids.add(essay_id)
            case EssayPhaseChangedV1(essay_id=essay_id):
                change.phases.append(message)
                change.essay_ids.add(essay_id)
            case EssayRemovedV1(essay_id=essay_id):
                store.remove_essay(tx, generations, batch_id, essay_id)
                feed.erase_essay(tx, essay_id)
                change.also.append((FeedEvent.ESSAY_REMOVED, {"essay_id": essay_id}))
            case EssayValidationFailedV1(code=code):
                change.also.append((FeedEvent.ESSAY_REFUSED, {"code": code.value}))
            case BatchPipelineRejectedV1(run_id=run_id, code=code, detail=detail):
                data = {"run_id": run_id, "code": code, "detail": detail}
                change.also.append((FeedEvent.BATCH_PIPELINE_REJECTED, data))
            case RecordParkedV1(group=group, topic=topic, parked=parked, cause=cause):
                store.put_attention(tx, (batch_id, group, topic), parked, cause)

    def _tell(self, tx: Tx, generations: list[int], changes: Mapping[str, Change]) -> Iterator[Told]:
        """Say what has changed: of each batch the essays, then the batch, then what ended.

        A run has ended when the view shows so: the orchestrator's word may come before the last essays'. Then no essay
        waits for another phase any more, so those that did are told again.
        """
        statuses = views.statuses(tx, changes)
        shown = {batch_id: status.pipeline_state for batch_id, status in statuses.items()}
        ended: dict[str, PipelineState] = {}
        for batch_id, state in shown.items():
            if state.status.terminal and store.note_end(tx, generations, batch_id, str(state.run_id)):
                ended[batch_id] = state
                run = {"run_id": state.run_id, "status": state.status.value}
                changes[batch_id].also.append((FeedEvent.BATCH_PIPELINE_COMPLETED, run))
        touched = {essay_id for change in changes.values() for essay_id in change.essay_ids}
        touched |= store.waiting(tx, ended) if ended else set()
        essays = views.essays(tx, shown, touched) if touched else {}
        for batch_id, status in statuses.items():
            said: list[tuple[FeedEvent, AggregatedBatchStatus | dict[str, Any]]] = [
                (FeedEvent.ESSAY_UPDATED, views.PUBLIC_ESSAY.dump_python(essay, mode="json"))
                for essay in essays.get(batch_id, ())
            ]
            for event, data in [*said, (FeedEvent.BATCH_UPDATED, status), *changes[batch_id].also]:
                yield Told(status.user_id, event, batch_id, status.version, data, changes[batch_id].traceparent)

    def _erase(self, tx: Tx, erased: Iterable[EventEnvelope[Any]]) -> Iterator[Told]:
        """Delete what is held of batches; their teachers are told that they are gone, and each erasure is reported."""
        for envelope in erased:
            batch_id = envelope.subject
            store.erase(tx, batch_id)
            feed.erase(tx, batch_id)
            with caused_by(envelope):
                log_store.append(tx, [BatchErasureReportedV1(batch_id=batch_id, service="aggregator")])
            if envelope.user_id is not None:
                data = {"batch_id": batch_id}
                yield Told(envelope.user_id, FeedEvent.BATCH_DELETED, batch_id, 0, data, envelope.traceparent)

    def _write(self, tx: Tx, told: Sequence[Told]) -> list[Notice]:
        """Write what is told into the teachers' feeds. A batch is told with the cursor that it is valid at."""
        epoch = store.current_generation(tx)
        following = feed.take_seqs(tx, Counter(entry.user_id for entry in told))
        items: list[tuple[str, FeedItem]] = []
        for entry in told:
            seq = following[entry.user_id]
            following[entry.user_id] += 1
            data = entry.data
            if isinstance(data, AggregatedBatchStatus):
                valid_at = data.model_copy(update={"live_cursor": f"{epoch}:{seq}"})
                data = views.PUBLIC_BATCH.dump_python(valid_at, mode="json")
            item = FeedItem(
                event=entry.event,
                seq=seq,
                epoch=str(epoch),
                batch_id=entry.batch_id,
                version=entry.version,
                data=data,
                at=tx.now,
                traceparent=entry.traceparent,
            )
            items.append((entry.user_id, item))
        feed.add(tx, items)
        return [Notice(user_id, item.model_dump_json()) for user_id, item in items]

    # -- queries

    async def status(self, batch_id: str) -> AggregatedBatchStatus:
        """Return a batch with its owner. Without a view yet, the feed's head is read first, then the truth asked."""
        user_id = current().user_id or ""
        found, cursor = await self._db.read(lambda tx: (views.status(tx, batch_id), views.cursor(tx, user_id)))
        return found or views.unseen(await self._unseen(batch_id), cursor)

    async def _unseen(self, batch_id: str) -> ProcessingPipelineState:
        """Ask the owner of a batch that there is no view of yet."""
        if not self._ask_missing:
            raise NotFound("There is no such batch.")
        state = await self._orchestrator.ask("GET", f"/internal/v1/batches/{batch_id}/pipeline-state")
        return ProcessingPipelineState.model_validate(state)

    async def batches(
        self, user_id: str, status: BatchClientStatus | None, before: str | None, limit: int
    ) -> dict[str, Any]:
        """Return a page of the teacher's batches, newest first; its cursor is its last batch's id."""
        if before is not None and not _is_id(before):
            told = "This cursor is none that a page was answered with. Begin again without one."
            raise Unprocessable(told, code="INVALID_CURSOR")

        def page(tx: ReadTx) -> dict[str, Any]:
            found = store.batch_ids(tx, user_id, status, before, limit + 1)
            shown = views.statuses(tx, found[:limit])
            items = [shown[batch_id] for batch_id in found[:limit]]
            following = found[limit - 1] if len(found) > limit else None
            return {"items": items, "next_cursor": following, "live_cursor": views.cursor(tx, user_id)}

        return await self._db.read(page)

    async def essays(self, batch_id: str, user_id: str) -> dict[str, Any]:
        """Return the essays of one of the teacher's batches. Without a view yet, they follow in her feed."""
        found, cursor = await self._db.read(lambda tx: (self._owned(tx, batch_id, user_id), views.cursor(tx, user_id)))
        if found is None and (await self._unseen(batch_id)).user_id != user_id:
            raise NotFound("There is no such batch.")
        items, version = found or ([], views.UNSEEN)
        return {"items": items, "version": version, "live_cursor": cursor}

    async def essay(self, batch_id: str, user_id: str, essay_id: str) -> EssayResultIds:
        """Return one essay of one of the teacher's batches."""
        found = await self._db.read(lambda tx: self._owned(tx, batch_id, user_id, [essay_id]))
        if not found or not found[0]:
            raise NotFound("There is no such essay in this batch.")
        return found[0][0]

    def _owned(
        self, tx: ReadTx, batch_id: str, user_id: str, essay_ids: Collection[str] | None = None
    ) -> tuple[list[EssayResultIds], int] | None:
        """Return the essays of the teacher's batch, or these of them, and the version of its view, if there is one."""
        found = store.batches(tx, [batch_id]).get(batch_id)
        if found is None or found[0].user_id != user_id:
            return None
        state, version = found
        return views.essays(tx, {batch_id: views.live(tx, state)}, essay_ids)[batch_id], version

    async def feeds(self, places: Sequence[FeedPlace]) -> list[FeedPage]:
        """Return what came after each of these places of teachers' feeds, all of one moment.

        A cursor of another epoch, or from the future, asks for a fresh snapshot.
        """

        def pages(tx: ReadTx) -> list[FeedPage]:
            epoch, kept = store.current_generation(tx), feed.kept(tx, [place.user_id for place in places])
            theirs = [(place, kept[place.user_id]) for place in places]
            asked = [(place, _seq(place.after, epoch, there), there[-1]) for place, there in theirs]
            behind = {(place.user_id, seq) for place, seq, head in asked if seq < head}
            limit = min(FEED_PAGE, FEED_ANSWER // max(1, len(behind)))
            entries = feed.entries(tx, epoch, behind, limit)
            found: list[FeedPage] = []
            for place, seq, head in asked:
                last = min(seq + limit, head)
                items = tuple(item for item in entries[place.user_id] if seq < item.seq <= last)
                resync = place.after not in {None, f"{epoch}:{seq}"}
                found.append(FeedPage(items=items, cursor=f"{epoch}:{last}", resync=resync, more=last < head))
            return found

        return await self._db.read(pages)

    async def trim(self) -> None:
        """Forget what is old in the feeds; who was away for so long takes a fresh snapshot."""
        while True:
            before = self._clock.now() - FEED_KEPT
            for user_id in await self._db.read(partial(feed.begun_before, moment=before)):
                while await self._db.write(partial(feed.trim, user_id=user_id, before=before, limit=FEED_PAGE)):
                    pass
            await self._clock.sleep(TRIM_SECONDS)


def _seq(after: str | None, epoch: int, kept: range) -> int:
    """Return the place that a cursor means in this epoch if everything after it is kept, else the head."""
    _, _, seq = (after or "").partition(":")
    known = seq.isdecimal() and int(seq) in kept and after == f"{epoch}:{int(seq)}"
    return int(seq) if known else kept[-1]


def _is_id(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False
