"""Reading the views: every answer is one snapshot, together with the feed position that it is valid at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from huleedu.aggregator import model, store
from huleedu.contracts.batch import AggregatedBatchStatus, BatchStatus, PipelineState, ProcessingPipelineState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from huleedu.contracts.essay import EssayResultIds
    from huleedu.platform.db import ReadTx

UNSEEN = 0
"""The version of an answer that no view stands behind yet."""


def cursor(tx: ReadTx, user_id: str, seq: int | None = None) -> str:
    """Return a feed position as clients keep it: `<epoch>:<seq>`; without `seq`, the feed's head."""
    return f"{store.current_generation(tx)}:{store.head(tx, user_id) if seq is None else seq}"


def status(tx: ReadTx, batch_id: str, seq: int | None = None) -> AggregatedBatchStatus | None:
    """Return a batch as its teacher sees it, or None if there is no view of it."""
    found = store.batch(tx, batch_id)
    if found is None:
        return None
    state, version = found
    shown = live(tx, state)
    essays, fresh = store.essay_totals(tx, batch_id)
    return AggregatedBatchStatus(
        batch_id=batch_id,
        user_id=state.user_id,
        title=state.title,
        language=state.language,
        status=shown.status,
        pipeline_state=shown,
        essays=essays,
        unassessed=fresh,
        attention=store.batch_attention(tx, batch_id),
        version=version,
        live_cursor=cursor(tx, state.user_id, seq),
        created_at=state.created_at,
        last_updated=state.last_updated,
    )


def unseen(state: ProcessingPipelineState, live_cursor: str) -> AggregatedBatchStatus:
    """Return a batch that there is no view of yet, as the orchestrator told of it."""
    return AggregatedBatchStatus(
        batch_id=state.batch_id,
        user_id=state.user_id,
        title=state.title,
        language=state.language,
        status=state.status,
        pipeline_state=model.live(state, {}),
        version=UNSEEN,
        live_cursor=live_cursor,
        created_at=state.created_at,
        last_updated=state.last_updated,
    )


def public(found: AggregatedBatchStatus) -> BatchStatus:
    """Return a status without its owner, as clients get it."""
    return BatchStatus.model_construct(**{name: getattr(found, name) for name in BatchStatus.model_fields})


def essays(
    tx: ReadTx, batch_id: str, shown: PipelineState, essay_ids: Iterable[str] | None = None
) -> list[EssayResultIds]:
    """Return a batch's essays, or these of them, as their teacher sees them beside this state of the batch."""
    return [model.essay_view(essay, phases, shown) for essay, phases in store.essays(tx, batch_id, essay_ids)]


def live(tx: ReadTx, state: ProcessingPipelineState) -> PipelineState:
    """Return a batch's state with the counts that its essays' rows show."""
    return model.live(state, store.counts(tx, state.batch_id, state.run_id))
