"""Reading the views: every answer is one snapshot, together with the feed position that it is valid at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from huleedu.aggregator import feed, model, store
from huleedu.contracts.batch import AggregatedBatchStatus, BatchStatus, PipelineState, ProcessingPipelineState
from huleedu.contracts.essay import EssayView

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from huleedu.contracts.essay import EssayResultIds
    from huleedu.platform.db import ReadTx

PUBLIC_BATCH, PUBLIC_ESSAY = TypeAdapter(BatchStatus), TypeAdapter(EssayView)
"""What clients get: a batch without its owner, an essay without the places of its blobs."""
UNSEEN = 0
"""The version of an answer that no view stands behind yet."""


def cursor(tx: ReadTx, user_id: str) -> str:
    """Return the head of a teacher's feed as clients keep it: `<epoch>:<seq>`."""
    return f"{store.current_generation(tx)}:{feed.head(tx, user_id)}"


def statuses(tx: ReadTx, batch_ids: Iterable[str]) -> dict[str, AggregatedBatchStatus]:
    """Return batches as their teachers see them; nothing where there is no view."""
    found = store.batches(tx, batch_ids)
    counts, totals, attentions = (
        store.counts(tx, found),
        store.essay_totals(tx, found),
        store.batch_attentions(tx, found),
    )
    epoch, heads = store.current_generation(tx), feed.heads(tx, {state.user_id for state, _ in found.values()})
    shown: dict[str, AggregatedBatchStatus] = {}
    for batch_id, (state, version) in found.items():
        live = model.live(state, counts.get((batch_id, state.run_id), {}))
        essays, fresh = totals.get(batch_id, (0, 0))
        beside = {"essays": essays, "unassessed": fresh, "attention": attentions.get(batch_id), "version": version}
        shown[batch_id] = _shown(state, live, f"{epoch}:{heads.get(state.user_id, 0)}", beside)
    return shown


def status(tx: ReadTx, batch_id: str) -> AggregatedBatchStatus | None:
    """Return a batch as its teacher sees it, or None if there is no view of it."""
    return statuses(tx, [batch_id]).get(batch_id)


def unseen(state: ProcessingPipelineState, live_cursor: str) -> AggregatedBatchStatus:
    """Return a batch that there is no view of yet, as the orchestrator told of it."""
    return _shown(state, model.live(state, {}), live_cursor, {"version": UNSEEN})


def _shown(
    state: ProcessingPipelineState, live: PipelineState, live_cursor: str, beside: Mapping[str, Any]
) -> AggregatedBatchStatus:
    return AggregatedBatchStatus(
        batch_id=state.batch_id,
        user_id=state.user_id,
        title=state.title,
        language=state.language,
        status=live.status,
        pipeline_state=live,
        live_cursor=live_cursor,
        created_at=state.created_at,
        last_updated=state.last_updated,
        **beside,
    )


def essays(
    tx: ReadTx, shown: Mapping[str, PipelineState], essay_ids: Collection[str] | None = None
) -> dict[str, list[EssayResultIds]]:
    """Return the essays of these batches, or these of them, as their teachers see them beside the batches' states."""
    found: dict[str, list[EssayResultIds]] = {batch_id: [] for batch_id in shown}
    for essay, phases in store.essays(tx, shown, essay_ids):
        found[essay.batch_id].append(model.essay_view(essay, phases, shown[essay.batch_id]))
    return found


def live(tx: ReadTx, state: ProcessingPipelineState) -> PipelineState:
    """Return a batch's state with the counts that its essays' rows show."""
    return model.live(state, store.counts(tx, [state.batch_id]).get((state.batch_id, state.run_id), {}))
