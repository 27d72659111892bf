import asyncio
import io
import os
import threading
from dataclasses import dataclass, replace
from pathlib import Path

import anyio
import pytest
from starlette.datastructures import UploadFile
from typing_extensions import override

from huleedu.contracts.essay import EssayValidationFailedV1, RefusalCode, UploadItem
from huleedu.files.handlers import GROUP, NOT_STORED, PATIENCE, Files, Reading, gone
from huleedu.platform.blobs.files import FileBlobs
from huleedu.platform.blobs.store import discard_expected, remains
from huleedu.platform.blobs.sweep import Sweep
from huleedu.platform.context import bound
from huleedu.platform.errors import NotFound
from huleedu.platform.tasks import Tasks
from huleedu.platform.workers import Workers
from tests.service.school import TEACHER, School

READING = Reading("Anna Ek.txt", b"A place by the sea", "A place by the sea")


class Gated(FileBlobs):
    """What is put has landed, and whoever put it waits."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.landed, self.gate = asyncio.Event(), asyncio.Event()

    @override
    async def put(self, prefix: str, data: bytes) -> str:
        blob = await super().put(prefix, data)
        self.landed.set()
        await self.gate.wait()
        return blob


@dataclass
class Slow:
    """A school in which an upload is under way."""

    school: School
    batch_id: str
    blobs: Gated
    upload: "asyncio.Task[UploadItem | None]"


@pytest.fixture
async def slow(school: School) -> Slow:
    batch_id, blobs = await school.batch("one"), Gated(school.directory / "blobs")
    service = Files(replace(school.platform, blobs=blobs), Workers(count=1))
    upload = asyncio.ensure_future(service.store(batch_id, TEACHER, READING))
    await blobs.landed.wait()
    return Slow(school, batch_id, blobs, upload)


async def erase(school: School, batch_id: str) -> bool:
    """Ask for a batch to be erased; return whether everybody has reported that nothing of it is left."""
    for _ in range(2):
        await school.orchestrator.erase(batch_id, TEACHER)
        await school.settle()
        await school.sweep()
    return await school.orchestrator.erase(batch_id, TEACHER)


def files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def blobs(school: School) -> list[Path]:
    return files(school.directory / "blobs")


async def test_an_erasure_waits_for_an_upload_that_is_under_way(slow: Slow) -> None:
    assert not await erase(slow.school, slow.batch_id)
    slow.blobs.gate.set()
    assert await slow.upload is None
    assert await erase(slow.school, slow.batch_id)
    assert blobs(slow.school) == []


@pytest.mark.parametrize("server_dies", [False, True])
async def test_an_erasure_waits_out_an_upload_that_ends_in_the_middle(slow: Slow, *, server_dies: bool) -> None:
    slow.upload.cancel()
    assert not await erase(slow.school, slow.batch_id)
    if server_dies:
        await slow.school.db.write(lambda tx: discard_expected(tx, GROUP))  # as it does when it starts
    else:
        slow.school.clock.move(PATIENCE.total_seconds())
    assert await erase(slow.school, slow.batch_id)
    assert blobs(slow.school) == []


@pytest.mark.parametrize("swept", [False, True])
async def test_an_upload_that_slept_until_its_blobs_were_due_stores_nothing(slow: Slow, *, swept: bool) -> None:
    slow.school.clock.move(PATIENCE.total_seconds())
    if swept:
        await slow.school.sweep()
    slow.blobs.gate.set()
    assert await slow.upload == UploadItem(
        file_name=READING.file_name, status="refused", code=RefusalCode.NOT_STORED, detail=NOT_STORED.detail
    )
    await slow.school.sweep()
    assert len(blobs(slow.school)) == 1  # the essay that was there before


async def test_of_an_erased_batch_nothing_is_stored_and_nothing_said(school: School) -> None:
    batch_id = await school.batch("one")
    await erase(school, batch_id)
    with pytest.raises(NotFound):
        await school.files.upload(batch_id, TEACHER, [UploadFile(io.BytesIO(b""), filename="Bo Ek.txt")])
    assert await school.files.store(batch_id, TEACHER, READING) is None
    assert await school.said(EssayValidationFailedV1) == []
    assert not await school.db.read(lambda tx: remains(tx, GROUP, batch_id))


class Broken(FileBlobs):
    """Cannot delete one prefix, until it can."""

    broken = ""

    @override
    async def delete(self, prefix: str) -> None:
        if prefix == self.broken:
            raise PermissionError(prefix)
        await super().delete(prefix)


async def test_what_cannot_be_deleted_holds_up_nothing_else_and_is_tried_again(school: School) -> None:
    disk = Broken(school.directory / "blobs")
    disk.broken, other = [await school.batch(text) for text in ("one", "two")]
    sweep, tasks = Sweep(replace(school.platform, blobs=disk), GROUP, gone), Tasks(school.clock)
    for batch_id in (disk.broken, other):
        await school.ask("orchestrator", "DELETE", f"/batches/{batch_id}")
    await school.settle()
    tasks.start("sweep", sweep.sweep)
    with bound(service="files"):
        while await school.db.read(lambda tx: remains(tx, GROUP, other)):
            await school.db.write(lambda _tx: None)
        assert len(blobs(school)) == 1
        broken, disk.broken = disk.broken, ""
        tasks.start("remind", sweep.remind)
        while await school.db.read(lambda tx: remains(tx, GROUP, broken)):
            await school.db.write(lambda _tx: None)
    await tasks.aclose()
    assert blobs(school) == []


class Sent(UploadFile):
    """A file of an upload; how many are read at once is noted, and one of them cannot be read."""

    reading, most = 0, 0

    @override
    async def read(self, size: int = -1) -> bytes:
        Sent.reading += 1
        Sent.most = max(Sent.most, Sent.reading)
        await asyncio.sleep(0)
        Sent.reading -= 1
        if self.filename == "13":
            raise OSError(28, "No space left on device")
        return b""


async def test_few_files_are_held_at_once_and_ones_trouble_is_its_own(school: School) -> None:
    Sent.most = 0
    batch_id = await school.batch()
    sent = [Sent(io.BytesIO(), filename=str(number)) for number in range(20)]
    codes = [item.code for item in await school.files.upload(batch_id, TEACHER, sent)]
    assert codes.pop(13) == RefusalCode.NOT_STORED
    assert set(codes) == {RefusalCode.EMPTY_CONTENT}
    workers = school.platform.settings.workers
    assert Sent.most == workers
    await asyncio.gather(*(school.files.upload(batch_id, f"teacher-{number}", sent) for number in range(5)))
    assert workers < Sent.most <= workers + 2


async def open_later(gate: threading.Event) -> None:
    for _ in range(10):
        await asyncio.sleep(0)
    gate.set()


async def test_what_is_being_put_has_landed_when_a_scope_that_is_cancelled_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, gate, fsync = threading.Event(), threading.Event(), os.fsync

    def waiting(file: int) -> None:
        begun.set()
        gate.wait()
        fsync(file)

    monkeypatch.setattr(os, "fsync", waiting)
    async with anyio.create_task_group() as group:
        group.start_soon(FileBlobs(tmp_path).put, "b/e", b"x")
        await asyncio.to_thread(begun.wait)
        group.cancel_scope.cancel()
        opened = asyncio.ensure_future(open_later(gate))
    landed = [path for path in files(tmp_path) if not path.name.startswith(".")]
    await opened
    assert landed


async def test_deleting_a_prefix_twice_at_once_while_something_is_put_there_is_fine(tmp_path: Path) -> None:
    blobs = FileBlobs(tmp_path)
    for _ in range(20):
        await asyncio.gather(*(blobs.put(f"b/{number}", b"x") for number in range(20)))
        await asyncio.gather(*(blobs.delete("b") for _ in range(4)))
    put = [blobs.put(f"b/{number}", b"x") for number in range(200)]
    told = await asyncio.gather(blobs.delete("b"), *put, blobs.delete("b"), return_exceptions=True)
    assert {type(item) for item in told} <= {type(None), str, FileNotFoundError}
    await blobs.delete("b")
    assert not files(tmp_path)
