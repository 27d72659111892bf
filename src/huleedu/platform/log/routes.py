"""Dead letters over internal HTTP, the same for every service: see them, and ask for a redrive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from sqlalchemy import func

from huleedu.platform.log import parking

if TYPE_CHECKING:
    from huleedu.platform.app import Platform
    from huleedu.platform.service import Service


_letter = parking.dead_letter.c
SHOWN = (
    _letter.id,
    _letter.grp.label("group"),
    _letter.topic,
    _letter.key,
    _letter.event_id,
    _letter.cause,
    _letter.attempts,
    _letter.traceparent,
    _letter.told,
    _letter.at,
    func.length(_letter.value).label("bytes"),
)
"""What is told of a dead letter: never what it holds."""


def dead_letter_routes(platform: Platform, service: Service) -> APIRouter:
    """Return the routes for one service's dead letters."""
    router = APIRouter(prefix="/internal/v1/dead-letters")

    @router.get("")
    async def show() -> dict[str, Any]:
        rows = await platform.db.read(lambda tx: parking.letters(tx, service.group, *SHOWN))
        return {"service": service.name, "items": [row._asdict() for row in rows]}

    @router.post("")
    async def redrive(key: str | None = None) -> dict[str, int]:
        return {"requested": await platform.db.write(lambda tx: parking.request_redrive(tx, service.group, key))}

    return router
