import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import delete, insert, update

from huleedu.aggregator import store
from huleedu.contracts.messages import TOPICS
from huleedu.contracts.phase import BatchPhaseInitiateCommandV1, PhaseWorkCompletedV1
from huleedu.platform.errors import Conflict, Problem
from huleedu.platform.log.store import outbox
from tests.service.school import COLLEAGUE, TEACHER, School
from tests.service.views import DECIDING, views


async def rebuild(school: School, page_size: int) -> int:
    told = await school.ask("aggregator", "POST", "/rebuild", params={"page_size": page_size}, retry=False, timeout=60)
    return int(told["batches"])


async def lived_in(school: School) -> list[str]:
    """Let batches of every kind come about."""
    batches = [await school.batch("one", "two", user_id=owner) for owner in [TEACHER] * 6 + [COLLEAGUE]]
    empty, failed, cancelled, removed, running = batches[:5]
    await school.start(failed)
    await school.finish(lambda request: request.phase == "spellcheck")
    run_id = await school.start(cancelled)
    await school.settle()
    await school.cancel(cancelled, run_id)
    await school.start(removed)
    await school.start(batches[-1], user_id=COLLEAGUE)
    await school.finish()
    for batch_id in (empty, removed):
        essay = (await school.essays(batch_id))[0]["essay_id"]
        await school.ask("files", "DELETE", f"/batches/{batch_id}/essays/{essay}")
    await school.hand_in(removed, "three")
    await school.start(running)
    await school.settle()
    await school.work(units=1)
    await school.settle()
    return batches


async def test_a_rebuild_gives_what_is_there_and_the_same_bytes_for_every_page_size(school: School) -> None:
    batches = await lived_in(school)
    before = await school.page.fresh()
    made = set()
    for page_size in (1, 7, 500):
        await school.db.write(lambda tx: tx.execute(delete(store.essay_phase_view)))
        assert await rebuild(school, page_size) == len(batches)
        made.add(await views(school.db))
    assert len(made) == 1
    assert unversioned(await school.page.fresh()) == unversioned(before)
    await school.finish()


def unversioned(shown: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {batch_id: {**known, "status": {**known["status"], "version": 0}} for batch_id, known in shown.items()}


async def test_a_page_takes_a_fresh_snapshot_after_a_rebuild(school: School) -> None:
    batch_id = await school.batch("one")
    await school.page.follow()
    old = str(school.page.cursor)
    await rebuild(school, 500)
    await school.page.follow()
    assert str(school.page.cursor).split(":") == [str(int(old.split(":", maxsplit=1)[0]) + 1), old.split(":")[1]]
    await school.start(batch_id)
    await school.finish()
    told = await school.ask("aggregator", "GET", f"/users/{TEACHER}/feed", params={"after": old})
    assert (told["resync"], told["items"]) == (True, [])


async def test_folds_and_reads_go_on_meanwhile(school: School) -> None:
    batches = await lived_in(school)
    erased = batches[3]

    async def again() -> None:
        await school.start(batches[1])
        await school.finish()

    async def add() -> None:
        await school.hand_in(batches[5], "three")
        await school.settle()

    async def remove() -> None:
        essay = (await school.essays(batches[5]))[0]["essay_id"]
        await school.ask("files", "DELETE", f"/batches/{batches[5]}/essays/{essay}")
        await school.settle()

    async def erase() -> None:
        await school.ask("orchestrator", "DELETE", f"/batches/{erased}")
        await school.settle()

    async def register() -> None:
        batches.append(await school.batch("one"))

    # Each of them befalls the very batch whose page was asked for.
    meanwhile: list[Callable[[], Awaitable[None]]] = [register, again, add, erase, school.finish, remove]

    async def at_every_page(path: str, told: Any) -> Any:  # noqa: ANN401 -- JSON
        """Let something happen after an owner has answered and before its answer is written."""
        if path.endswith("essays:query") and meanwhile:
            await meanwhile.pop(0)()
            await school.check_page()
        return told

    with school.altered("lifecycle", at_every_page):
        await rebuild(school, 1)
    assert not meanwhile
    await school.finish()
    found = await views(school.db, but=DECIDING)
    assert erased.encode() not in found
    shown = unversioned(await school.page.fresh())
    await rebuild(school, 500)
    assert unversioned(await school.page.fresh()) == shown
    assert set(shown) == {batch_id for batch_id in batches if batch_id not in {erased, batches[6]}}


async def test_a_batch_that_is_erased_after_it_was_asked_for_does_not_come_back(school: School) -> None:
    batch_id = await school.batch("one")

    async def erase(path: str, told: Any) -> Any:  # noqa: ANN401 -- JSON
        if path.endswith("pipeline-states") and told["items"]:
            await school.ask("files", "POST", "/essays:query", json={"batch_ids": [batch_id]})
            await school.ask("orchestrator", "DELETE", f"/batches/{batch_id}")
            await school.settle()
        return told

    with school.altered("orchestrator", erase):
        await rebuild(school, 500)
    assert await school.page.fresh() == {}
    assert await school.traces(batch_id) <= {
        "erasure",
        "erasure_report",
        "tombstone",
        "outbox",
        "feed",
        "garbage",
        "blobs",
    }


async def test_a_rebuild_that_fails_leaves_everything_as_it_was(school: School) -> None:
    await school.batch("one")
    await school.batch("two")
    before = await views(school.db)

    async def away(_path: str, told: Any) -> Any:  # noqa: ANN401 -- JSON
        return {"not": told}

    with school.altered("lifecycle", away), pytest.raises(Problem, match="aggregator answered 500"):
        await rebuild(school, 1)
    assert await views(school.db) == before
    await school.check_page()
    assert await rebuild(school, 1) == 2


async def test_two_rebuilds_at_once_leave_one_whole_view(school: School) -> None:
    batches = await lived_in(school)
    before = unversioned(await school.page.fresh())
    ended = await asyncio.gather(*(rebuild(school, size) for size in (1, 500, 2)), return_exceptions=True)
    assert all(isinstance(end, Conflict) or end == len(batches) for end in ended)
    assert len(batches) in ended
    assert unversioned(await school.page.fresh()) == before
    await school.finish()


async def test_what_is_parked_is_asked_of_every_service_again(school: School) -> None:
    batch_id = await school.batch("one")
    with school.faulty("lifecycle", BatchPhaseInitiateCommandV1):
        await school.start(batch_id)
        await school.settle()
    unreadable = {"topic": TOPICS[PhaseWorkCompletedV1], "key": batch_id, "envelope": "x"}
    await school.db.write(lambda tx: tx.execute(insert(outbox).values(at=tx.now, **unreadable)))
    await school.hear("lifecycle")
    before = (await school.status(batch_id))["attention"]
    assert before["parked"] == 1  # what nobody can read is for the operator only
    for damage in (delete(store.attention), update(store.attention).values(parked=9)):
        await school.db.write(lambda tx, damage=damage: tx.execute(damage))  # type: ignore[misc]
        await rebuild(school, 500)
        assert (await school.status(batch_id))["attention"] == before

    async def redriven(path: str, told: Any) -> Any:  # noqa: ANN401 -- JSON
        if path.endswith("dead-letters"):
            await school.redrive("lifecycle")
            await school.settle()
        return told

    with school.altered("phases", redriven):
        await rebuild(school, 500)
    assert (await school.status(batch_id))["attention"] is None
    await school.finish()
