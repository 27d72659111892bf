import asyncio
import gc
import os
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import select

from huleedu.contracts.batch import BatchClientStatus, BatchPipelineCompletedV1, BatchPipelineRejectedV1
from huleedu.contracts.essay import EssayContentProvisionedV1, EssayRemovedV1, EssayValidationFailedV1
from huleedu.files import handlers, routes, store
from huleedu.files.extract import extract
from huleedu.files.unreadable import Unreadable
from huleedu.platform.errors import Conflict, Gone, NotFound, Unprocessable
from tests.service import held
from tests.service.school import COLLEAGUE, TEACHER, School

LONG = "There is a place by the sea where my grandmother lives, and every summer "


@pytest.fixture
async def upload(school: School, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """Upload these files to a batch, by the route that real uploads take, and return what became of each."""
    workers = school.services["files"].workers
    assert workers
    await workers.start()
    monkeypatch.setattr(handlers, "EXTRACTION_SECONDS", 50.0)

    async def send(batch_id: str, *files: tuple[str, bytes], user_id: str = TEACHER) -> list[dict[str, Any]]:
        parts = [("files", (name, content, "application/octet-stream")) for name, content in files]
        path, sent = f"/batches/{batch_id}/essays", {"files": parts, "user_id": user_id}
        told = await school.ask("files", "POST", path, **sent, retry=False, timeout=60)
        return list(told["items"])

    yield send
    await workers.aclose()


async def listed(school: School, batch_id: str) -> list[dict[str, Any]]:
    return list((await school.ask("files", "POST", "/essays:query", json={"batch_ids": [batch_id]}))["items"])


async def close(school: School, batch_id: str, run_id: str) -> list[str]:
    told = await school.ask("files", "POST", f"/batches/{batch_id}/intake:close", json={"run_id": run_id})
    return [essay["essay_id"] for essay in told["essays"]]


async def test_every_file_of_an_upload_has_an_outcome_of_its_own(school: School, upload: Any) -> None:  # noqa: ANN401
    batch_id = await school.batch()
    items = await upload(
        batch_id,
        ("a.txt", f"{LONG} å ä ö".encode()),
        ("b.txt", f"{LONG} å ä ö".encode("utf-16")),
        ("c.txt", b""),
        ("d.txt", b"Too short."),
        ("e.docx", b"PK\x03\x04 and nothing else"),
    )
    stored = [item for item in items if item["status"] == "stored"]
    assert [item["file_name"] for item in items] == ["a.txt", "b.txt", "c.txt", "d.txt", "e.docx"]
    assert len(stored) == 1
    assert {item["code"] for item in items if item["status"] == "refused"} == {
        "DUPLICATE",
        "EMPTY_CONTENT",
        "CONTENT_TOO_SHORT",
        "TEXT_EXTRACTION_FAILED",
    }
    assert any(stored[0]["file_name"] in (item["detail"] or "") for item in items if item["code"] == "DUPLICATE")
    (essay,) = await listed(school, batch_id)
    assert (await school.platform.blobs.get(essay["text_storage_id"])).decode() == f"{LONG} å ä ö"
    (said,) = await school.said(EssayContentProvisionedV1)
    assert said.essay_id == essay["essay_id"] == stored[0]["essay_id"]
    assert len(await school.said(EssayValidationFailedV1)) == 4


@pytest.mark.usefixtures("upload")
async def test_what_reads_a_file_is_loaded_before_the_time_of_the_first_begins(school: School) -> None:
    workers = school.services["files"].workers
    assert workers
    assert await workers.run(eval, f"{extract.__module__!r} in __import__('sys').modules", timeout_s=60)


async def test_files_that_take_all_their_time_hold_up_no_other_teacher(
    school: School,
    upload: Any,  # noqa: ANN401
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(handlers, "extract", held.extract)
    monkeypatch.setattr(handlers, "EXTRACTION_SECONDS", 600)
    fifo = school.directory / "fifo"
    os.mkfifo(fifo)
    theirs, ours = await school.batch(), await school.batch(user_id=COLLEAGUE)
    slow = asyncio.ensure_future(upload(theirs, *[(f"{n}.pdf", str(fifo).encode()) for n in range(10)]))
    writer = await asyncio.to_thread(os.open, fifo, os.O_WRONLY)  # when one is being read; the others came before it
    (item,) = await upload(ours, ("a.txt", LONG.encode()), user_id=COLLEAGUE)
    assert (item["status"], slow.done()) == ("stored", False)
    slow.cancel()
    os.close(writer)


async def test_when_the_time_for_an_upload_is_over_what_is_begun_is_stored_and_the_rest_is_refused(
    school: School,
    upload: Any,  # noqa: ANN401
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batch_id = await school.batch()
    sent = [(f"{number}.txt", f"{LONG} {number}".encode()) for number in range(10)]
    with monkeypatch.context() as late:
        late.setattr(routes, "READING_SECONDS", 0.0)
        items = await upload(batch_id, *sent)
    assert [item["file_name"] for item in items] == [name for name, _ in sent]
    begun = school.platform.settings.workers
    assert [item["code"] for item in items] == [None] * begun + ["NOT_STORED"] * (len(sent) - begun)
    again = await upload(batch_id, *sent[begun:])
    assert {item["status"] for item in again} == {"stored"}


async def test_the_intake_is_tested_in_the_transaction_that_stores_the_essay(school: School, upload: Any) -> None:  # noqa: ANN401
    batch_id = await school.batch("one")
    frozen = await close(school, batch_id, "run")
    (item,) = await upload(batch_id, ("late.txt", LONG.encode()))
    assert item["code"] == "INTAKE_CLOSED"
    assert [essay["essay_id"] for essay in await listed(school, batch_id)] == frozen
    await school.sweep()
    assert not [path for path in (school.directory / "blobs" / batch_id).iterdir() if path.name not in frozen]


async def test_closing_again_for_the_same_run_gives_the_same_list(school: School) -> None:
    batch_id = await school.batch("one", "two")
    frozen = await close(school, batch_id, "first")
    assert await close(school, batch_id, "first") == frozen
    assert len(frozen) == 2
    assert await school.hand_in(batch_id, "three") is None


async def test_a_close_takes_over_from_an_older_run_whose_end_has_not_been_heard(school: School) -> None:
    batch_id = await school.batch("one")
    await close(school, batch_id, "old")
    frozen = await close(school, batch_id, "new")
    with pytest.raises(Gone):
        await close(school, batch_id, "old")
    ended = BatchPipelineCompletedV1(batch_id=batch_id, run_id="old", status=BatchClientStatus.CANCELLED)
    await school.say(ended)
    await school.hear("files")
    assert await school.hand_in(batch_id, "two") is None  # it is not the old run's to open any more
    assert await close(school, batch_id, "new") == frozen
    await school.say(ended.model_copy(update={"run_id": "new"}))
    await school.hear("files")
    assert await school.hand_in(batch_id, "two")


async def test_a_run_that_has_ended_closes_nothing_even_if_it_never_did(school: School) -> None:
    batch_id = await school.batch("one")
    await school.say(
        BatchPipelineRejectedV1(batch_id=batch_id, run_id="rejected", code="X", detail=""),
        BatchPipelineCompletedV1(batch_id=batch_id, run_id="over", status=BatchClientStatus.FAILED),
    )
    await school.hear("files")
    for run_id in ("rejected", "over"):
        with pytest.raises(Gone):
            await close(school, batch_id, run_id)
    assert await school.hand_in(batch_id, "two")


async def test_an_essay_is_removed_by_its_owner_while_nothing_is_assessed(school: School) -> None:
    batch_id = await school.batch("one", "two")
    first, second = (essay["essay_id"] for essay in await listed(school, batch_id))
    path = f"/batches/{batch_id}/essays/{first}"
    with pytest.raises(NotFound):
        await school.ask("files", "DELETE", path, user_id=COLLEAGUE)
    await close(school, batch_id, "run")
    with pytest.raises(Conflict, match="being assessed"):
        await school.ask("files", "DELETE", path)
    await school.db.write(lambda tx: store.end_run(tx, batch_id, "run"))
    await school.ask("files", "DELETE", path)
    with pytest.raises(NotFound):
        await school.ask("files", "DELETE", path)
    await school.finish()
    await school.sweep()
    assert [essay["essay_id"] for essay in await school.essays(batch_id)] == [second]
    assert [said.essay_id for said in await school.said(EssayRemovedV1)] == [first]
    assert await school.traces(first) <= {"outbox", "batch_essay", "essay_view", "feed"}
    assert await school.hand_in(batch_id, "one")  # the same text is no duplicate any more


async def test_an_upload_to_an_erased_batch_leaves_nothing(school: School, upload: Any) -> None:  # noqa: ANN401
    batch_id = await school.batch("one")
    await school.ask("orchestrator", "DELETE", f"/batches/{batch_id}")
    await school.settle()
    await school.sweep()
    with pytest.raises(NotFound):
        await upload(batch_id, ("late.txt", LONG.encode()))
    with pytest.raises(NotFound):
        await upload(batch_id, ("late.txt", b""))
    with pytest.raises(Gone):
        await close(school, batch_id, "run")
    await school.sweep()
    assert "blobs" not in await school.traces(batch_id)
    assert await school.db.read(lambda tx: tx.all(select(store.essay))) == []


def form(*dispositions: bytes) -> bytes:
    """A form whose parts are essays; how each is called is said as it may come over the wire."""
    heads = (b"--x\r\nContent-Disposition: form-data; name=files; " + said for said in dispositions)
    parts = (b"%s\r\n\r\n%s %d\r\n" % (head, LONG.encode(), number) for number, head in enumerate(heads))
    return b"".join(parts) + b"--x--\r\n"


async def sent(school: School, batch_id: str, body: bytes, charset: str = "") -> list[dict[str, Any]]:
    headers = {"content-type": f"multipart/form-data; boundary=x{charset}"}
    path = f"/batches/{batch_id}/essays"
    told = await school.ask("files", "POST", path, content=body, headers=headers, retry=False, timeout=60)
    return list(told["items"])


NAMES = [
    ("../../etc/passwd", b'"../../etc/passwd"'),
    ("essay.docx", b'"C:\\Users\\Anna\\essay.docx"'),  # as old browsers sent it: where her disk has it is no name
    ("a\\b.txt", b'"a\\b.txt"'),
    ("a\ufffd\x07\x1b[31mb.txt", b'"a\0\x07\x1b[31mb.txt"'),
    ("\u202efdp.exe", '"\u202efdp.exe"'.encode()),
    ("å" * 300 + ".docx", f'"{"å" * 300}.docx"'.encode()),
    ("unnamed", b'""'),
    ("...", b'"..."'),
    ("🐕 e\u0301 \U0001f3f3\ufe0f\u200d\U0001f308.txt", '"🐕 e\u0301 \U0001f3f3\ufe0f\u200d\U0001f308.txt"'.encode()),
    ('say "hi"\n.txt', b'"say %22hi%22%0A.txt"'),
    ("100%25.txt", b'"100%25.txt"'),
    ("åäö.txt", "åäö.txt".encode("latin-1")),
    ("\xed\xa0\x80.txt", b'"\xed\xa0\x80.txt"'),  # half a pair in UTF-8 is no UTF-8
    ("€.txt", "\"€.txt\"; filename*=UTF-8''other.txt".encode()),  # which RFC 7578 forbids in a form
    ("<img src=x>.txt", b'"<img src=x>.txt"'),
    ("=1+1|' .txt", b'"=1+1|\' .txt"'),
]


async def test_names_are_kept_as_given_whatever_is_in_them(school: School, upload: Any) -> None:  # noqa: ANN401, ARG001
    batch_id = await school.batch()
    items = await sent(school, batch_id, form(*(b"filename=" + said for _, said in NAMES)))
    assert [item["status"] for item in items] == ["stored"] * len(NAMES)
    assert [item["file_name"] for item in items] == [name for name, _ in NAMES]
    assert {essay["file_name"] for essay in await listed(school, batch_id)} == {name for name, _ in NAMES}
    blobs = school.directory / "blobs" / batch_id
    assert all(re.fullmatch(r"[0-9a-f/-]+", str(path.relative_to(blobs))) for path in blobs.rglob("*"))
    half = await sent(school, batch_id, form(b'filename="\\ud800.txt"'), "; charset=unicode_escape")
    assert half[0]["file_name"] == "\ufffd.txt"


ADVICE = "If it is another pupil's, check that the right file was chosen."


async def test_another_files_name_in_a_sentence_is_short_and_orderly(school: School, upload: Any) -> None:  # noqa: ANN401
    batch_id = await school.batch()
    await upload(batch_id, ("\u202e\n\u2066" + "x" * 300, LONG.encode()))
    (item,) = await upload(batch_id, ("copy.txt", LONG.encode()))
    assert item["detail"] == f"The same text is in the batch already, as '\ufffd\ufffd\ufffd{'x' * 77}…'. {ADVICE}"


@pytest.mark.parametrize(
    ("body", "charset"),
    [
        (form(b"filename*=UTF-8''a.txt"), ""),
        (form(b'filename="a.txt"', b"filename*=UTF-8''b.txt"), ""),  # not the one alone, as if there were no other
        (form(b'filename="' + b"x" * 5_000 + b'"'), ""),
        (form(b'filename="a.txt"'), "; charset=undefined"),
        (form(b'filename="a.txt"')[:60], ""),
        (b"--x\r\nContent-Disposition: form-data\r\n\r\n\r\n--x--", ""),
        (b"", ""),
    ],
)
async def test_what_is_no_form_of_named_files_is_refused_whole(school: School, body: bytes, charset: str) -> None:
    batch_id = await school.batch()
    with pytest.raises(Unprocessable):
        await sent(school, batch_id, body, charset)
    assert await listed(school, batch_id) == []


async def test_a_refusal_lets_go_of_its_file_at_once(school: School, upload: Any) -> None:  # noqa: ANN401
    batch_id = await school.batch()
    gc.collect()
    gc.disable()
    try:
        await upload(batch_id, *((f"{number}.bin", bytes(1_000 + number)) for number in range(3)))
        assert not [found for found in gc.get_objects() if isinstance(found, Unreadable) and found.__traceback__]
    finally:
        gc.enable()
