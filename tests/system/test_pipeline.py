"""The whole pipeline in one process, with real phases in real worker processes, as a teacher lives through it."""

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio
from openpyxl import load_workbook
from sqlalchemy import select

from huleedu.contracts.batch import BatchPipelineRejectedV1
from huleedu.contracts.essay import EssayRemovedV1, EssayStatus
from huleedu.contracts.measures import MEASURES
from huleedu.contracts.messages import MESSAGES
from huleedu.contracts.phase import PhaseWorkCompletedV1
from huleedu.contracts.results import NlpResultV1, SpellcheckResultV1, apply_corrections
from huleedu.lifecycle import store as lifecycle
from huleedu.platform.blobs.s3 import S3Blobs
from huleedu.platform.db import ReadTx, metadata
from huleedu.platform.log import store
from tests.engine.apart import fleet, town_of
from tests.engine.kafka import everything
from tests.engine.s3 import held
from tests.engine.whole import second_engine
from tests.given import PATIENT
from tests.servers import ENGINE
from tests.service.stalled import stalled
from tests.system.house import House, Teacher, essay, inhabited, parts

pytestmark = pytest.mark.asyncio(loop_scope="module")
CANARY = "Zanzibarquokka"
ESSAYS = 24
LONG = "The house by the sea is small, and we like it. " * 70  # to check them takes longer than to be told to stop
BY_TOPIC = {said.topic: said for said in MESSAGES}


ENGINES = ["on one machine", *(pytest.param(name, marks=ENGINE) for name in ("on the second engine", "two of each"))]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=ENGINES)
async def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    directory = tmp_path_factory.mktemp("pipeline")
    async with AsyncExitStack() as stack:
        settings: dict[str, Any] = {}
        if request.param != "on one machine":
            settings = await stack.enter_async_context(second_engine(request.getfixturevalue("servers")))
        if request.param == "two of each":
            apart = stack.enter_context(fleet(PATIENT | settings, directory, copies=2))
            await asyncio.to_thread(apart.start, apart.places)
            yield await stack.enter_async_context(town_of(apart))
        else:
            yield await stack.enter_async_context(inhabited(directory, **settings))


@pytest_asyncio.fixture(loop_scope="module")
async def house(whole: House) -> AsyncIterator[House]:
    """The house; when a test is over, nothing in it waits for something that will never come."""
    yield whole
    assert await whole.platform.db.read(stalled) == []


@pytest_asyncio.fixture(loop_scope="module")
async def anna(house: House) -> Teacher:
    return await house.teacher(f"Anna {CANARY}")


async def said(house: House, batch_id: str) -> list[dict[str, Any]]:
    """Return every envelope about this batch, in the order of their ids, which is that of time."""
    kept = await house.platform.db.read(lambda tx: tx.scalars(select(store.outbox.c.envelope)))
    url = house.platform.settings.log_url.get_secret_value()
    brought = await asyncio.to_thread(everything, url) if url else []
    found = {envelope["event_id"]: envelope for envelope in map(json.loads, [*kept, *brought])}
    return [found[event_id] for event_id in sorted(found) if found[event_id]["subject"] == batch_id]


async def test_from_upload_to_result(anna: Teacher) -> None:
    text = f"We was hapy in the sommer. {essay(f'{CANARY} is my name.')}"
    batch_id = await anna.batch(text, essay(), title="9B")
    run_id = await anna.start(batch_id)
    ended = await anna.ended(batch_id, run_id)
    assert (ended["status"], ended["essays"], ended["unassessed"]) == ("completed_successfully", 2, 0)
    counts = {phase: found["essay_counts"] for phase, found in ended["pipeline_state"]["phases"].items()}
    assert {phase: (found["total"], found["successful"]) for phase, found in counts.items()} == {
        "spellcheck": (2, 2),
        "nlp": (2, 2),
    }
    listed = (await anna.ask("GET", f"/batches/{batch_id}/essays", 200))["items"]
    assert {item["status"] for item in listed} == {"completed"}
    details = [await anna.ask("GET", f"/batches/{batch_id}/essays/{item['essay_id']}", 200) for item in listed]
    found = next(detail for detail in details if detail["text"] == text)
    checked = SpellcheckResultV1.model_validate(found["results"]["spellcheck"])
    assert {"hapy", "sommer"} <= {correction.original for correction in checked.corrections}
    assert apply_corrections(text, checked.corrections) == found["corrected_text"] == checked.corrected_text
    assert NlpResultV1.model_validate(found["results"]["nlp"]).metrics.word_count == checked.metrics.word_count


async def test_what_was_found_is_taken_along_in_a_file(house: House, anna: Teacher) -> None:
    batch_id = await anna.batch(f"We was hapy in the sommer. {essay()}", essay(), title="9B höst")
    await anna.ended(batch_id, await anna.start(batch_id))
    base = f"/v1/batches/{batch_id}"
    table = await anna.http.get(f"{base}/results.csv", headers={"accept-language": "sv-SE,sv;q=0.9"})
    assert table.headers["content-type"] == "text/csv; charset=utf-8"
    assert "filename*=UTF-8''9B%20h%C3%B6st.csv" in table.headers["content-disposition"]
    head, *rows = list(csv.reader(io.StringIO(table.content.decode("utf-8-sig")), delimiter=";"))
    assert (len(rows), {len(row) for row in rows}) == (2, {3 + len(MEASURES)})
    empty = {name for row in rows for name, cell in zip(head[3:], row[3:], strict=True) if not cell}
    assert empty == {"Ordvariation, MTLD (ord)"}, "which asks for longer texts"
    listed = (await anna.ask("GET", f"/batches/{batch_id}/essays", 200))["items"]
    assert [row[head.index("Läsbarhet, LIX (index)")] for row in rows] == [
        f"{item['metrics']['nlp']['lix']:g}".replace(".", ",") for item in listed
    ]
    book = await anna.http.get(f"{base}/results.xlsx", params={"language": "en"}, headers={"accept-language": "sv"})
    sheets = load_workbook(io.BytesIO(book.content))
    assert sheets.sheetnames == ["Essays", "Remarks"]
    assert {"hapy", "sommer"} <= {cell.value for cell in sheets["Remarks"]["C"]}
    await house.platform.blobs.delete(f"{batch_id}/{listed[0]['essay_id']}")
    book = await anna.http.get(f"{base}/results.xlsx")
    names = [cell.value for cell in load_workbook(io.BytesIO(book.content))["Essays"]["A"]]
    assert names == ["Essay", "essay 2.txt"], "one that is going is gone"


async def test_everything_is_said_by_whom_the_table_names_and_tells_nothing_of_a_pupil(
    house: House, anna: Teacher
) -> None:
    batch_id = await anna.batch(title=CANARY)
    files = parts(essay(f"I am {CANARY}. " * 4), essay(), CANARY, name=CANARY)
    told = await anna.ask("POST", f"/batches/{batch_id}/essays", 201, files=files)
    await anna.ask("DELETE", f"/batches/{batch_id}/essays/{told['items'][1]['essay_id']}", 204)
    await anna.ask("POST", f"/batches/{batch_id}/essays", 201, files=parts(*(essay(LONG) for _ in range(ESSAYS))))
    run_id = await anna.start(batch_id)
    await anna.until(batch_id, lambda found: found["status"] == "processing")
    await anna.ask("POST", f"/batches/{batch_id}/cancel", 202, json={"run_id": run_id})
    await anna.ended(batch_id, run_id)
    retry = (await anna.ask("POST", f"/batches/{batch_id}/retry", 202))["run_id"]
    await anna.ended(batch_id, retry)
    envelopes = await said(house, batch_id)
    assert CANARY not in json.dumps(envelopes)
    for envelope in envelopes:
        by = BY_TOPIC[envelope["event_type"]].by
        assert envelope["source_service"] in by or by == ("*",)
        assert (envelope["user_id"], envelope["subject"]) == (anna.user_id, batch_id)
    heard = {BY_TOPIC[envelope["event_type"]].message.__name__ for envelope in envelopes}
    every = {row.message.__name__ for row in MESSAGES}
    assert every - heard <= {"BatchErasedV1", "BatchErasureReportedV1", "RecordParkedV1", "BatchPipelineRejectedV1"}
    assert EssayRemovedV1.__name__ in heard
    assert len({envelope["event_id"] for envelope in envelopes}) == len(envelopes)


async def test_an_erased_batch_leaves_its_tombstone_and_nothing_else(house: House, anna: Teacher) -> None:
    words = ["Okapiwombat", "Wombatokapi", "Kakaponumbat", "Numbatkakapo"]
    title, task, text, name = words
    draft = {"title": title, "essay_instructions": task}
    made = await anna.ask("POST", "/batches", 201, json=draft, headers={"Idempotency-Key": "made"})
    batch_id, url = made["batch_id"], f"/batches/{made['batch_id']}"
    files = [*parts(essay(text), essay(f"{text}. "), name=name), *parts(text, name=name)]
    told = await anna.ask("POST", f"{url}/essays", 201, files=files, headers={"Idempotency-Key": "sent"})
    ids = [batch_id, *(item["essay_id"] for item in told["items"][:2])]
    await anna.ask("DELETE", f"{url}/essays/{ids[1]}", 204)
    await anna.ended(batch_id, await anna.start(batch_id))
    for kind in ("csv", "xlsx"):
        assert (await anna.http.get(f"/v1{url}/results.{kind}")).is_success
    assert {"batch", "essay_view", "phase_result", "idempotency", "files"} <= await traces(house, *ids, *words)
    while (answer := await anna.http.delete(f"/v1{url}")).status_code == 202:
        pass  # what says that the last report has been counted is this answer only
    assert answer.status_code == 204
    assert await traces(house, *words) == set()
    assert await traces(house, *ids[1:]) == set()
    assert await traces(house, batch_id) == {"erasure", "erasure_report", "tombstone", "feed"}


async def traces(house: House, *words: str) -> set[str]:
    """Return in which tables, and whether in the names or contents of other files or blobs, one of these is found."""

    def search(tx: ReadTx) -> set[str]:
        tables = metadata.sorted_tables
        return {table.name for table in tables if any(word in str(tx.all(select(table))) for word in words)}

    directory = house.platform.settings.data_dir
    others = [path for path in directory.rglob("*") if path.is_file() and not path.name.startswith("huleedu.db")]
    found = [str(path.relative_to(directory)).encode() + path.read_bytes() for path in others]
    if isinstance(house.platform.blobs, S3Blobs):
        found += held(house.platform.blobs)
    files = {"files" for content in found if any(word.encode() in content for word in words)}
    return files | await house.platform.db.read(search)


async def test_one_request_is_followed_through_every_service(house: House, anna: Teacher) -> None:
    batch_id = await anna.batch(essay())
    trace = f"00-{'a1' * 16}-{'b2' * 8}-01"
    body = {"requested_pipeline": "nlp"}
    url = f"/batches/{batch_id}/pipelines"
    started = await anna.ask("POST", url, 202, json=body, headers={"traceparent": trace})
    await anna.ended(batch_id, started["run_id"])
    run = [one for one in await said(house, batch_id) if one["correlation_id"] == started["correlation_id"]]
    assert {one["source_service"] for one in run} == {"gateway", "orchestrator", "lifecycle", "phases"}
    assert {one["traceparent"].split("-")[1] for one in run} == {"a1" * 16}
    ids = {one["event_id"] for one in run}
    assert run[0]["event_id"] == started["run_id"]
    theirs = [one for one in run if one["source_service"] in {"orchestrator", "lifecycle"}]
    assert all(one["causation_id"] in ids for one in theirs)


async def test_stopped_half_way_and_taken_up_again(house: House, anna: Teacher) -> None:
    batch_id = await anna.batch(*(essay(LONG) for _ in range(ESSAYS)))
    run_id = await anna.start(batch_id)

    phase = lifecycle.essay_phase.c
    done = select(phase.essay_id).where(phase.run_id == run_id, phase.status == EssayStatus.COMPLETED)
    while not await house.platform.db.read(lambda tx: tx.scalars(done)):
        """It is not known of any. The teacher's view tells it later, on a crowded machine when all are done."""
    await anna.ask("POST", f"/batches/{batch_id}/cancel", 202)
    stopped = await anna.ended(batch_id, run_id)
    counts = stopped["pipeline_state"]["phases"]["spellcheck"]["essay_counts"]
    assert stopped["status"] == "cancelled"
    assert (counts["successful"] > 0, counts["cancelled"] > 0, counts["total"]) == (True, True, ESSAYS)
    assert stopped["pipeline_state"]["phases"]["nlp"]["status"] == "cancelled"
    again = (await anna.ask("POST", f"/batches/{batch_id}/retry", 202))["run_id"]
    assert (await anna.ended(batch_id, again))["status"] == "completed_successfully"
    results: dict[str, set[str]] = {}
    for one in await said(house, batch_id):
        if BY_TOPIC[one["event_type"]].message is PhaseWorkCompletedV1 and one["data"]["phase"] == "spellcheck":
            (outcome,) = one["data"]["essays"]
            results.setdefault(outcome["essay_id"], set()).add(outcome["result_id"])
    assert len(results) == ESSAYS
    assert all(len(ids) == 1 for ids in results.values()), "what was done is not done again, or comes out the same"


async def test_of_two_starts_at_once_one_wins_and_the_other_is_told(house: House, anna: Teacher) -> None:
    batch_id = await anna.batch(essay())
    body = {"requested_pipeline": "all"}
    answers = await asyncio.gather(*(anna.http.post(f"/v1/batches/{batch_id}/pipelines", json=body) for _ in range(4)))
    assert {answer.status_code for answer in answers} <= {202, 409}
    accepted = {answer.json()["run_id"] for answer in answers if answer.status_code == 202}
    ended = await anna.until(batch_id, lambda found: found["status"] == "completed_successfully")
    rejected = {
        one["data"]["run_id"]
        for one in await said(house, batch_id)
        if BY_TOPIC[one["event_type"]].message is BatchPipelineRejectedV1
    }
    assert accepted == rejected | {ended["pipeline_state"]["run_id"]}
    assert ended["pipeline_state"]["run_id"] not in rejected
