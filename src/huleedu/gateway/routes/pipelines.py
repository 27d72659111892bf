"""Pipelines: start, cancel, retry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal
from uuid import UUID

from fastapi import APIRouter
from pydantic import Field

from huleedu.contracts.envelope import Fact, Request
from huleedu.gateway.routes.common import Asking, IdempotencyKey, problems

if TYPE_CHECKING:
    from huleedu.gateway.handlers import Gateway


class PipelineRequest(Request):
    """A phase, with what it needs, or `all`."""

    requested_pipeline: str = Field(max_length=50)


class CancelRequest(Request):
    """Which run to stop; left out, the one under way."""

    run_id: UUID | None = None


class Accepted(Fact):
    """The command is on the log. `run_id` tells this run's messages from another's."""

    batch_id: str
    run_id: str
    correlation_id: str
    status: Literal["accepted"]


def routes(gateway: Gateway) -> APIRouter:
    """Return the routes of pipelines."""
    router = APIRouter(prefix="/v1/batches/{batch_id}", tags=["pipelines"])

    @router.post("/pipelines", status_code=202, responses=problems(404, 409, 422))
    async def start_pipeline(
        teacher: Asking, batch_id: str, asked: PipelineRequest, idempotency_key: IdempotencyKey = None
    ) -> Accepted:
        return Accepted.model_validate(
            await gateway.start(teacher, batch_id, asked.requested_pipeline, idempotency_key)
        )

    @router.post("/cancel", status_code=202, responses=problems(404, 409, 422))
    async def cancel_pipeline(
        teacher: Asking,
        batch_id: str,
        asked: CancelRequest | None = None,
        idempotency_key: IdempotencyKey = None,
    ) -> Accepted:
        run_id = str(asked.run_id) if asked and asked.run_id else None
        return Accepted.model_validate(await gateway.cancel(teacher, batch_id, run_id, idempotency_key))

    @router.post("/retry", status_code=202, responses=problems(404, 409))
    async def retry_pipeline(teacher: Asking, batch_id: str, idempotency_key: IdempotencyKey = None) -> Accepted:
        return Accepted.model_validate(await gateway.start(teacher, batch_id, None, idempotency_key))

    return router
