"""Batches: register, list, look at, change, delete."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query, Response

from huleedu.contracts.batch import BatchClientStatus, BatchDetail, BatchDraft, BatchPatch, BatchStatus
from huleedu.contracts.envelope import Fact
from huleedu.gateway.routes.common import Asking, IdempotencyKey, Page, problems
from huleedu.gateway.routes.tags import Shown, unchanged
from huleedu.platform.context import current

if TYPE_CHECKING:
    from huleedu.gateway.handlers import Gateway

PageSize = Annotated[int, Query(ge=1, le=200)]


class BatchCreated(Fact):
    """A registered batch; upload essays to it, then start a pipeline."""

    batch_id: str
    correlation_id: str
    status: BatchClientStatus


def routes(gateway: Gateway) -> APIRouter:
    """Return the routes of batches."""
    router = APIRouter(prefix="/v1/batches", tags=["batches"])

    @router.post("", status_code=201, responses=problems(410, 422))
    async def create_batch(teacher: Asking, draft: BatchDraft, idempotency_key: IdempotencyKey = None) -> BatchCreated:
        answer = await gateway.create_batch(teacher, draft, idempotency_key)
        return BatchCreated(**answer, correlation_id=str(current().correlation_id))

    @router.get("", responses=problems(422), response_model=Page[BatchStatus])
    async def list_batches(
        teacher: Asking, status: BatchClientStatus | None = None, cursor: str | None = None, limit: PageSize = 50
    ) -> Any:  # noqa: ANN401 -- filtered to the response model
        return await gateway.batches(teacher, status, cursor, limit)

    @router.get("/{batch_id}", responses=problems(404), response_model=BatchDetail)
    async def get_batch(teacher: Asking, batch_id: str) -> Any:  # noqa: ANN401 -- filtered to the response model
        del teacher  # the orchestrator is told by the bound context who asks
        return await gateway.batch(batch_id)

    @router.get("/{batch_id}/status", responses=problems(404), response_model=BatchStatus)
    async def get_status(teacher: Asking, batch_id: str, response: Response, shown: Shown = None) -> Any:  # noqa: ANN401 -- filtered to the response model
        found = await gateway.status(teacher, batch_id)
        return unchanged(response, found.live_cursor, found.version, shown) or found

    @router.patch("/{batch_id}", responses=problems(404, 409, 422), response_model=BatchStatus)
    async def amend_batch(teacher: Asking, batch_id: str, patch: BatchPatch) -> Any:  # noqa: ANN401 -- as above
        return await gateway.amend(teacher, batch_id, patch)

    @router.delete("/{batch_id}", status_code=202, responses=problems(404, 409) | {204: {"description": "Erased"}})
    async def delete_batch(teacher: Asking, batch_id: str) -> Response:
        return Response(status_code=204 if await gateway.erase(teacher, batch_id) else 202)

    return router
