"""Results: a class's, as a file for a spreadsheet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Header, Query, Response

from huleedu.contracts.phase import Language
from huleedu.gateway import exports
from huleedu.gateway.routes.common import Asking, problems

if TYPE_CHECKING:
    from huleedu.gateway.handlers import Gateway

CSV = "text/csv"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


def _reading(
    language: Annotated[Language | None, Query(description="If not given, the one that the client accepts.")] = None,
    accept_language: Annotated[str, Header()] = "",
) -> Language:
    return language or exports.preferred(accept_language)


Reading = Annotated[Language, Depends(_reading)]


def routes(gateway: Gateway) -> APIRouter:
    """Return the routes of exports."""
    router = APIRouter(prefix="/v1/batches/{batch_id}", tags=["results"])

    @router.get("/results.csv", responses=problems(404) | _file(CSV), response_class=Response)
    async def get_csv(teacher: Asking, batch_id: str, language: Reading) -> Response:
        title, content = await gateway.as_csv(teacher, batch_id, language)
        return Response(content, media_type=CSV, headers={"Content-Disposition": exports.attachment(title, "csv")})

    @router.get("/results.xlsx", responses=problems(404) | _file(XLSX), response_class=Response)
    async def get_xlsx(teacher: Asking, batch_id: str, language: Reading) -> Response:
        title, content = await gateway.as_xlsx(teacher, batch_id, language)
        return Response(content, media_type=XLSX, headers={"Content-Disposition": exports.attachment(title, "xlsx")})

    return router


def _file(media_type: str) -> dict[int | str, dict[str, object]]:
    return {200: {"content": {media_type: {"schema": {"type": "string", "format": "binary"}}}}}
