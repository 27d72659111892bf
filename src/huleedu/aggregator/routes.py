"""The aggregator's internal routes: queries, feeds, rebuild."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Body, Query

from huleedu.contracts.batch import AggregatedBatchStatus, BatchClientStatus
from huleedu.contracts.essay import EssayResultIds
from huleedu.contracts.notice import FEEDS, FeedPage, FeedPlace

if TYPE_CHECKING:
    from huleedu.aggregator.handlers import Aggregator
    from huleedu.aggregator.rebuild import Rebuild

PageSize = Annotated[int, Query(ge=1, le=1000)]


def routes(aggregator: Aggregator, rebuild: Rebuild) -> APIRouter:
    """Return the routes of views and feeds."""
    router = APIRouter(prefix="/internal/v1")

    @router.get("/batches/{batch_id}/status")
    async def status(batch_id: str) -> AggregatedBatchStatus:
        return await aggregator.status(batch_id)

    @router.get("/users/{user_id}/batches")
    async def batches(
        user_id: str, status: BatchClientStatus | None = None, cursor: str | None = None, limit: PageSize = 50
    ) -> dict[str, Any]:
        return await aggregator.batches(user_id, status, cursor, limit)

    @router.get("/users/{user_id}/batches/{batch_id}/essays")
    async def essays(user_id: str, batch_id: str) -> dict[str, Any]:
        return await aggregator.essays(batch_id, user_id)

    @router.get("/users/{user_id}/batches/{batch_id}/essays/{essay_id}")
    async def essay(user_id: str, batch_id: str, essay_id: str) -> EssayResultIds:
        return await aggregator.essay(batch_id, user_id, essay_id)

    @router.get("/users/{user_id}/feed")
    async def feed(user_id: str, after: str | None = None) -> FeedPage:
        (page,) = await aggregator.feeds([FeedPlace(user_id=user_id, after=after)])
        return page

    @router.post("/feeds:query")
    async def feeds(places: Annotated[list[FeedPlace], Body(max_length=FEEDS)]) -> list[FeedPage]:
        return await aggregator.feeds(places)

    @router.post("/rebuild")
    async def rebuild_views(page_size: PageSize = 500) -> dict[str, int]:
        return {"batches": await rebuild.run(page_size)}

    return router
