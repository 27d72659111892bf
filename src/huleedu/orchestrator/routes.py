"""The orchestrator's internal routes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel

from huleedu.contracts.batch import (
    BatchDetail,
    BatchIds,
    BatchPatch,
    BatchRegistrationRequestV1,
    ProcessingPipelineState,
)
from huleedu.platform.http import UserId

if TYPE_CHECKING:
    from huleedu.orchestrator.handlers import Orchestrator

Limit = Annotated[int, Query(ge=1, le=1000)]


class StartCheck(BaseModel):
    """A start that a teacher wants; no pipeline means: the last one again."""

    requested_pipeline: str | None = None


def routes(orchestrator: Orchestrator) -> APIRouter:  # noqa: C901 -- a list of routes, each two lines
    """Return the routes of batches and their states."""
    router = APIRouter(prefix="/internal/v1/batches")

    @router.post("", status_code=201)
    async def register(registration: BatchRegistrationRequestV1) -> dict[str, str]:
        await orchestrator.register(registration)
        return {"batch_id": registration.batch_id}

    @router.patch("/{batch_id}")
    async def amend(batch_id: str, patch: BatchPatch, x_user_id: UserId) -> ProcessingPipelineState:
        return await orchestrator.amend(batch_id, x_user_id, patch)

    @router.delete("/{batch_id}")
    async def erase(batch_id: str, x_user_id: UserId) -> dict[str, bool]:
        return {"erased": await orchestrator.erase(batch_id, x_user_id)}

    @router.get("/pipeline-states")
    async def all_states(after: str = "", limit: Limit = 500) -> dict[str, Any]:
        return {"items": await orchestrator.all_states(after, limit)}

    @router.post("/pipeline-states:query")
    async def some_states(asked: BatchIds) -> dict[str, Any]:
        states, erased = await orchestrator.pipeline_states(asked.batch_ids)
        return {"items": states, "erased": erased}

    @router.get("/{batch_id}/detail")
    async def detail(batch_id: str, x_user_id: UserId) -> BatchDetail:
        return await orchestrator.detail(batch_id, x_user_id)

    @router.get("/{batch_id}/pipeline-state")
    async def state(batch_id: str) -> ProcessingPipelineState:
        return await orchestrator.pipeline_state(batch_id)

    @router.post("/{batch_id}/start:check")
    async def check_start(batch_id: str, asked: StartCheck, x_user_id: UserId) -> dict[str, str]:
        requested = await orchestrator.check_start(batch_id, x_user_id, asked.requested_pipeline)
        return {"requested_pipeline": requested}

    @router.post("/{batch_id}/cancel:check")
    async def check_cancel(batch_id: str, x_user_id: UserId) -> dict[str, str]:
        return {"run_id": await orchestrator.check_cancel(batch_id, x_user_id)}

    return router
