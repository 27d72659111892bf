"""The lifecycle's internal routes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter

from huleedu.contracts.batch import BatchIds

if TYPE_CHECKING:
    from huleedu.lifecycle.handlers import Lifecycle


def routes(lifecycle: Lifecycle) -> APIRouter:
    """Return the route that a rebuild of the views asks."""
    router = APIRouter(prefix="/internal/v1")

    @router.post("/essays:query")
    async def essays(asked: BatchIds) -> dict[str, Any]:
        return {"items": await lifecycle.essays(asked.batch_ids)}

    return router
