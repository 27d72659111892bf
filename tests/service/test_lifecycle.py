from sqlalchemy import select

from huleedu.contracts.essay import EssayPhaseChangedV1
from huleedu.contracts.messages import TOPICS
from huleedu.contracts.phase import (
    BatchPhaseCancelCommandV1,
    BatchPhaseInitiateCommandV1,
    ELSBatchPhaseOutcomeV1,
    PhaseWorkCompletedV1,
    PhaseWorkRequestedV1,
)
from huleedu.lifecycle import store
from tests.service.school import School, completed


async def late(school: School) -> list[tuple[str, str]]:
    """Return the results that came too late: essay and outcome."""
    columns = (store.late_result.c.essay_id, store.late_result.c.outcome)
    return [tuple(row) for row in await school.db.read(lambda tx: tx.all(select(*columns)))]


async def test_a_cancel_that_overtakes_the_command_cancels_every_essay_once(school: School) -> None:
    batch_id = await school.batch("one", "two")
    run_id = await school.start(batch_id)
    await school.hear("orchestrator")
    await school.cancel(batch_id, run_id)
    await school.hear("orchestrator")
    await school.hear("lifecycle", BatchPhaseCancelCommandV1)
    await school.settle()
    (outcome,) = await school.said(ELSBatchPhaseOutcomeV1)
    assert len(outcome.cancelled_essays) == 2
    assert not await school.said(PhaseWorkRequestedV1)
    assert (await school.state(batch_id)).status == "cancelled"


async def test_a_late_result_is_recorded_and_changes_nothing(school: School) -> None:
    batch_id = await school.batch("one")
    run_id = await school.start(batch_id)
    await school.settle()
    (request,) = await school.said(PhaseWorkRequestedV1)
    await school.cancel(batch_id, run_id)
    await school.settle()
    before = (await school.state(batch_id), await school.essays(batch_id))
    await school.say(completed(request), completed(request.model_copy(update={"run_id": "of no run at all"})))
    await school.settle()
    assert await late(school) == [(request.essays[0].essay_id, "completed")] * 2
    assert (await school.state(batch_id), await school.essays(batch_id)) == before


async def test_the_first_result_of_an_essay_counts_and_no_other(school: School) -> None:
    batch_id = await school.batch("one", "two")
    await school.start(batch_id, "spellcheck")
    await school.settle()
    first, second = await school.said(PhaseWorkRequestedV1)
    await school.say(completed(first), completed(first, fine=False), completed(second), completed(second))
    await school.settle()
    assert await late(school) == [(first.essays[0].essay_id, "failed"), (second.essays[0].essay_id, "completed")]
    assert (await school.state(batch_id)).status == "completed_successfully"
    await school.work()


async def test_whatever_is_said_again_an_outcome_is_said_once(school: School) -> None:
    batch_id = await school.batch("one", "two")
    await school.start(batch_id)
    for _ in range(4):
        await school.settle()
        await school.repeat(list(TOPICS))
        await school.settle()
        await school.work()
    assert len(await school.said(ELSBatchPhaseOutcomeV1)) == 2
    assert len(await school.said(PhaseWorkRequestedV1)) == 4
    assert await late(school) == []
    command = (await school.said(BatchPhaseInitiateCommandV1))[0]
    await school.say(command)  # the same command as a new event
    await school.settle()
    assert len(await school.said(PhaseWorkRequestedV1)) == 4


async def test_the_version_of_an_essay_grows_over_phases_and_runs(school: School) -> None:
    batch_id = await school.batch("one")
    for _ in range(2):
        await school.start(batch_id)
        await school.finish()
    versions = [said.version for said in await school.said(EssayPhaseChangedV1)]
    assert versions == list(range(1, 9))


async def test_a_phase_is_given_the_results_of_what_it_needs_in_its_own_run(school: School) -> None:
    batch_id = await school.batch("one")
    runs = []
    for _ in range(2):
        runs.append(await school.start(batch_id))
        await school.finish()
    requests = [said for said in await school.said(PhaseWorkRequestedV1) if said.phase == "nlp"]
    given = [next(iter(request.inputs.values())) for request in requests]
    assert given == [{"spellcheck": f"{run_id}-spellcheck"} for run_id in runs]


async def test_results_come_in_any_order_and_number(school: School) -> None:
    batch_id = await school.batch("one", "two", "three")
    await school.start(batch_id, "spellcheck")
    await school.settle()
    requests = await school.said(PhaseWorkRequestedV1)
    first, *others = (completed(request, fine=place != 1) for place, request in enumerate(requests))
    together = [essay for other in reversed(others) for essay in other.essays]
    await school.say(PhaseWorkCompletedV1.model_validate({**others[0].model_dump(), "essays": together}), first)
    await school.settle()
    (outcome,) = await school.said(ELSBatchPhaseOutcomeV1)
    assert [essay.essay_id for essay in outcome.processed_essays] == [
        requests[place].essays[0].essay_id for place in (0, 2)
    ]
    assert [essay.code for essay in outcome.failed_essays] == ["PHASE_FAILED"]
    await school.work()


async def test_of_a_removed_essay_nothing_is_kept_but_that_it_counted(school: School) -> None:
    batch_id = await school.batch("one", "two")
    await school.start(batch_id)
    await school.finish()
    essay_id = (await school.essays(batch_id))[0]["essay_id"]
    await school.ask("files", "DELETE", f"/batches/{batch_id}/essays/{essay_id}")
    await school.settle()
    told = (await school.ask("lifecycle", "POST", "/essays:query", json={"batch_ids": [batch_id]}))["items"]
    kept = [item for item in told if item["essay_id"] == essay_id]
    assert {(item["result_id"], len(item["metrics"])) for item in kept} <= {(None, 0)}
    assert (await school.status(batch_id))["essays"] == 1
