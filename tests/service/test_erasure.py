import pytest
from sqlalchemy import select

from huleedu.aggregator import feed
from huleedu.contracts.batch import (
    BatchClientStatus,
    BatchErasedV1,
    BatchErasureReportedV1,
    BatchPipelineCancelRequestedV1,
    BatchStateChangedV1,
)
from huleedu.contracts.essay import EssayContentProvisionedV1, EssayPhaseChangedV1, EssayRemovedV1, EssayStatus
from huleedu.contracts.messages import ERASERS
from huleedu.contracts.notice import RecordParkedV1
from huleedu.contracts.phase import (
    BatchPhaseCancelCommandV1,
    BatchPhaseInitiateCommandV1,
    PhaseName,
    PhaseWorkRequestedV1,
)
from huleedu.platform.errors import Conflict, Gone, NotFound
from tests.service.school import COLLEAGUE, TEACHER, School, completed

TOMBSTONES = {"erasure", "erasure_report", "tombstone", "feed"}
"""What stays: that there was such a batch, and whose it was; the feed's last word on it."""
LOG = {"outbox"}
"""Which holds ids and figures, no name and no text, of what is said late, until it is trimmed."""


async def erase(school: School, batch_id: str, user_id: str = TEACHER) -> bool:
    told = await school.ask("orchestrator", "DELETE", f"/batches/{batch_id}", user_id=user_id)
    return bool(told["erased"])


async def finished(school: School) -> tuple[str, list[str]]:
    """Return a batch of which every service holds something, and its essays."""
    batch_id = await school.batch("one", "two")
    essays = [essay["essay_id"] for essay in await school.essays(batch_id)]
    await school.start(batch_id)
    await school.finish(lambda request: request.essays[0].essay_id == essays[0])
    cancelled = await school.start(batch_id)
    await school.settle()
    await school.cancel(batch_id, cancelled)
    await school.settle()
    await school.say(*(completed(request) for request in (await school.said(PhaseWorkRequestedV1))[-2:]))
    await school.cancel(batch_id, "a run that never came")
    await school.settle()
    return batch_id, essays


async def test_an_erased_batch_leaves_no_row_and_no_blob(school: School) -> None:
    batch_id, essays = await finished(school)
    other = await school.batch("one", "two")
    assert {"batch", "essay", "essay_phase", "late_result", "batch_status_view", "blobs"} <= await school.traces(
        batch_id
    )
    assert not await erase(school, batch_id)
    await school.settle()
    await school.sweep()
    await school.settle()
    assert await school.traces(batch_id) == TOMBSTONES
    assert await school.traces(*essays) == set()
    assert await school.db.read(
        lambda tx: tx.scalars(select(feed.feed.c.event).where(feed.feed.c.batch_id == batch_id))
    ) == ["batch_deleted"]
    assert len(await school.essays(other)) == 2
    assert "blobs" in await school.traces(other)


async def test_it_is_said_to_be_gone_when_every_service_has_said_so(school: School) -> None:
    batch_id = await school.batch("one")
    assert not await erase(school, batch_id)
    for name in ERASERS:
        await school.hear("orchestrator")
        assert not await erase(school, batch_id)
        await school.hear(name)
        await school.repeat([BatchErasedV1, BatchErasureReportedV1])
        await school.sweep()
    assert not await erase(school, batch_id)
    await school.settle()
    assert await erase(school, batch_id)


async def test_only_the_owner_erases_and_only_what_is_at_rest(school: School) -> None:
    batch_id = await school.batch("one")
    with pytest.raises(NotFound):
        await erase(school, batch_id, COLLEAGUE)
    await school.start(batch_id)
    await school.settle()
    with pytest.raises(Conflict, match="Cancel it first"):
        await erase(school, batch_id)
    await school.finish()
    assert not await erase(school, batch_id)
    with pytest.raises(NotFound):
        await erase(school, batch_id, COLLEAGUE)


async def test_nothing_is_heard_of_an_erased_batch_any_more(school: School) -> None:
    batch_id, (essay_id, _) = await finished(school)
    (command, *_), (request, *_) = (
        (await school.said(BatchPhaseInitiateCommandV1)),
        (await school.said(PhaseWorkRequestedV1)),
    )
    await erase(school, batch_id)
    await school.settle()
    await school.sweep()
    await school.settle()
    late = EssayPhaseChangedV1(
        batch_id=batch_id, essay_id=essay_id, phase=PhaseName.NLP, run_id="r", version=99, status=EssayStatus.COMPLETED
    )
    await school.say(
        command.model_copy(update={"run_id": "late"}),
        request.model_copy(update={"work_id": "late"}),
        completed(request),
        late,
        EssayContentProvisionedV1(batch_id=batch_id, essay_id=essay_id, text_storage_id="t"),
        EssayRemovedV1(batch_id=batch_id, essay_id=essay_id),
        BatchPhaseCancelCommandV1(batch_id=batch_id, run_id="late"),
        BatchPipelineCancelRequestedV1(batch_id=batch_id, run_id="late", user_id=TEACHER),
        BatchStateChangedV1(batch_id=batch_id, version=9, status=BatchClientStatus.READY, reason=""),
        RecordParkedV1(batch_id=batch_id, group="g", topic="t", cause="c", parked=1),
    )
    await school.start(batch_id)
    await school.settle()
    assert await school.hand_in(batch_id, "late") is None
    registration = {"batch_id": batch_id, "teacher_name": "A", "essay_instructions": "", "user_id": TEACHER}
    with pytest.raises(Gone):
        await school.ask("orchestrator", "POST", "/batches", json=registration)
    await school.sweep()
    await school.settle()
    assert await school.traces(batch_id) <= TOMBSTONES | LOG
    with pytest.raises(NotFound):
        await school.status(batch_id)


async def test_what_is_parked_of_it_goes_too(school: School) -> None:
    batch_id = await school.batch("one")
    for name, kind in (("orchestrator", EssayRemovedV1), ("phases", EssayRemovedV1), ("aggregator", EssayRemovedV1)):
        with school.faulty(name, kind):
            await school.say(EssayRemovedV1(batch_id=batch_id, essay_id="no essay"))
            await school.hear(name)
    assert "dead_letter" in await school.traces(batch_id)
    await school.settle()
    await erase(school, batch_id)
    await school.settle()
    await school.sweep()
    await school.settle()
    assert await school.traces(batch_id) == TOMBSTONES
    assert await erase(school, batch_id)


async def test_uploads_that_nobody_has_heard_of_go_with_it(school: School) -> None:
    batch_id = await school.batch("one")
    essay_id = await school.hand_in(batch_id, "two")
    await erase(school, batch_id)
    await school.hear("files")
    await school.sweep()
    await school.settle()
    await school.sweep()
    await school.settle()
    assert await school.traces(batch_id) == TOMBSTONES
    assert await school.traces(str(essay_id)) == set()
