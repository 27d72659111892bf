"""What files does: take uploads in, keep the list, let go."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from huleedu.contracts.batch import (
    BatchErasedV1,
    BatchErasureReportedV1,
    BatchPipelineCompletedV1,
    BatchPipelineRejectedV1,
)
from huleedu.contracts.essay import (
    MAX_FILE_BYTES,
    EssayContentProvisionedV1,
    EssayRemovedV1,
    EssayValidationFailedV1,
    RefusalCode,
    StoredEssay,
    UploadItem,
)
from huleedu.files import model, store
from huleedu.files.extract import extract
from huleedu.files.unreadable import Unreadable
from huleedu.platform.context import bound, current, new_id
from huleedu.platform.errors import Conflict, Gone, NotFound
from huleedu.platform.log import store as log_store
from huleedu.platform.workers import WorkerDied, Workers, WorkerTimeout

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from starlette.datastructures import UploadFile

    from huleedu.contracts.envelope import Event
    from huleedu.contracts.phase import EssayRef
    from huleedu.platform.blobs import Blobs
    from huleedu.platform.db import Db, Tx

GROUP = "file-service"
EXTRACTION_SECONDS = 5.0
TOO_HARD = "The text could not be read within the time or memory allowed. Save it as .docx or .txt and upload that."
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Taken:
    """A file that was read: its text with the ids of both blobs."""

    essay_id: str
    file_name: str
    original_id: str
    text_storage_id: str
    fingerprint: str


class Files:
    """Owns originals, texts and the list of a batch's essays."""

    def __init__(self, db: Db, blobs: Blobs, workers: Workers) -> None:
        self._db = db
        self._blobs = blobs
        self._workers = workers

    # -- uploads

    async def upload(self, batch_id: str, user_id: str, files: Sequence[UploadFile]) -> list[UploadItem]:
        """Take the files in, each with an outcome of its own; nothing is answered before it is durable."""
        return await asyncio.gather(*(self._take(batch_id, user_id, file) for file in files))

    async def _take(self, batch_id: str, user_id: str, file: UploadFile) -> UploadItem:
        name = file.filename or "unnamed"
        try:
            essay_id = str(new_id())
            text, data = await self._read(file, name)
            prefix = f"{batch_id}/{essay_id}"
            original_id, text_id = await self._blobs.put(prefix, data), await self._blobs.put(prefix, text.encode())
            taken = Taken(essay_id, name, original_id, text_id, model.fingerprint(text))
            item = await self._db.write(lambda tx: self._store(tx, batch_id, user_id, taken))
        except Unreadable as error:
            refused = error
            item = await self._db.write(lambda tx: self._refuse(tx, batch_id, name, refused))
        if item is None:
            raise NotFound("There is no such batch.")
        return item

    async def _read(self, file: UploadFile, name: str) -> tuple[str, bytes]:
        """Return text and bytes of a file, or raise Unreadable with the reason."""
        data = await file.read(MAX_FILE_BYTES + 1)
        if refused := model.judge_size(len(data)):
            raise Unreadable(*refused)
        try:
            text = await self._workers.run(extract, data, name, timeout_s=EXTRACTION_SECONDS)
        except (WorkerDied, WorkerTimeout, MemoryError) as error:
            raise Unreadable(RefusalCode.TEXT_EXTRACTION_FAILED, TOO_HARD) from error
        if refused := model.judge_text(text):
            raise Unreadable(*refused)
        return text, data

    def _store(self, tx: Tx, batch_id: str, user_id: str, taken: Taken) -> UploadItem | None:
        """Insert the essay, unless the intake has closed or the text is there already. None: the batch is erased."""
        if log_store.buried(tx, GROUP, [batch_id]):
            store.discard(tx, f"{batch_id}/{taken.essay_id}", batch_id, user_id)
            return None
        row = {name: getattr(taken, name) for name in Taken.__slots__}
        if store.is_closed(tx, batch_id):
            refused = Unreadable(
                RefusalCode.INTAKE_CLOSED, "The batch is being assessed. Add the file when it is done."
            )
        elif not store.add_essay(tx, {"batch_id": batch_id, "user_id": user_id, **row}):
            same = store.twin(tx, batch_id, taken.fingerprint)
            refused = Unreadable(RefusalCode.DUPLICATE, f"The same text is in the batch already, as '{same}'.")
        else:
            stored = EssayContentProvisionedV1(
                batch_id=batch_id, essay_id=taken.essay_id, text_storage_id=taken.text_storage_id
            )
            log_store.append(tx, [stored])
            return UploadItem(file_name=taken.file_name, status="stored", essay_id=taken.essay_id)
        store.discard(tx, f"{batch_id}/{taken.essay_id}", batch_id, user_id)
        return self._refuse(tx, batch_id, taken.file_name, refused)

    def _refuse(self, tx: Tx, batch_id: str, name: str, refused: Unreadable) -> UploadItem | None:
        if log_store.buried(tx, GROUP, [batch_id]):
            return None
        upload_id = str(new_id())
        store.add_refusal(
            tx, {"upload_id": upload_id, "batch_id": batch_id, "file_name": name, "code": refused.code.value}
        )
        # The sentence may name another file; what is told to everyone holds the code only.
        told = EssayValidationFailedV1(
            batch_id=batch_id, upload_id=upload_id, code=refused.code, detail=refused.code.value
        )
        log_store.append(tx, [told])
        return UploadItem(file_name=name, status="refused", code=refused.code, detail=refused.detail)

    async def remove(self, batch_id: str, essay_id: str, user_id: str) -> None:
        """Take an essay out of a batch that is not being assessed."""

        def delete(tx: Tx) -> None:
            if store.is_closed(tx, batch_id):
                raise Conflict("The batch is being assessed. Remove the essay when it is done.", code="INTAKE_CLOSED")
            if not store.remove_essay(tx, batch_id, essay_id, user_id):
                raise NotFound("There is no such essay in this batch.")
            log_store.append(tx, [EssayRemovedV1(batch_id=batch_id, essay_id=essay_id)])

        await self._db.write(delete)

    # -- the list

    async def close_intake(self, batch_id: str, run_id: str) -> list[EssayRef]:
        """Freeze the list of essays for a run; asking again for the same run gives the same list."""

        def close(tx: Tx) -> list[EssayRef] | None:
            erased = log_store.buried(tx, GROUP, [batch_id])
            return None if erased else store.close_intake(tx, batch_id, run_id)

        essays = await self._db.write(close)
        if essays is None:
            raise Gone("This run has ended.")
        return essays

    async def essays(self, batch_ids: Sequence[str]) -> list[StoredEssay]:
        """Return the essays of these batches."""
        return await self._db.read(lambda tx: store.essays(tx, batch_ids))

    def on_pipeline_completed(self, tx: Tx, message: BatchPipelineCompletedV1) -> Iterable[Event]:
        """Open the intake that the run had closed."""
        store.end_run(tx, message.batch_id, message.run_id)
        return []

    def on_pipeline_rejected(self, tx: Tx, message: BatchPipelineRejectedV1) -> Iterable[Event]:
        """Open the intake, if the run that came to nothing had closed it."""
        store.end_run(tx, message.batch_id, message.run_id)
        return []

    # -- letting go

    def on_batch_erased(self, tx: Tx, message: BatchErasedV1) -> Iterable[Event]:
        """Delete the rows now, the blobs right after; that is reported when they are gone."""
        store.erase(tx, message.batch_id, current().user_id or "")
        return []

    async def sweep(self) -> None:
        """Delete blobs that nothing refers to any more, as soon as there are any."""
        with self._db.watch([store.GARBAGE_CHANNEL]) as watch:
            while True:
                await watch.take()
                for row in await self._db.read(store.discarded):
                    await self._blobs.delete(row.prefix)
                    with bound(user_id=row.user_id, batch_id=row.batch_id):
                        await self._db.write(lambda tx, row=row: self._swept(tx, row.prefix, row.batch_id))  # type: ignore[misc]

    def _swept(self, tx: Tx, prefix: str, batch_id: str) -> None:
        store.forget_discarded(tx, prefix)
        if prefix == batch_id:
            log_store.append(tx, [BatchErasureReportedV1(batch_id=batch_id, service="files")])
