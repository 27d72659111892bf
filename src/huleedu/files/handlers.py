"""What files does: take uploads in, keep the list, let go."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

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
    RefusalHint,
    StoredEssay,
    UploadItem,
)
from huleedu.files import model, store
from huleedu.files.extract import extract
from huleedu.files.unreadable import Unreadable, unreadable
from huleedu.platform.blobs import store as garbage
from huleedu.platform.context import current, new_id
from huleedu.platform.errors import Conflict, Gone, NotFound, describe
from huleedu.platform.log import store as log_store
from huleedu.platform.workers import WorkerDied, Workers, WorkerTimeout

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from starlette.datastructures import UploadFile

    from huleedu.contracts.envelope import Event
    from huleedu.contracts.phase import EssayRef
    from huleedu.platform.app import Platform
    from huleedu.platform.db import Tx

GROUP = "file-service"
EXTRACTION_SECONDS = 5.0
SPARE = 1
"""Workers beyond those that one teacher's files may hold: another's need not wait until a hostile file is given up."""
PATIENCE = timedelta(minutes=10)
"""No upload takes so long; blobs of one that has not ended by then are deleted."""
CLOSED = Unreadable(RefusalCode.INTAKE_CLOSED, "The batch is being assessed. Add the file when it is done.")
TWIN = (
    "The same text is in the batch already, as {name}. If it is another pupil's, check that the right file was chosen."
)
NOT_STORED = Unreadable(RefusalCode.NOT_STORED, "The file could not be stored at the moment. Upload it again.")
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Reading:
    """A file that was read. Its essay's id was minted when it came: essays are listed in the order they were sent."""

    file_name: str
    data: bytes
    text: str
    essay_id: str = field(default_factory=lambda: str(new_id()))


@dataclass(frozen=True, slots=True)
class Taken:
    """An essay whose blobs are there and whose row is not yet."""

    batch_id: str
    user_id: str
    essay_id: str
    file_name: str
    original_id: str
    text_storage_id: str
    fingerprint: str

    @property
    def prefix(self) -> str:
        """Where its blobs lie."""
        return f"{self.batch_id}/{self.essay_id}"


class Files:
    """Owns originals, texts and the list of a batch's essays."""

    def __init__(self, platform: Platform, workers: Workers) -> None:
        self._db, self._blobs, self._workers = platform.db, platform.blobs, workers
        # One more than can be read at once: no worker waits for a file, and few files are held in memory.
        self._places = asyncio.Semaphore(platform.settings.workers + SPARE + 1)
        # A file needs a turn of its teacher's to wait for a place: before her next one come all other teachers'.
        self._each = platform.settings.workers
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    # -- uploads

    async def upload(
        self, batch_id: str, user_id: str, files: Sequence[UploadFile], by: float | None = None
    ) -> list[UploadItem]:
        """Take the files in, each with an outcome of its own; nothing is answered before it is durable.

        A file whose turn has not come `by` then, on the clock of asyncio, is refused: she can send it again.
        """
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._take(batch_id, user_id, file, by)) for file in files]
        items = [item for task in tasks if (item := task.result())]
        if len(items) < len(files):
            raise NotFound("There is no such batch.")
        return items

    async def _take(self, batch_id: str, user_id: str, file: UploadFile, by: float | None) -> UploadItem | None:
        """Take one file in, or say why not; None if the batch has been erased."""
        name, essay_id = model.given_name(file.filename or ""), str(new_id())
        turns = self._turns.setdefault(user_id, asyncio.Semaphore(self._each))
        try:
            async with AsyncExitStack() as held:
                async with asyncio.timeout_at(by):
                    await held.enter_async_context(turns)
                    await held.enter_async_context(self._places)
                found = await self._read(file, name, essay_id)
                if isinstance(found, Unreadable):
                    return await self._db.write(lambda tx: self._refuse(tx, batch_id, name, found))
                return await self.store(batch_id, user_id, found)
        except Exception as error:  # noqa: BLE001 -- one file's trouble never spoils the answer about the others
            log.error("files.not_stored", cause=describe(error))  # noqa: TRY400 -- no word of the file
            return _refused(name, NOT_STORED)

    async def _read(self, file: UploadFile, name: str, essay_id: str) -> Reading | Unreadable:
        """Return a file's text and bytes, or why it is refused."""
        data = await file.read(MAX_FILE_BYTES + 1)
        if refused := model.judge_size(len(data)):
            return refused
        try:
            text = await self._workers.run(extract, data, name, timeout_s=EXTRACTION_SECONDS)
        except Unreadable as error:
            return error.with_traceback(None)  # which would hold on to the file until the next collection of garbage
        except (WorkerDied, WorkerTimeout, MemoryError):
            return unreadable(RefusalHint.TOO_COMPLEX)
        return model.judge_text(text) or Reading(name, data, text, essay_id)

    async def store(self, batch_id: str, user_id: str, reading: Reading) -> UploadItem | None:
        """Store what was read: its blobs, then its row. None if the batch has been erased."""
        prefix = f"{batch_id}/{reading.essay_id}"

        def expect(tx: Tx) -> bool:
            log_store.hold(tx, GROUP, [batch_id])
            if log_store.buried(tx, GROUP, [batch_id]):
                return False
            garbage.expect(tx, GROUP, prefix, user_id, tx.now + PATIENCE)
            return True

        if not await self._db.write(expect):
            return None
        original_id = await self._blobs.put(prefix, reading.data)
        text_id = await self._blobs.put(prefix, reading.text.encode())
        same = model.fingerprint(reading.text)
        taken = Taken(batch_id, user_id, reading.essay_id, reading.file_name, original_id, text_id, same)
        return await self._db.write(lambda tx: self._conclude(tx, taken))

    def _conclude(self, tx: Tx, taken: Taken) -> UploadItem | None:
        """Insert the essay, or discard it and say why."""
        log_store.hold(tx, GROUP, [taken.batch_id])
        if refused := self._objection(tx, taken):
            garbage.discard(tx, GROUP, taken.prefix, taken.user_id)
            return self._refuse(tx, taken.batch_id, taken.file_name, refused)
        stored = EssayContentProvisionedV1(
            batch_id=taken.batch_id, essay_id=taken.essay_id, text_storage_id=taken.text_storage_id
        )
        log_store.append(tx, [stored])
        return UploadItem(file_name=taken.file_name, status="stored", essay_id=taken.essay_id)

    def _objection(self, tx: Tx, taken: Taken) -> Unreadable | None:
        """Insert the row, or return why that cannot be: erased or swept meanwhile, closed, or there already."""
        if log_store.buried(tx, GROUP, [taken.batch_id]) or not garbage.keep(tx, GROUP, taken.prefix):
            return NOT_STORED
        if store.is_closed(tx, taken.batch_id):
            return CLOSED
        if not store.add_essay(tx, asdict(taken)):
            same = model.quoted(store.twin(tx, taken.batch_id, taken.fingerprint))
            return Unreadable(RefusalCode.DUPLICATE, TWIN.format(name=same))
        return None

    def _refuse(self, tx: Tx, batch_id: str, name: str, refused: Unreadable) -> UploadItem | None:
        """Say that a file is refused; None, and nothing is said, if the batch has been erased."""
        if log_store.buried(tx, GROUP, [batch_id]):
            return None
        # The sentence may name another file; what is told to everyone holds the code only.
        log_store.append(tx, [EssayValidationFailedV1(batch_id=batch_id, code=refused.code)])
        return _refused(name, refused)

    async def remove(self, batch_id: str, essay_id: str, user_id: str) -> None:
        """Take an essay out of a batch that is not being assessed."""

        def delete(tx: Tx) -> None:
            log_store.hold(tx, GROUP, [batch_id])
            if store.is_closed(tx, batch_id):
                raise Conflict("The batch is being assessed. Remove the essay when it is done.", code="INTAKE_CLOSED")
            if not store.remove_essay(tx, batch_id, essay_id, user_id):
                raise NotFound("There is no such essay in this batch.")
            garbage.discard(tx, GROUP, f"{batch_id}/{essay_id}", user_id)
            log_store.append(tx, [EssayRemovedV1(batch_id=batch_id, essay_id=essay_id)])

        await self._db.write(delete)

    # -- the list

    async def close_intake(self, batch_id: str, run_id: str) -> list[EssayRef]:
        """Freeze the list of essays for a run; asking again for the same run gives the same list."""

        def close(tx: Tx) -> list[EssayRef] | None:
            log_store.hold(tx, GROUP, [batch_id])
            erased = log_store.buried(tx, GROUP, [batch_id])
            return None if erased else store.close_intake(tx, batch_id, run_id)

        essays = await self._db.write(close)
        if essays is None:
            raise Gone("This run has ended.")
        return essays

    async def essays(self, batch_ids: Sequence[str]) -> list[StoredEssay]:
        """Return the essays of these batches."""
        return await self._db.read(lambda tx: store.essays(tx, batch_ids))

    def on_run_ended(self, tx: Tx, message: BatchPipelineCompletedV1 | BatchPipelineRejectedV1) -> Iterable[Event]:
        """Open the intake, if the run had closed it: one that came to nothing may not have."""
        store.end_run(tx, message.batch_id, message.run_id)
        return []

    # -- letting go

    def on_batch_erased(self, tx: Tx, message: BatchErasedV1) -> Iterable[Event]:
        """Delete the rows now, the blobs right after; that is reported when they are gone."""
        store.erase(tx, message.batch_id)
        garbage.discard(tx, GROUP, message.batch_id, current().user_id or "")
        return []


def gone(batch_id: str) -> BatchErasureReportedV1:
    """Return what is said when no blob of an erased batch is left, and none is on its way."""
    return BatchErasureReportedV1(batch_id=batch_id, service="files")


def _refused(name: str, refused: Unreadable) -> UploadItem:
    return UploadItem(file_name=name, status="refused", code=refused.code, hint=refused.hint, detail=refused.detail)
