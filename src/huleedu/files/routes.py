"""The internal routes of files."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartParser

from huleedu.contracts.batch import BatchIds
from huleedu.contracts.essay import MAX_UPLOAD_FILES, UPLOAD_SECONDS, UploadOutcome
from huleedu.platform.errors import TooLarge, Unprocessable
from huleedu.platform.http import UserId

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from huleedu.files.handlers import Files

MultiPartParser.spool_max_size = 2**17  # bytes of each file that are held in memory; of a small essay, all
READING_SECONDS = UPLOAD_SECONDS - 30
"""So that what is being read and stored when they are over is done before whoever waits for the answer gives up."""
NO_FORM = "This is no upload of files: send a multipart form whose parts have file names of less than 4,000 bytes."


class Run(BaseModel):
    """Which run wants the list."""

    run_id: str


def routes(files: Files) -> APIRouter:
    """Return the routes of uploads and lists."""
    router = APIRouter(prefix="/internal/v1")

    @router.post("/batches/{batch_id}/essays", status_code=201)
    async def upload(batch_id: str, request: Request, x_user_id: UserId) -> UploadOutcome:
        by = asyncio.get_running_loop().time() + READING_SECONDS
        async with _sent(request) as sent:
            return UploadOutcome(items=tuple(await files.upload(batch_id, x_user_id, sent, by)))

    @router.delete("/batches/{batch_id}/essays/{essay_id}")
    async def remove(batch_id: str, essay_id: str, x_user_id: UserId) -> Response:
        await files.remove(batch_id, essay_id, x_user_id)
        return Response(status_code=204)

    @router.post("/batches/{batch_id}/intake:close")
    async def close(batch_id: str, run: Run) -> dict[str, Any]:
        return {"essays": await files.close_intake(batch_id, run.run_id)}

    @router.post("/essays:query")
    async def essays(asked: BatchIds) -> dict[str, Any]:
        return {"items": await files.essays(asked.batch_ids)}

    return router


@asynccontextmanager
async def _sent(request: Request) -> AsyncIterator[list[UploadFile]]:
    """The files of an upload, for as long as they are needed."""
    try:
        form = await request.form(max_files=MAX_UPLOAD_FILES, max_fields=10)
    except (HTTPException, UnicodeError) as error:  # the latter if the form claims to be in an odd encoding
        if "Too many files" in str(error):
            told = f"At most {MAX_UPLOAD_FILES} files fit in one upload; send the rest in another."
            raise TooLarge(told) from error
        raise Unprocessable(NO_FORM, code="INVALID_REQUEST") from error
    try:
        parts = form.getlist("files")
        if not parts:
            raise Unprocessable("No file came with the request: send parts named 'files'.", code="NO_FILES")
        files = [part for part in parts if isinstance(part, UploadFile)]
        if len(files) < len(parts):
            raise Unprocessable(NO_FORM, code="INVALID_REQUEST")
        yield files
    finally:
        await form.close()
