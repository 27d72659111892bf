"""What the gateway does for a verified teacher: ask the owners, and put commands on the log."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from anyio import to_thread

from huleedu.contracts.batch import (
    AggregatedBatchStatus,
    BatchClientStatus,
    BatchDraft,
    BatchPatch,
    BatchPipelineCancelRequestedV1,
    BatchRegistrationRequestV1,
    ClientBatchPipelineRequestV1,
    ProcessingPipelineState,
)
from huleedu.contracts.essay import (
    UPLOAD_SECONDS,
    EssayDetail,
    EssayResultIds,
    EssayView,
    RefusalCode,
    StoredEssay,
    UploadItem,
)
from huleedu.contracts.phase import PhaseName
from huleedu.gateway import exports, store
from huleedu.gateway.answers import Answers, Asked
from huleedu.platform.context import current, new_id
from huleedu.platform.errors import Conflict, NotFound
from huleedu.platform.log import store as log_store
from huleedu.platform.log.trim import trim
from huleedu.platform.readiness import Readiness

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from huleedu.contracts.phase import Language
    from huleedu.gateway.accounts import Teacher
    from huleedu.gateway.answers import Upload
    from huleedu.platform.app import Platform
    from huleedu.platform.db import Tx

BATCHES = "batches"
"""The route of new batches, whose answers are kept before there is a batch to keep them by."""
KEPT = timedelta(hours=24)
"""How long an answer is kept for a request that is sent again."""


class Gateway:
    """Asks and commands in a teacher's name."""

    def __init__(self, platform: Platform) -> None:
        self._db = platform.db
        self._blobs = platform.blobs
        self._clock = platform.clock
        self._answers = Answers(platform.db)
        self.ready = Readiness(platform)
        self._orchestrator = platform.peer("orchestrator")
        self._files = platform.peer("files")
        self._aggregator = platform.peer("aggregator")
        # A workbook is made in memory: one at a time, and few of its blobs are read at once.
        self._workbook, self._reading = asyncio.Semaphore(1), asyncio.Semaphore(8)

    # -- batches

    async def create_batch(self, teacher: Teacher, draft: BatchDraft, key: str | None) -> dict[str, Any]:
        """Register a batch. Under an idempotency key, the same request again means the same batch."""
        batch_id = str(new_id())
        answer = {"batch_id": batch_id, "status": BatchClientStatus.PENDING_CONTENT.value}
        asked = Asked(teacher.user_id, BATCHES, key)
        answer = await self._answers.once(asked, draft.model_dump_json(), lambda _tx, _id: answer)
        registration = BatchRegistrationRequestV1(
            batch_id=answer["batch_id"], teacher_name=teacher.name, user_id=teacher.user_id, **draft.model_dump()
        )
        await self._orchestrator.ask("POST", "/internal/v1/batches", json=registration.model_dump(mode="json"))
        return answer

    async def batches(
        self, teacher: Teacher, status: BatchClientStatus | None, cursor: str | None, limit: int
    ) -> dict[str, Any]:
        """Return a page of the teacher's batches, newest first."""
        params = {"status": status and status.value, "cursor": cursor, "limit": limit}
        asked = {name: value for name, value in params.items() if value is not None}
        answer: dict[str, Any] = await self._aggregator.ask(
            "GET", f"/internal/v1/users/{teacher.user_id}/batches", params=asked
        )
        return answer

    async def batch(self, batch_id: str) -> Any:  # noqa: ANN401 -- JSON
        """Return what the teacher entered of a batch; the orchestrator is told by the bound context who asks."""
        return await self._orchestrator.ask("GET", f"/internal/v1/batches/{batch_id}/detail")

    async def status(self, teacher: Teacher, batch_id: str) -> AggregatedBatchStatus:
        """Return one of the teacher's batches."""
        told = await self._aggregator.ask("GET", f"/internal/v1/batches/{batch_id}/status")
        if told["user_id"] != teacher.user_id:
            raise NotFound("There is no such batch.")
        return AggregatedBatchStatus.model_validate(told)

    async def amend(self, teacher: Teacher, batch_id: str, patch: BatchPatch) -> AggregatedBatchStatus:
        """Change title, task or language until the first start."""
        changes = patch.model_dump(mode="json", exclude_unset=True)
        await self._orchestrator.ask("PATCH", f"/internal/v1/batches/{batch_id}", json=changes)
        return await self.status(teacher, batch_id)

    async def erase(self, teacher: Teacher, batch_id: str) -> bool:
        """Erase a batch; return whether it is gone everywhere."""

        def forget(tx: Tx) -> None:
            store.erase_answers(tx, teacher.user_id, batch_id)
            store.use_up(tx, teacher.user_id, BATCHES, batch_id)

        with suppress(NotFound):  # it is asked again whether all is gone
            if (await self._owned(teacher, batch_id)).status is not BatchClientStatus.PROCESSING:
                await self._db.write(forget)  # before: who dies in between has kept nothing
        told = await self._orchestrator.ask("DELETE", f"/internal/v1/batches/{batch_id}")
        await self._db.write(forget)  # and after, what was answered meanwhile
        return bool(told["erased"])

    # -- essays

    async def upload(self, teacher: Teacher, batch_id: str, upload: Upload, key: str | None) -> Any:  # noqa: ANN401 -- JSON
        """Hand an upload on to files, as it streams in. Under a key, the same again gets the same answer."""
        asked = Asked(teacher.user_id, f"{batch_id}/essays", key)
        if known := await self._answers.of_upload(asked, upload):
            return known
        state = await self._owned(teacher, batch_id)
        if state.status is BatchClientStatus.PROCESSING:
            raise Conflict("The batch is being assessed. Add files when it is done, or cancel it.", code="PROCESSING")
        since = await self._answers.begin(asked) if key else None
        told = await self._files.ask(
            "POST",
            f"/internal/v1/batches/{batch_id}/essays",
            retry=False,
            content=upload,
            headers={"content-type": upload.content_type},
            timeout=UPLOAD_SECONDS,
        )
        if since is None:
            return told
        return await self._answers.end(asked, upload, {"items": await self._recognized(batch_id, told["items"], since)})

    async def _recognized(self, batch_id: str, items: list[dict[str, Any]], since: datetime) -> list[dict[str, Any]]:
        """Say that a file is stored which another attempt of the same upload has stored, and which is refused now."""
        twins = [item for item in items if item.get("code") == RefusalCode.DUPLICATE]
        if not twins:
            return items
        told = await self._files.ask("POST", "/internal/v1/essays:query", json={"batch_ids": [batch_id]})
        essays = [StoredEssay.model_validate(item) for item in told["items"]]
        ours = {item["essay_id"] for item in items}
        for essay in (essay for essay in essays if essay.created_at >= since and essay.essay_id not in ours):
            for twin in (twin for twin in twins if twin["file_name"] == essay.file_name and not twin["essay_id"]):
                stored = UploadItem(file_name=essay.file_name, status="stored", essay_id=essay.essay_id)
                twin.update(stored.model_dump(mode="json"))
                break
        return items

    async def remove_essay(self, teacher: Teacher, batch_id: str, essay_id: str) -> None:
        """Take an essay out."""
        await self._owned(teacher, batch_id)
        await self._files.ask("DELETE", f"/internal/v1/batches/{batch_id}/essays/{essay_id}", retry=False)
        await self._db.write(lambda tx: store.erase_answers(tx, teacher.user_id, batch_id, essay_id))

    async def essays(self, teacher: Teacher, batch_id: str) -> dict[str, Any]:
        """Return the batch's essays, with the version and the feed position that this is valid at."""
        told = await self._essays(teacher, batch_id)
        return {**told, "items": [EssayView.model_validate(item) for item in told["items"]]}

    async def essay(self, teacher: Teacher, batch_id: str, essay_id: str) -> EssayDetail:
        """Return one essay with its text and results."""
        found = await self._essays(teacher, batch_id, f"/{essay_id}")
        with suppress(KeyError):  # its blobs go before its view does
            return await self._detail(EssayResultIds.model_validate(found))
        raise NotFound("There is no such essay in this batch.")

    async def _essays(self, teacher: Teacher, batch_id: str, which: str = "") -> Any:  # noqa: ANN401 -- JSON
        path = f"/internal/v1/users/{teacher.user_id}/batches/{batch_id}/essays{which}"
        return await self._aggregator.ask("GET", path)

    async def _detail(self, essay: EssayResultIds) -> EssayDetail:
        text = (await self._blobs.get(essay.text_storage_id)).decode()
        results = {phase: json.loads(await self._blobs.get(blob_id)) for phase, blob_id in essay.result_ids.items()}
        corrected = results.get(PhaseName.SPELLCHECK, {}).get("corrected_text")
        whole = {"text": text, "corrected_text": corrected, "results": results}
        return EssayDetail.model_validate(essay.model_dump() | whole)

    # -- results

    async def as_csv(self, teacher: Teacher, batch_id: str, language: Language) -> tuple[str | None, bytes]:
        """Return the batch's title, and the measures of its essays."""
        title = (await self.status(teacher, batch_id)).title
        listed = (await self.essays(teacher, batch_id))["items"]
        return title, await to_thread.run_sync(exports.results_csv, listed, language)

    async def as_xlsx(self, teacher: Teacher, batch_id: str, language: Language) -> tuple[str | None, bytes]:
        """Return the batch's title, and a workbook with the measures of its essays and all their corrections."""
        title = (await self.status(teacher, batch_id)).title
        listed = (await self._essays(teacher, batch_id))["items"]
        async with self._workbook:
            found = await asyncio.gather(*(self._checked(EssayResultIds.model_validate(item)) for item in listed))
            checked = [essay for essay in found if essay]
            return title, await to_thread.run_sync(exports.results_xlsx, checked, language)

    async def _checked(self, essay: EssayResultIds) -> tuple[EssayView, bytes] | None:
        """Return an essay with what its spell check found; None if its blobs are gone, as its view will be."""
        blob_id = essay.result_ids.get(PhaseName.SPELLCHECK)
        async with self._reading:
            with suppress(KeyError):
                return essay, await self._blobs.get(blob_id) if blob_id else b""
        return None

    # -- pipelines

    async def start(self, teacher: Teacher, batch_id: str, requested: str | None, key: str | None) -> dict[str, Any]:
        """Command a pipeline to be run; without one, the last one again. The run's id is the command's event id."""
        asked, body = Asked(teacher.user_id, f"{batch_id}/pipelines", key), json.dumps(requested)
        if known := await self._answers.known(asked, body):
            return known
        wanted = {"requested_pipeline": requested}
        checked = await self._orchestrator.ask("POST", f"/internal/v1/batches/{batch_id}/start:check", json=wanted)

        def command(tx: Tx, run_id: UUID) -> dict[str, Any]:
            correlation_id = current().correlation_id or run_id
            message = ClientBatchPipelineRequestV1(
                batch_id=batch_id,
                requested_pipeline=checked["requested_pipeline"],
                client_correlation_id=correlation_id,
                user_id=teacher.user_id,
                is_retry=requested is None,
            )
            log_store.append(tx, [message], event_id=run_id)
            answer = {"batch_id": batch_id, "run_id": str(run_id), "status": "accepted"}
            return answer | {"correlation_id": str(correlation_id)}

        return await self._answers.once(asked, body, command)

    async def cancel(self, teacher: Teacher, batch_id: str, run_id: str | None, key: str | None) -> dict[str, Any]:
        """Command a run to be stopped: the one given, which may still be on its way, or the one under way."""
        asked, body = Asked(teacher.user_id, f"{batch_id}/cancel", key), json.dumps(run_id)
        if known := await self._answers.known(asked, body):
            return known
        if run_id is None:
            told = await self._orchestrator.ask("POST", f"/internal/v1/batches/{batch_id}/cancel:check")
            run_id = str(told["run_id"])
        else:
            await self._owned(teacher, batch_id)
        message = BatchPipelineCancelRequestedV1(batch_id=batch_id, run_id=run_id, user_id=teacher.user_id)
        answer = {"batch_id": batch_id, "run_id": run_id, "status": "accepted"}
        answer |= {"correlation_id": str(current().correlation_id)}

        def command(tx: Tx, _minted: UUID) -> dict[str, Any]:
            log_store.append(tx, [message])
            return answer

        return await self._answers.once(asked, body, command)

    # -- shared

    async def forget(self) -> None:
        """Delete answers that are older than anybody's retry."""
        await trim(self._db, self._clock, store.forget_answers, KEPT)

    async def _owned(self, teacher: Teacher, batch_id: str) -> ProcessingPipelineState:
        told = await self._orchestrator.ask("GET", f"/internal/v1/batches/{batch_id}/pipeline-state")
        if told["user_id"] != teacher.user_id:
            raise NotFound("There is no such batch.")
        return ProcessingPipelineState.model_validate(told)
