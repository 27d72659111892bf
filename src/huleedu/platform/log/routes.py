"""Dead letters over internal HTTP, the same for every service: see them, and ask for a redrive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter

from huleedu.platform.log import parking

if TYPE_CHECKING:
    from huleedu.platform.app import Platform
    from huleedu.platform.service import Service


def dead_letter_routes(platform: Platform, service: Service) -> APIRouter:
    """Return the routes for one service's dead letters."""
    router = APIRouter(prefix="/internal/v1/dead-letters")

    @router.get("")
    async def show() -> dict[str, list[dict[str, Any]]]:
        rows = await platform.db.read(lambda tx: parking.letters(tx, service.group))
        return {
            "items": [
                {
                    "id": row.id,
                    "group": row.grp,
                    "topic": row.topic,
                    "key": row.key,
                    "event_id": row.event_id,
                    "cause": row.cause,
                    "attempts": row.attempts,
                    "traceparent": row.traceparent,
                    "at": row.at,
                    "bytes": len(row.value),
                }
                for row in rows
            ]
        }

    @router.post("")
    async def redrive(key: str | None = None) -> dict[str, int]:
        return {"requested": await platform.db.write(lambda tx: parking.request_redrive(tx, service.group, key))}

    return router
