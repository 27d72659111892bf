"""Essays: upload, list, look at, remove."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response

from huleedu.contracts.essay import EssayDetail, EssayView, UploadOutcome
from huleedu.gateway.answers import Upload
from huleedu.gateway.routes.common import Asking, IdempotencyKey, Page, problems
from huleedu.gateway.routes.tags import Shown, unchanged

if TYPE_CHECKING:
    from huleedu.gateway.handlers import Gateway

UPLOAD = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "properties": {"files": {"type": "array", "items": {"type": "string", "format": "binary"}}},
                }
            }
        },
    }
}


def routes(gateway: Gateway) -> APIRouter:
    """Return the routes of essays."""
    router = APIRouter(prefix="/v1/batches/{batch_id}/essays", tags=["essays"])

    @router.post(
        "",
        status_code=201,
        responses=problems(404, 409, 413, 422),
        openapi_extra=UPLOAD,
        response_model=UploadOutcome,
    )
    async def upload_essays(
        teacher: Asking, batch_id: str, request: Request, idempotency_key: IdempotencyKey = None
    ) -> Any:  # noqa: ANN401 -- as it came
        upload = Upload(request.headers.get("content-type", ""), request.stream())
        return await gateway.upload(teacher, batch_id, upload, idempotency_key)

    @router.get("", responses=problems(404), response_model=Page[EssayView])
    async def list_essays(teacher: Asking, batch_id: str, response: Response, shown: Shown = None) -> Any:  # noqa: ANN401 -- filtered to the response model
        found = await gateway.essays(teacher, batch_id)
        return unchanged(response, found["live_cursor"], found["version"], shown) or found

    @router.get("/{essay_id}", responses=problems(404))
    async def get_essay(teacher: Asking, batch_id: str, essay_id: str) -> EssayDetail:
        return await gateway.essay(teacher, batch_id, essay_id)

    @router.delete("/{essay_id}", status_code=204, responses=problems(404, 409))
    async def remove_essay(teacher: Asking, batch_id: str, essay_id: str) -> Response:
        await gateway.remove_essay(teacher, batch_id, essay_id)
        return Response(status_code=204)

    return router
