from typing import Any

import pytest
from sqlalchemy import select, update

from huleedu.contracts.batch import (
    BatchPipelineCancelRequestedV1,
    BatchPipelineCompletedV1,
    BatchPipelineRejectedV1,
    BatchStateChangedV1,
    ClientBatchPipelineRequestV1,
)
from huleedu.contracts.notice import RecordParkedV1
from huleedu.contracts.phase import (
    BatchPhaseCancelCommandV1,
    BatchPhaseInitiateCommandV1,
    ELSBatchPhaseOutcomeV1,
    PhaseWorkRequestedV1,
)
from huleedu.files import store as files
from huleedu.orchestrator import store
from huleedu.platform.errors import Conflict, NotFound, Unprocessable
from tests.service.school import COLLEAGUE, TEACHER, School, completed


async def rejected(school: School) -> list[tuple[str, str]]:
    return [(said.run_id, said.code) for said in await school.said(BatchPipelineRejectedV1)]


async def facts(school: School) -> Any:  # noqa: ANN401 -- what gather found, by batch
    gather = school.services["orchestrator"].gather
    assert gather
    return await gather(await school.envelopes(ClientBatchPipelineRequestV1))


@pytest.mark.parametrize("together", [True, False])
async def test_of_two_starts_at_once_one_plans_and_the_other_is_told(school: School, *, together: bool) -> None:
    batch_id = await school.batch("one")
    first = await school.start(batch_id)
    if not together:
        await school.hear("orchestrator")
    second = await school.start(batch_id)
    await school.settle()
    assert [said.run_id for said in await school.said(BatchPhaseInitiateCommandV1)] == [first]
    assert await rejected(school) == [(second, "PROCESSING")]
    assert await school.hand_in(batch_id, "late") is None  # the loser has not opened the winner's intake
    await school.finish()
    assert (await school.state(batch_id)).run_id == first


async def test_no_run_goes_on_with_an_intake_that_another_start_has_closed(school: School) -> None:
    batch_id = await school.batch("one")
    wrong = await school.start(batch_id, "magic")
    second = await school.start(batch_id)
    await school.settle()
    assert await rejected(school) == [(wrong, "PHASE_NOT_OFFERED"), (second, "ALREADY_STARTED")]
    assert await school.hand_in(batch_id, "two")


async def test_the_intake_is_closed_for_the_first_start_of_an_idle_batch_only(school: School) -> None:
    batch_id, another = await school.batch("one"), await school.batch("two")
    first = await school.start(batch_id)
    await school.start(batch_id)
    foreign = await school.start(another, user_id=COLLEAGUE)
    assert {batch: fact[0] for batch, fact in (await facts(school)).items()} == {batch_id: first}
    await school.settle()
    assert await facts(school) == {}
    assert (foreign, "NOT_FOUND") in await rejected(school)


async def test_a_crash_between_close_and_plan_repeats_the_same_close(school: School) -> None:
    batch_id = await school.batch("one", "two")
    run_id = await school.start(batch_id)
    before = await facts(school)
    assert await school.hand_in(batch_id, "between") is None
    assert await facts(school) == before
    await school.settle()
    (command,) = await school.said(BatchPhaseInitiateCommandV1)
    assert before == {batch_id: (run_id, command.essays)}


async def test_the_start_of_a_run_that_has_ended_starts_nothing(school: School) -> None:
    batch_id = await school.batch("one")
    run_id = await school.start(batch_id)
    await school.finish()
    assert await facts(school) == {batch_id: None}
    await school.start(batch_id)
    await school.say((await school.said(ClientBatchPipelineRequestV1))[0])  # a fresh event is a fresh run
    await school.finish()
    assert (await school.state(batch_id)).run_id != run_id


async def test_a_cancel_that_overtakes_its_start_ends_it_before_it_begins(school: School) -> None:
    batch_id = await school.batch("one")
    run_id = await school.start(batch_id)
    await school.cancel(batch_id, run_id)
    await school.hear("orchestrator", BatchPipelineCancelRequestedV1)
    await school.settle()
    state = await school.state(batch_id)
    assert (state.status, {detail.status for detail in state.phases.values()}) == ("cancelled", {"cancelled"})
    assert not await school.said(BatchPhaseInitiateCommandV1)
    assert [said.status for said in await school.said(BatchPipelineCompletedV1)] == ["cancelled"]
    assert await school.hand_in(batch_id, "again")


async def test_a_cancel_in_the_middle_stops_the_work_and_opens_the_intake(school: School) -> None:
    batch_id = await school.batch("one", "two", "three")
    run_id = await school.start(batch_id)
    await school.settle()
    await school.work(units=1)
    await school.cancel(batch_id, run_id)
    await school.hear("orchestrator")
    assert (await school.state(batch_id)).status == "processing"
    assert await school.hand_in(batch_id, "too early") is None
    await school.settle()
    assert await school.work() == 0
    state = await school.state(batch_id)
    (outcome,) = await school.said(ELSBatchPhaseOutcomeV1)
    assert (state.status, outcome.phase_status) == ("cancelled", "cancelled")
    assert (len(outcome.processed_essays), len(outcome.cancelled_essays)) == (1, 2)
    assert {essay["status"] for essay in await school.essays(batch_id)} == {"completed", "cancelled"}
    assert await school.hand_in(batch_id, "in time")


async def test_only_the_owner_starts_and_cancels(school: School) -> None:
    batch_id = await school.batch("one")
    foreign = await school.start(batch_id, user_id=COLLEAGUE)
    await school.settle()
    run_id = await school.start(batch_id)
    await school.settle()
    await school.cancel(batch_id, run_id, user_id=COLLEAGUE)
    await school.finish()
    assert (await school.state(batch_id)).status == "completed_successfully"
    assert (foreign, "NOT_FOUND") in await rejected(school)


@pytest.mark.parametrize(
    ("failing", "status", "phases"),
    [
        (set(), "completed_successfully", ["completed_successfully"] * 2),
        ({"spellcheck 1"}, "completed_with_failures", ["completed_with_partial_success", "completed_successfully"]),
        ({"nlp 2"}, "completed_with_failures", ["completed_successfully", "completed_with_partial_success"]),
        ({"nlp 1", "nlp 2"}, "completed_with_failures", ["completed_successfully", "failed"]),
        ({"spellcheck 1", "spellcheck 2"}, "failed", ["failed", "skipped_due_to_dependency_failure"]),
    ],
)
async def test_a_run_ends_as_its_essays_did(school: School, failing: set[str], status: str, phases: list[str]) -> None:
    batch_id = await school.batch("one", "two")
    places = {essay["essay_id"]: place for place, essay in enumerate(await school.essays(batch_id), 1)}
    await school.start(batch_id)
    await school.finish(lambda request: f"{request.phase} {places[request.essays[0].essay_id]}" not in failing)
    state = await school.state(batch_id)
    assert (state.status, [detail.status for detail in state.phases.values()]) == (status, phases)
    failed = [place for essay_id, place in places.items() if any(f" {place}" in name for name in failing)]
    shown = [places[essay["essay_id"]] for essay in await school.essays(batch_id) if essay["status"] == "failed"]
    assert shown == failed


async def test_a_retry_is_a_new_run_of_the_whole_frozen_list(school: School) -> None:
    batch_id = await school.batch("one", "two")
    with pytest.raises(Conflict, match="not been started"):
        await check_start(school, batch_id, None)
    await school.start(batch_id, "spellcheck")
    await school.finish(lambda _request: False)
    assert await check_start(school, batch_id, None) == {"requested_pipeline": "spellcheck"}
    await school.hand_in(batch_id, "three")
    again = await school.start(batch_id, "spellcheck")
    await school.finish()
    command = (await school.said(BatchPhaseInitiateCommandV1))[-1]
    assert (command.run_id, len(command.essays)) == (again, 3)
    assert (await school.state(batch_id)).status == "completed_successfully"


async def check_start(school: School, batch_id: str, requested: str | None, user_id: str = TEACHER) -> Any:  # noqa: ANN401 -- JSON
    body = {"requested_pipeline": requested}
    return await school.ask("orchestrator", "POST", f"/batches/{batch_id}/start:check", json=body, user_id=user_id)


async def test_a_start_is_checked_against_the_owners_of_the_truth(school: School) -> None:
    batch_id = await school.batch()
    with pytest.raises(Conflict, match="no essay"):
        await check_start(school, batch_id, "all")
    await school.hand_in(batch_id, "of which the orchestrator has not heard yet")
    assert (await school.state(batch_id)).status == "pending_content"
    assert await check_start(school, batch_id, "all") == {"requested_pipeline": "all"}
    with pytest.raises(Unprocessable, match="no phase 'magic'"):
        await check_start(school, batch_id, "magic")
    with pytest.raises(NotFound):
        await check_start(school, batch_id, "all", COLLEAGUE)
    await school.start(batch_id)
    await school.hear("orchestrator", ClientBatchPipelineRequestV1)
    with pytest.raises(Conflict, match="already"):
        await check_start(school, batch_id, "all")
    await school.finish()
    assert (await school.state(batch_id)).status == "completed_successfully"


async def test_a_start_without_essays_is_rejected_and_leaves_the_intake_open(school: School) -> None:
    batch_id = await school.batch()
    run_id = await school.start(batch_id)
    await school.settle()
    assert await rejected(school) == [(run_id, "NO_ESSAYS")]
    assert await school.hand_in(batch_id, "one")


async def test_a_registration_is_inserted_once_and_never_without_an_owner(school: School) -> None:
    batch_id = await school.batch("one")
    again = {"batch_id": batch_id, "teacher_name": "B", "essay_instructions": "", "title": "New", "user_id": COLLEAGUE}
    assert await school.ask("orchestrator", "POST", "/batches", json=again) == {"batch_id": batch_id}
    state = await school.state(batch_id)
    assert (state.user_id, state.title, state.version) == (TEACHER, None, 2)
    with pytest.raises(Unprocessable, match="owner"):
        await school.ask("orchestrator", "POST", "/batches", json={**again, "user_id": None})


async def test_a_batch_is_amended_until_its_first_start(school: School) -> None:
    batch_id = await school.batch("one")
    patch = {"json": {"title": "A place", "language": "sv"}}
    with pytest.raises(NotFound):
        await school.ask("orchestrator", "PATCH", f"/batches/{batch_id}", **patch, user_id=COLLEAGUE)
    await school.ask("orchestrator", "PATCH", f"/batches/{batch_id}", json={"title": "No place"})
    await school.start(batch_id)
    await school.ask("orchestrator", "PATCH", f"/batches/{batch_id}", **patch)  # before anybody has heard of the start
    await school.settle()
    assert (await school.said(PhaseWorkRequestedV1))[0].context.language == "sv"
    assert (await school.status(batch_id))["title"] == "A place"
    with pytest.raises(Conflict, match="started"):
        await school.ask("orchestrator", "PATCH", f"/batches/{batch_id}", **patch)
    await school.finish()


async def test_every_version_is_said_in_the_transaction_that_made_it(school: School) -> None:
    batch_id = await school.batch("one")
    essay_id = (await school.essays(batch_id))[0]["essay_id"]
    await school.ask("files", "DELETE", f"/batches/{batch_id}/essays/{essay_id}")
    await school.settle()
    assert (await school.state(batch_id)).status == "pending_content"
    await school.hand_in(batch_id, "two")
    await school.start(batch_id)
    await school.finish()
    told = [said.version for said in await school.said(BatchStateChangedV1)]
    assert told == sorted(set(told))
    assert told[-1] == (await school.state(batch_id)).version


async def test_a_run_that_does_not_move_is_given_up_and_what_still_comes_of_it_is_late(school: School) -> None:
    batch_id = await school.batch("one")
    await school.start(batch_id, "spellcheck")
    await school.settle()
    (request,) = await school.said(PhaseWorkRequestedV1)
    await school.a_day_passes()
    state = await school.state(batch_id)
    assert (state.status, state.phases[request.phase].error_info) == ("failed", "TIMED_OUT")
    await school.say(completed(request))
    await school.settle()
    assert await school.state(batch_id) == state
    assert len(await school.said(BatchPhaseCancelCommandV1)) == 1
    assert await school.hand_in(batch_id, "again")


async def test_the_time_of_a_run_rests_while_something_of_it_is_parked(school: School) -> None:
    batch_id = await school.batch("one")
    with school.faulty("lifecycle", BatchPhaseInitiateCommandV1):
        await school.start(batch_id)
        await school.settle()
    elsewhere = RecordParkedV1(batch_id=batch_id, group="another", topic="t", cause="c", parked=1)
    await school.say(elsewhere)
    await school.say(elsewhere.model_copy(update={"parked": 0}))
    await school.settle()
    await school.a_day_passes()
    assert (await school.state(batch_id)).status == "processing"
    await school.redrive("lifecycle")
    await school.settle()
    await school.work()  # it has its whole time again
    await school.db.write(school.orchestrator.end_overdue)
    assert (await school.state(batch_id)).status == "processing"
    await school.finish()
    assert (await school.state(batch_id)).status == "completed_successfully"


async def test_a_run_is_not_given_up_for_the_time_that_the_machine_slept_or_was_off(school: School) -> None:
    batch_id = await school.batch("one")
    await school.start(batch_id)
    await school.settle()
    school.clock.move(25 * 3600)
    await school.db.write(school.orchestrator.rearm)  # what a start does, and a watch that finds time has leapt
    await school.db.write(school.orchestrator.end_overdue)
    assert (await school.state(batch_id)).status == "processing"
    await school.finish()
    assert (await school.state(batch_id)).status == "completed_successfully"


async def test_the_watchdog_would_find_a_run_that_nothing_will_ever_move(school: School) -> None:
    batch_id = await school.batch("one")
    await school.start(batch_id)
    await school.settle()
    due = await school.db.read(lambda tx: tx.scalar(select(store.batch.c.due)))
    await school.db.write(lambda tx: tx.execute(update(store.batch).values(due=None)))
    assert await school.stalled() == [batch_id]
    await school.db.write(lambda tx: tx.execute(update(store.batch).values(due=due)))


async def test_a_rejected_run_has_ended_at_files_even_if_it_never_closed_anything(school: School) -> None:
    batch_id = await school.batch("one")
    await school.start(batch_id)
    loser = await school.start(batch_id)
    await school.finish()
    rows = await school.db.read(lambda tx: tx.all(select(files.intake.c.run_id, files.intake.c.state)))
    assert (loser, "ended") in [tuple(row) for row in rows]
