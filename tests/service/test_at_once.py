"""What several processes decide at once is decided once: each here is a database with many writers."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from limits.aio.storage import MemoryStorage
from sqlalchemy import select

from huleedu.aggregator import feed
from huleedu.contracts.essay import UploadItem
from huleedu.contracts.notice import FeedEvent, FeedItem
from huleedu.contracts.phase import EssayRef, Language, PhaseContext, PhaseName, PhaseWorkRequestedV1
from huleedu.files.handlers import Files, Reading
from huleedu.gateway import store as accounts
from huleedu.gateway.accounts import Accounts, Kind
from huleedu.gateway.rates import Rates
from huleedu.phases import store as phases
from huleedu.platform.app import Platform, running
from huleedu.platform.db import ReadTx, Tx
from huleedu.platform.db.postgres import PostgresDb
from huleedu.platform.errors import Unauthenticated
from huleedu.platform.service import Service
from huleedu.platform.workers import Workers
from tests.given import DATABASES

TEACHER = "teacher-1"


@pytest.fixture
async def several(platform: Platform, tmp_path: Path) -> AsyncIterator[Platform]:
    """A platform whose transactions really run at once, where its database can do that."""
    url = await DATABASES.url(tmp_path)
    if not url:
        yield platform
        return
    db = PostgresDb(url, platform.clock)
    await db.start()
    yield replace(platform, db=db)
    await db.close()


def enqueue(tx: Tx, count: int) -> None:
    for number in range(count):
        request = PhaseWorkRequestedV1(
            batch_id="batch",
            work_id=f"work-{number}",
            run_id="run",
            phase=PhaseName.SPELLCHECK,
            essays=(EssayRef(essay_id=f"essay-{number}", text_storage_id="text"),),
            context=PhaseContext(language=Language.EN),
            inputs={},
        )
        asked = {"user_id": TEACHER, "correlation_id": "c", "traceparent": None}
        phases.enqueue(tx, request, asked, tx.now + timedelta(hours=1))


async def test_each_unit_of_work_is_claimed_by_one_and_put_back_behind_all_others(several: Platform) -> None:
    await several.db.write(lambda tx: enqueue(tx, 20))

    async def take(lease: str) -> phases.Work:
        until = several.clock.now() + timedelta(minutes=1)
        while True:
            if work := await several.db.write(lambda tx: phases.claim(tx, TEACHER, "batch", lease, until)):
                return work

    taken = await asyncio.gather(*(take(f"lease-{number}") for number in range(20)))
    assert {work.request.work_id for work in taken} == {f"work-{number}" for number in range(20)}
    await asyncio.gather(*(several.db.write(partial(phases.put_back, failed=work, used=True)) for work in taken))
    await several.db.write(lambda tx: enqueue(tx, 25))  # of which twenty are there
    again = await asyncio.gather(*(take(f"again-{number}") for number in range(25)))
    assert sorted(work.attempt for work in again) == [1] * 5 + [2] * 20


async def test_who_starts_takes_back_nothing_while_others_may_be_at_work(several: Platform) -> None:
    await several.db.write(lambda tx: enqueue(tx, 1))
    await several.db.write(lambda tx: phases.claim(tx, TEACHER, "batch", "lease", tx.now + timedelta(minutes=1)))
    starting = Service(name="phases", group=phases.GROUP, prepare=partial(phases.return_leases, expired_only=False))
    async with running(several, [starting]):
        held = await several.db.read(lambda tx: phases.held(tx, ["lease"]))
    assert held == ({"lease"} if DATABASES.server else set())


async def test_a_one_time_link_lets_one_in(several: Platform) -> None:
    desk = Accounts(several.db, several.backplane, Rates(MemoryStorage()))
    await desk.add("anna@school.se", "Anna")
    for _ in range(5):
        link = await desk.issue("anna@school.se", Kind.LINK)
        told = await asyncio.gather(*(desk.sign_in_by_link(link, "", "") for _ in range(8)), return_exceptions=True)
        assert [type(answer) for answer in told if not isinstance(answer, str)] == [Unauthenticated] * 7


async def test_nothing_lets_in_whoever_is_shut_off_meanwhile(several: Platform) -> None:
    desk = Accounts(several.db, several.backplane, Rates(MemoryStorage()))
    await desk.add("anna@school.se", "Anna")
    for _ in range(5):
        await desk.disable("anna@school.se", undo=True)
        links = [await desk.issue("anna@school.se", Kind.LINK) for _ in range(4)]
        await asyncio.gather(
            *(desk.sign_in_by_link(link, "", "") for link in links),
            desk.disable("anna@school.se", undo=False),
            *(desk.issue("anna@school.se", Kind.TOKEN) for _ in range(4)),
            return_exceptions=True,
        )
        assert await several.db.read(lambda tx: tx.all(select(accounts.credential))) == []


async def test_an_essay_is_on_the_frozen_list_or_refused(several: Platform) -> None:
    files = Files(several, Workers(count=1))
    for number in range(5):
        batch_id = f"batch-{number}"

        async def store(text: str, batch_id: str = batch_id) -> UploadItem | None:
            return await files.store(batch_id, TEACHER, Reading(f"{text}.txt", text.encode(), text))

        *items, frozen = await asyncio.gather(
            *(store(f"{batch_id} essay {essay}") for essay in range(6)), files.close_intake(batch_id, "run")
        )
        stored = {item.essay_id for item in items if isinstance(item, UploadItem) and item.status == "stored"}
        assert isinstance(frozen, list)
        assert {essay.essay_id for essay in frozen} == stored


async def test_feeds_are_trimmed_by_several_and_no_page_has_a_hole(several: Platform) -> None:
    teachers, old, new = ["anna", "bo"], 40, 3

    def tell(tx: Tx, count: int) -> None:
        first = feed.take_seqs(tx, dict.fromkeys(teachers, count))
        told = FeedItem(
            event=FeedEvent.BATCH_DELETED, seq=0, epoch="1", batch_id="batch", version=1, at=tx.now, data={}
        )
        entries = [
            (teacher, told.model_copy(update={"seq": first[teacher] + place}))
            for teacher in teachers
            for place in range(count)
        ]
        feed.add(tx, entries)

    await several.db.write(partial(tell, count=old))
    await several.clock.sleep(60)
    before = several.clock.now()
    await several.db.write(partial(tell, count=new))

    def pages(tx: ReadTx) -> list[int]:
        """Check that each feed is whole from where it was trimmed; return where that is."""
        kept = feed.kept(tx, teachers)
        entries = feed.entries(tx, 1, [(teacher, 0) for teacher in teachers], old + new)
        for teacher in teachers:
            assert [item.seq for item in entries[teacher]] == list(kept[teacher])[1:]
        return [kept[teacher][0] for teacher in teachers]

    async def trim(limit: int) -> None:
        for teacher in await several.db.read(partial(feed.begun_before, moment=before)):
            while await several.db.write(partial(feed.trim, user_id=teacher, before=before, limit=limit)):
                await several.db.read(pages)

    await asyncio.gather(*(trim(limit) for limit in (1, 2, 3, 5, 7)))
    assert await several.db.read(pages) == [old, old]
