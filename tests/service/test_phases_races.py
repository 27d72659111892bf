import asyncio
import errno
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from huleedu.contracts.batch import BatchErasureReportedV1
from huleedu.contracts.phase import BatchPhaseCancelCommandV1, PhaseWorkCompletedV1
from huleedu.phases import store
from huleedu.phases.work import LEASE, PAUSE_SECONDS, WorkQueue
from huleedu.platform import workers as workers_module
from huleedu.platform.blobs.files import FileBlobs
from huleedu.platform.blobs.store import due
from huleedu.platform.db import Tx
from huleedu.platform.workers import WorkerDied, Workers
from tests.given import ManualClock
from tests.service.school import TEACHER, school_at
from tests.service.test_phases import BATCH, Office, waiting

CANCEL = BatchPhaseCancelCommandV1(batch_id=BATCH, run_id="run")


class Troubled(FileBlobs):
    """Is full for some essays, and slow with results when it is told to be."""

    full_for = ""
    slow = False

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.begun, self.gate = threading.Event(), threading.Event()

    @override
    def _put(self, name: str, data: bytes) -> None:
        if self.full_for and f"/{self.full_for}/" in name and data.startswith(b"{"):
            raise OSError(errno.ENOSPC, "No space left on device")
        if self.slow:
            self.begun.set()
            self.gate.wait()
        super()._put(name, data)


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    clock = ManualClock()
    async with AsyncExitStack() as stack:
        school = await stack.enter_async_context(school_at(tmp_path, clock))
        office = Office(school, clock)
        await office.workers.start()
        stack.push_async_callback(office.workers.aclose)
        stack.push_async_callback(office.tasks.aclose)
        blobs = Troubled(tmp_path / "blobs")
        stack.callback(blobs.gate.set)
        office.queue = WorkQueue(replace(school.platform, blobs=blobs), office.workers)
        yield office


def disk(office: Office) -> Troubled:
    blobs = office.queue._blobs
    assert isinstance(blobs, Troubled)
    return blobs


async def claimed(office: Office) -> store.Work:
    work = await office.queue._claim()
    assert work is not None
    return work


async def test_an_erasure_waits_for_what_a_stopped_worker_is_still_putting(office: Office) -> None:
    school = office.school
    registration = {"batch_id": BATCH, "teacher_name": "Anna", "essay_instructions": "", "user_id": TEACHER}
    await school.ask("orchestrator", "POST", "/batches", json=registration)
    await office.request("good")
    disk(office).slow = True
    office.open()
    await asyncio.to_thread(disk(office).begun.wait)
    await school.say(CANCEL)
    await school.hear("phases")
    await school.orchestrator.erase(BATCH, TEACHER)
    await school.hear("phases")
    await school.sweep()
    assert await school.said(BatchErasureReportedV1) == []
    disk(office).gate.set()
    await office.until(lambda: _idle(office))
    await office.until(lambda: _discarded(office))
    await school.sweep()
    assert [said.service for said in await school.said(BatchErasureReportedV1)] == ["phases"]
    assert not [path for path in (school.directory / "blobs" / BATCH).rglob("*") if path.is_file()]


async def _idle(office: Office) -> bool:
    return not office.queue._running


async def _discarded(office: Office) -> bool:
    return bool(await office.db.read(lambda tx: due(tx, store.GROUP)))


async def test_a_fault_that_passes_is_waited_out_behind_the_others_and_uses_no_attempt(office: Office) -> None:
    disk(office).full_for = "bad"
    await office.request("bad")
    await office.request("good")
    office.tasks.start("serve", office.queue.serve)
    await office.until(lambda: _resting(office))
    office.clock.move(PAUSE_SECONDS)
    assert set(await office.done(1)) == {"good"}
    await office.until(lambda: _resting(office))
    disk(office).full_for = ""
    office.clock.move(PAUSE_SECONDS)
    outcome, attempt = (await office.done(2))["bad"]
    assert (outcome.code, attempt) == (None, 1)
    office.clock.move(3600)
    await office.school.sweep()
    assert await disk(office).get(str(outcome.result_id))


async def _resting(office: Office) -> bool:
    return bool(office.clock._sleepers)


async def test_what_the_child_raised_is_the_phases_own_also_if_it_looks_like_passing(office: Office) -> None:
    await office.request("wait /nowhere/fifo")  # FileNotFoundError
    office.open()
    outcome, attempt = (await office.done(1))["wait"]
    assert (outcome.code, attempt) == ("PHASE_FAILED", 1)


async def test_a_claim_that_a_cancel_forestalls_takes_what_else_waits(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    await office.request("first")
    await office.request("second", "another", batch_id="2" * 8)
    read = office.db.read

    async def overtaken(body: Callable[[Any], Any]) -> object:
        found = await read(body)
        if body is store.queued:
            await office.db.write(lambda tx: store.drop_run(tx, BATCH, "run"))
        return found

    monkeypatch.setattr(office.db, "read", overtaken)
    assert (await claimed(office)).request.run_id == "another"


async def test_a_cancel_between_claim_and_start_is_heeded(office: Office) -> None:
    await office.request("good")
    work = await claimed(office)
    await office.school.say(CANCEL)
    await office.school.hear("phases")
    assert not await office.queue._attempt(work)
    assert office.runs() == []


async def test_a_cancel_that_comes_with_the_end_takes_no_result_away(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    await office.request("good")
    work, write = await claimed(office), office.db.write

    async def overtaken(body: Callable[[Tx], Any]) -> object:
        told = await write(body)
        office.queue._running[work.lease][1].cancel()
        await asyncio.sleep(0)
        return told

    monkeypatch.setattr(office.db, "write", overtaken)
    assert await office.queue._attempt(work)


async def test_who_is_done_after_the_lease_says_nothing_and_its_result_goes(office: Office) -> None:
    await office.request("good")
    work = await claimed(office)
    office.clock.move(LEASE.total_seconds())
    await office.school.sweep()
    assert not await office.queue._attempt(work)
    await office.db.write(lambda tx: store.let_go(tx, work))
    await office.school.sweep()
    assert not await office.school.said(PhaseWorkCompletedV1)
    with pytest.raises(FileNotFoundError):
        list((office.school.directory / "blobs" / work.prefixes["good"]).iterdir())


async def test_a_nursery_that_hangs_while_it_loads_is_told_and_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hung.py").write_text(
        "import pathlib, signal\n"
        f"once = pathlib.Path({str(tmp_path / 'once')!r})\n"
        "def load():\n    if not once.exists():\n        once.touch()\n        signal.pause()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    workers = Workers(count=2, preload="hung:load")
    await workers.start()
    with monkeypatch.context() as short:
        short.setattr(workers_module, "LOAD_S", 0.5)
        told = await asyncio.gather(
            *(workers.run(divmod, 7, 2, timeout_s=50) for _ in range(2)), return_exceptions=True
        )
    assert {type(item) for item in told} == {WorkerDied}
    (tmp_path / "once").touch()
    assert await workers.run(divmod, 7, 2, timeout_s=50) == (3, 1)
    await workers.aclose()


class Heavy:
    """Counts how often it is packed for the way to a child."""

    packed = 0

    @override
    def __reduce__(self) -> tuple[type[int], tuple[()]]:
        Heavy.packed += 1
        return int, ()


async def test_a_call_is_packed_when_a_child_is_free() -> None:
    Heavy.packed = 0
    workers = Workers(count=1)
    await workers.start()
    async with workers._slots:
        call = asyncio.ensure_future(workers.run(str, Heavy(), timeout_s=50))
        await asyncio.sleep(0)
        assert Heavy.packed == 0
    assert await call == "0"
    await workers.aclose()


async def test_what_a_server_claims_in_the_moment_in_which_it_stops_is_given_back(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    await office.request("good")
    write, claimed, gate = office.db.write, asyncio.Event(), asyncio.Event()

    async def slow(body: Callable[[Tx], Any]) -> Any:  # noqa: ANN401 -- as the body
        result = await write(body)
        claimed.set()
        await gate.wait()
        return result

    monkeypatch.setattr(office.db, "write", slow)
    serving = asyncio.create_task(office.queue.serve())
    await claimed.wait()
    assert await waiting(office) == [("running", 1)]
    serving.cancel()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert await waiting(office) == [("queued", 0)]
