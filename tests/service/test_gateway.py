"""The public interface of a running platform. Phases is not running, so what was started stays in work."""

import asyncio
import itertools
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from fastapi.routing import APIRoute
from sqlalchemy import select, update

from huleedu.gateway import store
from huleedu.gateway.answers import Answers, Asked
from huleedu.gateway.handlers import BATCHES, KEPT, Gateway
from tests.given import RestlessClock, Stuck, heard, opened
from tests.system.house import House, Teacher, essay, inhabited, parts

pytestmark = pytest.mark.asyncio(loop_scope="module")
OPEN = {"/healthz", "/readyz"}
SIGN_IN = "/v1/session"
NOBODY = "0198c0de-0000-7000-8000-000000000000"
BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("PATCH", "/v1/batches/{batch_id}"): {"json": {"title": "Mine"}},
    ("POST", "/v1/batches/{batch_id}/essays"): {"files": parts(essay())},
    ("POST", "/v1/batches/{batch_id}/pipelines"): {"json": {"requested_pipeline": "all"}},
    ("POST", "/v1/batches"): {"json": {}},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(engine: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:  # noqa: ARG001 -- one for each
    async with inhabited(tmp_path_factory.mktemp("gateway"), without=["phases"]) as house:
        yield house


@pytest_asyncio.fixture(loop_scope="module")
async def anna(house: House) -> Teacher:
    return await house.teacher()


def routes(house: House) -> list[tuple[str, str]]:
    """Return (method, path) of every public route that FastAPI describes."""

    resources = [route.original_router for route in house.public.routes if hasattr(route, "original_router")]
    all_routes = [*house.public.routes, *(route for router in resources for route in router.routes)]
    described = [route for route in all_routes if isinstance(route, APIRoute) and route.include_in_schema]
    found = [(method, route.path) for route in described for method in route.methods or ()]
    paths = house.public.openapi()["paths"]
    assert sorted(found) == sorted((method.upper(), path) for path in paths for method in paths[path])
    return found


def assert_problem(response: httpx2.Response, status: int, code: str | None = None) -> dict[str, Any]:
    body: dict[str, Any] = response.json()
    assert response.status_code == status, body
    assert response.headers["content-type"] == "application/problem+json"
    assert set(body) == {"type", "title", "status", "code", "detail", "correlation_id"}
    assert body["status"] == status
    assert body["detail"].endswith((".", "…")), body["detail"]
    assert code is None or body["code"] == code
    return body


async def test_a_batch_by_its_routes(house: House, anna: Teacher) -> None:
    assert await anna.ask("GET", "/me", 200) == {"email": anna.email, "name": "Anna Ek", "has_password": False}
    batch_id = await anna.batch(essay(), essay(), title="9B", course_code="ENG5")
    seen = await anna.settled(batch_id, 2)
    assert (seen["title"], seen["unassessed"], seen["pipeline_state"]["run_id"]) == ("9B", 2, None)
    amended = await anna.ask("PATCH", f"/batches/{batch_id}", 200, json={"title": "9C", "essay_instructions": "Write."})
    assert amended["batch_id"] == batch_id
    assert "user_id" not in amended
    entered = await anna.ask("GET", f"/batches/{batch_id}", 200)
    assert entered.pop("created_at").endswith("Z")
    task = {"title": "9C", "essay_instructions": "Write.", "course_code": "ENG5", "language": "en"}
    assert entered == {"batch_id": batch_id, "editable": True, **task}
    listed = await anna.ask("GET", f"/batches/{batch_id}/essays", 200)
    assert [item["file_name"] for item in listed["items"]] == ["essay 1.txt", "essay 2.txt"]
    first, second = (item["essay_id"] for item in listed["items"])
    assert "small house" in (await anna.ask("GET", f"/batches/{batch_id}/essays/{first}", 200))["text"]
    await anna.ask("DELETE", f"/batches/{batch_id}/essays/{second}", 204)
    await anna.settled(batch_id, 1)
    run_id = await anna.start(batch_id)
    await anna.until(batch_id, lambda found: found["status"] == "processing")
    assert not (await anna.ask("GET", f"/batches/{batch_id}", 200))["editable"]
    assert (await anna.ask("POST", f"/batches/{batch_id}/cancel", 202))["run_id"] == run_id
    assert (await anna.ended(batch_id, run_id))["status"] == "cancelled"
    again = (await anna.ask("POST", f"/batches/{batch_id}/retry", 202))["run_id"]
    await anna.ask("POST", f"/batches/{batch_id}/cancel", 202, json={"run_id": again})
    assert (await anna.ended(batch_id, again))["status"] == "cancelled"
    await anna.ask("DELETE", f"/batches/{batch_id}", 202)
    backplane = house.platform.backplane
    async with heard(backplane, backplane.get_user_channel(anna.user_id)) as messages:
        while (await anna.http.get(f"/v1/batches/{batch_id}/essays/{first}")).status_code != 404:
            await messages.get()


async def test_who_is_not_known_gets_nowhere(house: House, anna: Teacher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huleedu.platform.readiness.ANSWER_SECONDS", 30)
    forged = anna.token[:-1] + ("A" if anna.token[-1] != "A" else "B")
    for method, path in routes(house):
        if (method, path) == ("POST", SIGN_IN):
            continue
        shown: tuple[dict[str, str], ...]
        shown = ({}, {"authorization": f"Bearer {forged}"}, {"authorization": "Basic YTpi"}, {"cookie": "huleedu=x"})
        for headers in shown:
            response = await house.browser().request(method, path, headers=headers)
            if path in OPEN:
                assert response.status_code == 200
            else:
                assert_problem(response, 401, "UNAUTHENTICATED")
                assert response.headers["www-authenticate"] == "Bearer"


async def test_a_colleagues_batch_is_not_there_on_any_route(house: House, anna: Teacher) -> None:
    berit = await house.teacher("Berit Öst")
    batch_id = await anna.batch(essay())
    await anna.settled(batch_id, 1)
    await house.folded()
    essay_id = (await anna.ask("GET", f"/batches/{batch_id}/essays", 200))["items"][0]["essay_id"]
    before = await anna.ask("GET", f"/batches/{batch_id}/status", 200)
    tried = 0
    page = await berit.browser()
    for method, path in routes(house):
        if "{batch_id}" not in path:
            continue
        answers = []
        for asked, shown in itertools.product((batch_id, NOBODY), (berit.http, page)):
            url = path.format(batch_id=asked, essay_id=essay_id)
            response = await shown.request(method, url, **BODIES.get((method, path), {}))
            body = assert_problem(response, 404, "NOT_FOUND")
            assert body.pop("correlation_id")
            answers.append((body, sorted(response.headers)))
        assert answers == [answers[0]] * 4, path
        tried += 1
    assert tried == 13
    assert (await berit.ask("GET", "/batches", 200))["items"] == []
    assert await anna.ask("GET", f"/batches/{batch_id}/status", 200) == before


async def test_nobody_names_another_as_owner(house: House, anna: Teacher) -> None:
    berit = await house.teacher()
    theirs = {"user_id": berit.user_id}
    assert_problem(await anna.http.post("/v1/batches", json=theirs), 422, "INVALID_REQUEST")
    headers = {"x-user-id": berit.user_id, "x-correlation-id": NOBODY}
    told = await anna.ask("POST", "/batches", 201, json={}, headers=headers)
    assert told["correlation_id"] == NOBODY
    batch_id = told["batch_id"]
    await berit.ask("GET", f"/batches/{batch_id}/status", 404, headers={"x-user-id": anna.user_id})
    for path, body in (("pipelines", {"requested_pipeline": "all"}), ("cancel", {})):
        assert_problem(await anna.http.post(f"/v1/batches/{batch_id}/{path}", json=body | theirs), 422)
    await anna.ask("POST", f"/batches/{batch_id}/essays", 201, files=parts(essay()), headers=headers, params=theirs)
    assert (await anna.settled(batch_id, 1))["essays"] == 1


async def test_a_token_can_be_revoked(house: House) -> None:
    cilla = await house.teacher()
    told = await house.platform.peer("gateway").ask("POST", "/internal/v1/users/revoke", json={"email": cilla.email})
    assert told == {"revoked": 1}
    assert_problem(await cilla.http.get("/v1/me"), 401)


async def test_every_error_is_a_problem(anna: Teacher) -> None:
    batch_id = await anna.batch()
    base = f"/v1/batches/{batch_id}"
    assert_problem(await anna.http.get("/v1/nowhere"), 404)
    assert_problem(await anna.http.put("/v1/batches"), 405)
    assert_problem(await anna.http.post("/v1/batches", json={"titel": "9B"}), 422, "INVALID_REQUEST")
    assert_problem(await anna.http.post("/v1/batches", content=b"{", headers={"content-type": "application/json"}), 422)
    assert_problem(await anna.http.get("/v1/batches", params={"limit": 0}), 422)
    assert_problem(await anna.http.post(f"{base}/pipelines", json={"requested_pipeline": "all"}), 409, "NO_ESSAYS")
    assert_problem(await anna.http.post(f"{base}/cancel"), 409, "NOT_PROCESSING")
    assert_problem(await anna.http.post(f"{base}/retry"), 409, "NEVER_STARTED")
    assert_problem(await anna.http.post(f"{base}/essays", json={}), 422)
    assert_problem(await anna.http.post(f"{base}/essays", files={"file": b"wrong part"}), 422, "NO_FILES")
    asked = {"requested_pipeline": "horoscope"}
    said = assert_problem(await anna.http.post(f"{base}/pipelines", json=asked), 422, "PHASE_NOT_OFFERED")
    assert "spellcheck" in said["detail"], "what could be asked for instead"


async def flood(mebibytes: int) -> AsyncIterator[bytes]:
    for _ in range(mebibytes):
        yield b"x" * 2**20


@pytest.mark.parametrize(("path", "limit"), [("/v1/batches", 1), ("/v1/batches/{}/essays", 100)])
async def test_a_body_over_its_limit_is_refused_declared_or_not(anna: Teacher, path: str, limit: int) -> None:
    url = path.format(await anna.batch())
    multipart = {"content-type": "multipart/form-data; boundary=x"}
    headers = multipart if path.endswith("essays") else {"content-type": "application/json"}
    declared = headers | {"content-length": str(limit * 2**20 + 1)}
    said = assert_problem(await anna.http.post(url, content=b"--x\r\n", headers=declared), 413)
    assert f"{limit} MiB" in said["detail"]
    start = b'--x\r\ncontent-disposition: form-data; name="files"; filename="a.txt"\r\n\r\n'

    async def streamed() -> AsyncIterator[bytes]:
        yield start if headers is multipart else b""
        async for piece in flood(limit + 1):
            yield piece

    assert_problem(await anna.http.post(url, content=streamed(), headers=headers, timeout=30), 413)


async def test_two_hundred_files_fit_and_one_more_does_not(anna: Teacher) -> None:
    batch_id = await anna.batch()
    crowd = parts(*["short"] * 201)
    response = await anna.http.post(f"/v1/batches/{batch_id}/essays", files=crowd, timeout=60)
    assert "200" in assert_problem(response, 413)["detail"]
    told = await anna.ask("POST", f"/batches/{batch_id}/essays", 201, files=crowd[:200], timeout=60)
    assert {item["code"] for item in told["items"]} == {"CONTENT_TOO_SHORT"}
    assert [item["file_name"] for item in told["items"]] == [part[1][0] for part in crowd[:200]]


async def test_the_same_key_means_the_same_request(anna: Teacher) -> None:
    key = {"Idempotency-Key": "k1"}
    made = [await anna.ask("POST", "/batches", 201, json={"title": "9B"}, headers=key) for _ in range(2)]
    batch_id = made[0]["batch_id"]
    assert made[1]["batch_id"] == batch_id
    assert_problem(await anna.http.post("/v1/batches", json={"title": "9C"}, headers=key), 422, "KEY_REUSED")
    await anna.ask("POST", f"/batches/{batch_id}/essays", 201, files=parts(essay()))
    url, body = f"/batches/{batch_id}/pipelines", {"requested_pipeline": "nlp"}
    at_once = await asyncio.gather(*(anna.ask("POST", url, 202, json=body, headers=key) for _ in range(8)))
    assert len({str(answer) for answer in at_once}) == 1, "one run, one answer"
    await anna.until(batch_id, lambda found: found["status"] == "processing")
    assert await anna.ask("POST", url, 202, json=body, headers=key) == at_once[0], "known before anything is checked"
    assert_problem(await anna.http.post(f"/v1{url}", json=body), 409, "PROCESSING")
    other = {"requested_pipeline": "all"}
    assert_problem(await anna.http.post(f"/v1{url}", json=other, headers=key), 422, "KEY_REUSED")


UNKEYED = {
    "/v1/session": "signing in is meant anew each time",
    "/v1/live/ticket": "a ticket is good for one use, so that each answer is another",
}


async def test_every_post_that_changes_something_takes_a_key(house: House) -> None:
    posts = {path: found["post"] for path, found in house.public.openapi()["paths"].items() if "post" in found}
    keyed = {
        path
        for path, post in posts.items()
        if any(parameter["name"] == "Idempotency-Key" for parameter in post.get("parameters", ()))
    }
    assert len(keyed) == 5
    assert posts.keys() - keyed <= UNKEYED.keys()


async def test_the_same_upload_under_its_key_is_stored_once_and_answered_the_same(anna: Teacher) -> None:
    batch_id, key = await anna.batch(), {"Idempotency-Key": "u1"}
    url, files = f"/batches/{batch_id}/essays", [*parts(essay(), "short", essay()), *parts(essay())]
    at_once = await asyncio.gather(*(anna.ask("POST", url, 201, files=files, headers=key) for _ in range(4)))
    assert len({str(answer) for answer in at_once}) == 1, at_once
    assert [item["status"] for item in at_once[0]["items"]] == ["stored", "refused", "stored", "stored"]
    assert (await anna.settled(batch_id, 3))["essays"] == 3
    assert_problem(await anna.http.post(f"/v1{url}", files=parts(essay()), headers=key), 422, "KEY_REUSED")
    assert_problem(
        await anna.http.post(f"/v1{url}", files={"file": b"wrong part"}, headers={"Idempotency-Key": "u2"}), 422
    )
    other = await anna.ask("POST", url, 201, files=files, headers={"Idempotency-Key": "u2"})
    assert {item["code"] for item in other["items"]} == {"DUPLICATE", "CONTENT_TOO_SHORT"}, "it was meant anew"
    await anna.start(batch_id)
    await anna.until(batch_id, lambda found: found["status"] == "processing")
    assert await anna.ask("POST", url, 201, files=files, headers=key) == at_once[0], "known before anything is checked"


async def test_an_upload_that_nobody_could_answer_is_answered_when_it_comes_again(house: House, anna: Teacher) -> None:
    same = essay()
    batch_id, key = await anna.batch(same), {"Idempotency-Key": "u1"}
    new = [*parts(essay(), essay(), name="new"), *parts(essay(), name="new")]
    url, files = f"/batches/{batch_id}/essays", [*parts(same), *new]
    first = await anna.ask("POST", url, 201, files=files, headers=key)
    died = update(store.idempotency).values(answer="", body_hash="")
    await house.platform.db.write(lambda tx: tx.execute(died.where(store.idempotency.c.user_id == anna.user_id)))
    assert await anna.ask("POST", url, 201, files=files, headers=key) == first
    assert [item["code"] for item in first["items"]] == ["DUPLICATE", None, None, None]
    assert (await anna.settled(batch_id, 4))["essays"] == 4


async def test_a_cancel_under_its_key_is_one_cancel(anna: Teacher) -> None:
    batch_id, key = await anna.batch(essay()), {"Idempotency-Key": "c1"}
    run_id = await anna.start(batch_id)
    await anna.until(batch_id, lambda found: found["status"] == "processing")
    told = await anna.ask("POST", f"/batches/{batch_id}/cancel", 202, headers=key)
    await anna.ended(batch_id, run_id)
    assert await anna.ask("POST", f"/batches/{batch_id}/cancel", 202, headers=key) == told
    body = {"run_id": run_id}
    assert_problem(await anna.http.post(f"/v1/batches/{batch_id}/cancel", json=body, headers=key), 422, "KEY_REUSED")


async def test_an_answer_is_kept_as_long_as_a_request_may_be_sent_again(tmp_path: Path) -> None:
    clock = RestlessClock(patience=0)
    async with opened(tmp_path, clock) as platform:
        for key in ("old", "young"):
            await Answers(platform.db).begin(Asked("anna", BATCHES, key))
            clock.move(1)
        clock.move(KEPT.total_seconds() - 1)
        with pytest.raises(Stuck):
            await Gateway(platform).forget()
        assert await platform.db.read(lambda tx: list(tx.scalars(select(store.idempotency.c.key)))) == ["young"]


async def test_what_was_answered_about_an_essay_goes_with_it(house: House, anna: Teacher) -> None:
    batch_id = await anna.batch()
    url, ids = f"/batches/{batch_id}/essays", []
    for name in ("Zanzibar", "Quokka"):
        sent = {"files": [*parts(essay(), name=name), *parts("short", name=name)], "headers": {"Idempotency-Key": name}}
        ids.append((await anna.ask("POST", url, 201, **sent))["items"][0]["essay_id"])
    await anna.settled(batch_id, 2)

    async def kept() -> str:
        return str(await house.platform.db.read(lambda tx: tx.all(store.idempotency.select())))

    assert "Zanzibar" in await kept()
    await anna.ask("DELETE", f"{url}/{ids[0]}", 204)
    assert ("Zanzibar" in await kept(), "Quokka" in await kept()) == (False, True)
    await anna.settled(batch_id, 1)
    await anna.ask("DELETE", f"/batches/{batch_id}", 202)
    assert "Quokka" not in await kept()


@pytest.mark.parametrize("what", ["status", "essays"])
async def test_what_has_not_changed_is_not_sent_twice(house: House, anna: Teacher, what: str) -> None:
    batch_id = await anna.batch()
    await anna.until(batch_id, lambda found: bool(found["version"]))
    url = f"/v1/batches/{batch_id}/{what}"
    first = await anna.http.get(url)
    known = {"if-none-match": first.headers["etag"]}
    again = await anna.http.get(url, headers=known)
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    await anna.ask("POST", f"/batches/{batch_id}/essays", 201, files=parts(essay()))
    await anna.settled(batch_id, 1)
    await house.folded()
    changed = await anna.http.get(url, headers=known)
    assert (changed.status_code, changed.headers["etag"] != first.headers["etag"]) == (200, True)
    known = {"if-none-match": f'"other", W/{changed.headers["etag"]}'}
    assert (await anna.http.get(url, headers=known)).status_code == 304
    await house.platform.peer("aggregator").ask("POST", "/internal/v1/rebuild")
    assert (await anna.http.get(url, headers=known)).status_code == 200, "versions begin anew"


async def test_pages_neither_skip_nor_repeat_while_batches_come(anna: Teacher) -> None:
    batches = [await anna.batch(title=str(number)) for number in range(5)]
    for batch_id in batches:
        await anna.until(batch_id, lambda found: bool(found["version"]))
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        params = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = await anna.ask("GET", "/batches", 200, params=params)
        assert "user_id" not in page["items"][0]
        seen += [item["batch_id"] for item in page["items"]]
        cursor = page["next_cursor"]
        new = await anna.batch()
        await anna.until(new, lambda found: bool(found["version"]))
    assert seen == batches[::-1]
    for cursor in ("x", "1:2", batches[0].upper(), f"{{{batches[0]}}}"):
        assert_problem(await anna.http.get("/v1/batches", params={"cursor": cursor}), 422, "INVALID_CURSOR")
    ready = await anna.ask("GET", "/batches", 200, params={"status": "ready"})
    assert ready["items"] == []
    assert re.fullmatch(r"\d+:\d+", ready["live_cursor"])


async def test_what_was_uploaded_can_be_started_at_once(anna: Teacher) -> None:
    for _ in range(5):
        batch_id = await anna.batch(essay())
        run_id = await anna.start(batch_id)
        found = await anna.until(batch_id, lambda found: found["status"] == "processing")
        assert found["pipeline_state"]["phases"]["spellcheck"]["essay_counts"]["total"] == 1
        assert found["pipeline_state"]["run_id"] == run_id


async def test_an_essay_whose_text_is_going_is_not_there(house: House, anna: Teacher) -> None:
    batch_id = await anna.batch(essay())
    await anna.settled(batch_id, 1)
    essay_id = (await anna.ask("GET", f"/batches/{batch_id}/essays", 200))["items"][0]["essay_id"]
    await house.platform.blobs.delete(batch_id)
    assert_problem(await anna.http.get(f"/v1/batches/{batch_id}/essays/{essay_id}"), 404)


async def test_what_is_in_work_is_left_alone(anna: Teacher) -> None:
    same = essay()
    batch_id = await anna.batch(same)
    await anna.settled(batch_id, 1)
    essay_id = (await anna.ask("GET", f"/batches/{batch_id}/essays", 200))["items"][0]["essay_id"]
    told = await anna.ask("POST", f"/batches/{batch_id}/essays", 201, files=parts(same, name="copy"))
    refused = told["items"][0]
    assert (refused["status"], refused["code"], "'essay 1.txt'" in refused["detail"]) == ("refused", "DUPLICATE", True)
    await anna.start(batch_id)
    await anna.until(batch_id, lambda found: found["status"] == "processing")
    base = f"/v1/batches/{batch_id}"
    assert_problem(await anna.http.post(f"{base}/essays", files=parts(essay())), 409, "PROCESSING")
    assert_problem(await anna.http.delete(f"{base}/essays/{essay_id}"), 409, "INTAKE_CLOSED")
    assert_problem(await anna.http.patch(base, json={"title": "x"}), 409, "ALREADY_STARTED")
    assert_problem(await anna.http.post(f"{base}/retry"), 409, "PROCESSING")
    assert_problem(await anna.http.delete(base), 409, "PROCESSING")
