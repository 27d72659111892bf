import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from huleedu.contracts.messages import TOPICS
from huleedu.contracts.phase import (
    BatchPhaseCancelCommandV1,
    EssayOutcome,
    EssayRef,
    Language,
    PhaseContext,
    PhaseName,
    PhaseWorkCompletedV1,
    PhaseWorkRequestedV1,
)
from huleedu.phases import store
from huleedu.phases.work import LEASE, PATIENCE, WATCH_SECONDS, WorkQueue
from huleedu.platform.blobs.store import due
from huleedu.platform.context import new_id
from huleedu.platform.log.store import topic_channel
from huleedu.platform.tasks import Tasks
from huleedu.platform.workers import Workers
from tests.given import ManualClock
from tests.service.school import School, school_at

BATCH = "11111111-1111-1111-1111-111111111111"


class Office:
    """The work queue over real worker processes, in which a quirky phase runs."""

    def __init__(self, school: School, clock: ManualClock, preload: str = "tests.service.quirky:install") -> None:
        self.school, self.db, self.clock = school, school.db, clock
        self.workers = Workers(count=2, preload=preload)
        self.queue = WorkQueue(school.platform, self.workers)
        self.tasks = Tasks(clock)
        self.journal = school.directory / "journal"
        self.journal.touch()

    def open(self) -> None:
        for _ in range(2):
            self.tasks.start("serve", self.queue.serve)
        self.tasks.start("stop", self.queue.stop_cancelled)

    async def request(self, text: str, run_id: str = "run", **changes: Any) -> PhaseWorkRequestedV1:  # noqa: ANN401
        """Ask for an essay to be assessed."""
        essay_id = text.split(maxsplit=1)[0]
        stored = await self.school.platform.blobs.put(f"{BATCH}/{essay_id}", text.encode())
        request = PhaseWorkRequestedV1(
            batch_id=BATCH,
            work_id=str(new_id()),
            run_id=run_id,
            phase=PhaseName.SPELLCHECK,
            essays=(EssayRef(essay_id=essay_id, text_storage_id=stored),),
            context=PhaseContext(language=Language.EN, essay_instructions=str(self.journal)),
        ).model_copy(update=changes)
        await self.school.say(request)
        await self.school.hear("phases")
        return request

    async def done(self, count: int) -> dict[str, tuple[EssayOutcome, int]]:
        """Wait until so many results have been said; return each essay's latest, with its attempt."""
        with self.db.watch([topic_channel(TOPICS[PhaseWorkCompletedV1])]) as watch:
            while len(said := await self.school.said(PhaseWorkCompletedV1)) < count:
                await watch.take()
        return {item.essays[0].essay_id: (item.essays[0], item.attempt) for item in said}

    async def until(self, true: Callable[[], Awaitable[bool]]) -> None:
        while not await true():
            await self.db.write(lambda _tx: None)

    def runs(self) -> list[str]:
        return self.journal.read_text().split("\n")[:-1]


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    clock = ManualClock()
    async with school_at(tmp_path, clock) as school:
        office = Office(school, clock)
        await office.workers.start()
        yield office
        await office.tasks.aclose()
        await office.workers.aclose()


async def waiting(office: Office) -> list[tuple[str, int]]:
    """Return the state and attempt of all that is on the queue."""
    rows = await office.db.read(lambda tx: tx.all(select(store.work.c.state, store.work.c.attempt)))
    return [tuple(row) for row in rows]


async def test_what_happens_to_one_essay_happens_to_no_other(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = office.workers.run

    def run(*call: Any, timeout_s: float) -> Awaitable[Any]:  # noqa: ANN401 -- of any function
        return real(*call, timeout_s=1 if "hang" in call else timeout_s)

    monkeypatch.setattr(office.workers, "run", run)
    for text in ("good", "fail", "die", "hang", "exhaust", f"die-once {tmp_path}/died", "well"):
        await office.request(text)
    office.open()
    results = await office.done(7)
    assert {name: (outcome.outcome, outcome.code, attempt) for name, (outcome, attempt) in results.items()} == {
        "good": ("completed", None, 1),
        "well": ("completed", None, 1),
        "fail": ("failed", "PHASE_FAILED", 1),
        "die": ("failed", "PHASE_CRASHED", 3),
        "hang": ("failed", "PHASE_TIMEOUT", 3),
        "exhaust": ("failed", "PHASE_CRASHED", 3),
        "die-once": ("completed", None, 2),
    }
    assert all(outcome.detail for outcome, _ in results.values() if outcome.code)
    assert office.runs().count("die") == 3
    assert await waiting(office) == []


async def test_what_was_done_is_answered_at_once_and_what_failed_is_done_again(office: Office) -> None:
    office.open()
    for count, run_id in enumerate(("first", "second"), 1):
        await office.request("good", run_id)
        await office.request("fail", run_id)
        await office.done(2 * count)
    assert sorted(office.runs()) == ["fail", "fail", "good"]
    said = [item for item in await office.school.said(PhaseWorkCompletedV1) if item.essays[0].result_id]
    assert said[0].essays == said[1].essays
    assert said[0].engine == said[1].engine
    assert said[1].essays[0].metrics == {"length": 4.0}


async def test_another_text_context_input_or_engine_is_another_result(office: Office) -> None:
    office.open()
    context = PhaseContext(language=Language.EN, essay_instructions=str(office.journal))
    names = context.model_copy(update={"known_words": ("Tuva",)})
    first = await office.request("good")
    result_id = str((await office.done(1))["good"][0].result_id)
    given = {"good": {PhaseName.SPELLCHECK: result_id}}
    differing: list[dict[str, Any]] = [
        {"context": names},
        {"phase": PhaseName.NLP},
        {"phase": PhaseName.NLP, "inputs": given},
    ]
    for count, changes in enumerate([*differing, *differing, {}], 2):
        await office.request("good", **changes)
        await office.done(count)
        assert len(office.runs()) == min(count, 4)
    last = (await office.school.said(PhaseWorkCompletedV1))[3].essays[0].result_id
    content = json.loads(await office.school.platform.blobs.get(str(last)))
    assert content["given"] == {"spellcheck": {"length": 4.0}}
    await office.workers.aclose()
    await office.tasks.aclose()
    newer = Office(office.school, office.clock, "tests.service.quirky:install_newer")
    await newer.workers.start()
    newer.open()
    await newer.request("good", context=first.context)
    await newer.done(9)
    await newer.tasks.aclose()
    await newer.workers.aclose()
    assert len(office.runs()) == 5


async def test_a_server_that_dies_uses_no_attempt(office: Office) -> None:
    await office.request("good")
    until = office.clock.now() + timedelta(minutes=2)
    await office.db.write(lambda tx: store.claim(tx, "teacher-1", BATCH, "of the dead server", until))
    assert await waiting(office) == [("running", 1)]
    prepare = office.school.services["phases"].prepare
    assert prepare
    await office.db.write(prepare)
    assert await waiting(office) == [("queued", 0)]
    office.open()
    assert (await office.done(1))["good"][1] == 1


async def test_a_server_that_stops_gives_back_what_it_has_and_takes_nothing_more(office: Office) -> None:
    for text in ("hang", "good"):
        await office.request(text)
    office.tasks.start("serve", office.queue.serve)
    await office.until(lambda: _running(office))
    office.queue.stop()
    await office.tasks.aclose()
    assert await waiting(office) == [("queued", 0), ("queued", 0)]
    assert await office.queue._claim() is None
    assert not await office.school.said(PhaseWorkCompletedV1)
    assert await office.db.read(lambda tx: due(tx, store.GROUP)), "what it may have put is swept"


async def _running(office: Office) -> bool:
    return bool(office.runs())


async def test_a_lease_that_runs_out_returns_to_the_queue(office: Office) -> None:
    await office.request("good")
    until = office.clock.now() + timedelta(seconds=WATCH_SECONDS / 2)
    await office.db.write(lambda tx: store.claim(tx, "teacher-1", BATCH, "lost", until))
    assert await office.db.write(lambda tx: store.return_leases(tx, expired_only=True)) == 0
    office.clock.move(WATCH_SECONDS)
    assert await office.db.write(lambda tx: store.return_leases(tx, expired_only=True)) == 1
    office.open()
    await office.done(1)


async def test_work_that_takes_longer_than_a_lease_keeps_it(office: Office, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    await office.request(f"wait {tmp_path}/fifo")
    office.open()
    await office.until(lambda: _written(office))
    office.tasks.start("watch", office.queue.watch)
    for _ in range(2 * int(LEASE.total_seconds() / WATCH_SECONDS)):
        await office.until(lambda: _sleeping(office))
        office.clock.move(WATCH_SECONDS)
    await office.until(lambda: _sleeping(office))
    await office.school.sweep()
    assert await waiting(office) == [("running", 1)]
    await asyncio.to_thread((tmp_path / "fifo").read_text)
    result_id = str((await office.done(1))["wait"][0].result_id)
    await office.school.sweep()
    assert await office.school.platform.blobs.get(result_id)
    assert len(office.runs()) == 1


async def test_a_lease_that_has_run_out_is_not_renewed(office: Office) -> None:
    await office.request("good")
    work = await office.db.write(lambda tx: store.claim(tx, "teacher-1", BATCH, "mine", tx.now))
    assert work
    await office.db.write(lambda tx: store.renew(tx, [work], tx.now + LEASE))
    assert await office.db.write(lambda tx: store.return_leases(tx, expired_only=True)) == 0
    office.clock.move(1)
    assert await office.db.write(lambda tx: store.return_leases(tx, expired_only=True)) == 1


async def test_who_has_lost_the_lease_says_nothing_and_takes_nothing_away(office: Office, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    await office.request(f"wait {tmp_path}/fifo")
    office.open()
    await office.until(lambda: _written(office))
    await office.db.write(lambda tx: tx.execute(update(store.work).values(lease="another's")))
    await asyncio.to_thread((tmp_path / "fifo").read_text)
    await office.until(lambda: _idle(office))
    assert await waiting(office) == [("running", 1)]
    assert not await office.school.said(PhaseWorkCompletedV1)
    assert await office.db.read(lambda tx: tx.all(select(store.phase_result))) == []
    await office.db.write(lambda tx: store.return_leases(tx, expired_only=False))
    await asyncio.to_thread((tmp_path / "fifo").read_text)
    assert (await office.done(1))["wait"][0].result_id


async def test_a_cancel_stops_what_is_running_and_what_comes_later(office: Office, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    await office.request(f"wait {tmp_path}/fifo")
    office.open()
    await office.until(lambda: _written(office))
    await office.school.say(BatchPhaseCancelCommandV1(batch_id=BATCH, run_id="run"))
    await office.school.hear("phases")
    await office.until(lambda: _idle(office))
    await office.request("late")
    assert await waiting(office) == []
    await office.request("good", "another run")
    await office.done(1)
    assert office.runs() == [f"wait {tmp_path}/fifo", "good"]


async def _written(office: Office) -> bool:
    return bool(office.runs())


async def _idle(office: Office) -> bool:
    return not office.queue._running


async def test_what_has_waited_past_its_time_fails_with_the_reason(office: Office) -> None:
    await office.request("good")
    office.clock.move(PATIENCE.total_seconds() + 1)
    office.tasks.start("watch", office.queue.watch)
    await office.until(lambda: _sleeping(office))
    office.clock.move(WATCH_SECONDS)
    outcome, _ = (await office.done(1))["good"]
    assert (outcome.outcome, outcome.code) == ("failed", "DEADLINE")
    assert await waiting(office) == []


async def test_of_what_has_waited_past_its_time_some_fail_and_then_some_more(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "OVERDUE", 2)
    for number in range(5):
        await office.request(f"essay{number}")
    office.clock.move(PATIENCE.total_seconds() + 1)
    office.tasks.start("watch", office.queue.watch)
    for failed in (2, 4, 5):
        await office.until(lambda: _sleeping(office))
        office.clock.move(WATCH_SECONDS)
        await office.done(failed)
        assert len(await waiting(office)) == 5 - failed


async def test_what_waited_while_the_machine_was_asleep_has_its_whole_time_again(office: Office) -> None:
    await office.request("good")
    office.tasks.start("watch", office.queue.watch)
    await office.until(lambda: _sleeping(office))
    office.clock.move(PATIENCE.total_seconds() + 1)
    await office.until(lambda: _sleeping(office))
    assert await waiting(office) == [("queued", 0)]
    assert await office.school.stalled() == []
    office.open()
    await office.done(1)


async def _sleeping(office: Office) -> bool:
    return bool(office.clock._sleepers)


async def test_the_watchdog_would_find_work_that_nothing_keeps_alive(office: Office) -> None:
    request = await office.request("good")
    assert await office.school.stalled() == []
    office.clock.move(PATIENCE.total_seconds() + 600)
    assert await office.school.stalled() == [request.work_id]
    office.clock.move(-PATIENCE.total_seconds() - 600)
    await office.db.write(lambda tx: store.claim(tx, "teacher-1", BATCH, "mine", tx.now))
    office.clock.move(600)
    assert await office.school.stalled() == [request.work_id]
    office.open()
    await office.db.write(lambda tx: store.return_leases(tx, expired_only=True))
    await office.done(1)


async def test_the_same_request_is_queued_once(office: Office) -> None:
    request = await office.request("good")
    await office.school.say(request)
    await office.school.hear("phases")
    assert await waiting(office) == [("queued", 0)]
    office.open()
    await office.done(1)
