"""What a browser is given: the page, the description of the interface, and the headers that every answer has."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
import pytest_asyncio
from limits import RateLimitItemPerMinute

from huleedu.gateway import headers, rates
from huleedu.gateway.handlers import Gateway
from huleedu.gateway.page import FOR_PROGRAMS, PageFiles
from tests.system.house import House, Teacher, inhabited

pytestmark = pytest.mark.asyncio(loop_scope="module")
HTML = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
SCRIPT = "/assets/index-B1a2c3.js"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(engine: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:  # noqa: ARG001 -- one for each
    async with inhabited(tmp_path_factory.mktemp("page"), without=["phases"]) as house:
        yield house


@pytest_asyncio.fixture(loop_scope="module")
async def anna(house: House) -> Teacher:
    return await house.teacher()


@pytest.fixture
def built(house: House, tmp_path: Path) -> None:
    """Make a page that was built."""
    for name, text in (("index.html", "<!doctype html>"), (SCRIPT[1:], "1"), ("favicon.svg", "<svg/>"), ("v1/x", "")):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    (tmp_path.parent / "secret.txt").write_text("not meant")
    house.public.router.default = PageFiles(tmp_path)


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize(
    ("path", "kind", "kept"),
    [
        ("/", "text/html", "no-cache"),
        ("/index.html", "text/html", "no-cache"),
        ("/batches/0198c0de", "text/html", "no-cache"),
        ("/sign-in", "text/html", "no-cache"),
        ("/v10", "text/html", "no-cache"),
        (SCRIPT, "javascript", "public, max-age=31536000, immutable"),
        ("/favicon.svg", "image/svg+xml", "no-cache"),
    ],
)
async def test_the_page_is_served_and_kept_as_it_may_be(house: House, path: str, kind: str, kept: str) -> None:
    browser = house.browser()
    response = await browser.get(path, headers=HTML)
    assert (response.status_code, response.headers["cache-control"]) == (200, kept)
    assert kind in response.headers["content-type"]
    known = {"if-none-match": response.headers["etag"]}
    again = await browser.get(path, headers=HTML | known)
    assert (again.status_code, again.headers["cache-control"]) == (304, kept)
    assert (await browser.head(path, headers=HTML)).status_code == 200


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        *(("GET", f"/{name}/x", 404) for name in sorted(FOR_PROGRAMS)),
        ("GET", "/v1", 404),
        ("GET", "/assets/index-gone.js", 404),
        ("GET", "/%00", 200),
        ("GET", "/..%2fsecret.txt", 200),
        ("GET", "/%2e%2e/secret.txt", 200),
        ("POST", "/", 404),
        ("DELETE", "/batches/x", 404),
        ("PUT", "/v1/batches", 405),
    ],
)
async def test_what_is_not_the_pages_is_not_answered_with_it(house: House, method: str, path: str, status: int) -> None:
    response = await house.browser().request(method, path, headers=HTML)
    kind = "text/html; charset=utf-8" if status == 200 else "application/problem+json"
    assert (response.status_code, response.headers["content-type"]) == (status, kind)
    assert "not meant" not in response.text


@pytest.mark.usefixtures("built")
async def test_a_program_that_errs_is_told_so(house: House) -> None:
    browser = house.browser()
    assert (await browser.get("/batches/x", headers={"accept": "application/json"})).status_code == 404
    assert (await browser.get("/batches/x", headers={"accept": "*/*"})).status_code == 404
    assert (await browser.get("/", headers={"accept": "*/*"})).text == "<!doctype html>"


async def test_without_a_page_it_says_how_to_build_one(house: House, anna: Teacher, tmp_path: Path) -> None:
    house.public.router.default = PageFiles(tmp_path / "nothing")
    for path in ("/", "/batches/x"):
        response = await house.browser().get(path, headers=HTML)
        assert (response.status_code, response.json()["code"]) == (404, "PAGE_NOT_BUILT")
        assert "make setup" in response.json()["detail"]
    await anna.ask("GET", "/batches", 200)


async def test_the_description_runs_its_own_script_and_nothing_from_outside(house: House) -> None:
    response = await house.browser().get("/docs")
    policy = response.headers["content-security-policy"]
    assert re.search(r"script-src 'sha256-[\w+/]{43}=' 'self';", policy)
    assert "unsafe" not in policy
    found = re.findall(r'(?:src|href)="([^"]+)"', response.text)
    assert len(found) == 3
    for path in found:
        assert (await house.browser().get(path)).status_code == 200


async def every_kind(house: House, anna: Teacher, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx2.Response]:
    """Yield an answer of each kind that there is."""
    browser = house.browser()
    for body in ({"link": await anna.link()}, {"link": "x"}, {}):
        yield await browser.post("/v1/session", json=body)
    batch_id = await anna.batch()
    status = f"/v1/batches/{batch_id}/status"
    await anna.until(batch_id, lambda found: bool(found["version"]))
    yield (found := await browser.get(status))
    yield await browser.get(status, headers={"if-none-match": found.headers["etag"]})
    yield await browser.get(f"/v1/batches/{batch_id}/essays")
    yield await browser.delete("/v1/session", headers={"origin": "http://evil.example"})
    yield await browser.put("/v1/batches")
    yield await browser.post("/v1/batches", content=b"x" * (2**20 + 1))
    for path in ("/", SCRIPT, "/docs", "/openapi.json", "/healthz", "/readyz", "/static-offline-docs/swagger-ui.css"):
        yield await browser.get(path)
    yield await browser.get("/v1/nowhere")
    with monkeypatch.context() as broken:
        broken.setattr(Gateway, "batches", None)
        yield await browser.get("/v1/batches")
        broken.setattr(rates, "TEACHER", RateLimitItemPerMinute(0))
        yield await browser.get("/v1/batches")
    yield await browser.delete("/v1/sessions")


@pytest.mark.usefixtures("built")
async def test_every_answer_has_the_headers(house: House, anna: Teacher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huleedu.platform.readiness.ANSWER_SECONDS", 30)
    seen = set()
    async for response in every_kind(house, anna, monkeypatch):
        seen.add(response.status_code)
        for name, value in headers.HEADERS.items():
            own = name == "Content-Security-Policy" and response.url.path == "/docs"
            assert own or response.headers[name] == value, (response.url, name)
        page = response.url.path in {"/", SCRIPT}
        expected = headers.REVALIDATED if "etag" in response.headers else headers.NOT_KEPT
        assert page or response.headers["cache-control"] == expected, response.url
        assert "strict-transport-security" not in response.headers
    assert seen == {200, 201, 204, 304, 401, 403, 404, 405, 413, 422, 429, 500}


async def test_over_tls_browsers_are_told_to_stay_with_it(house: House, tmp_path: Path) -> None:
    assert (await house.browser("https://localhost").get("/healthz")).headers["strict-transport-security"]
    async with inhabited(tmp_path, without=["phases"], public_url="https://huleedu.school.se") as far:
        assert (await far.http().get("/healthz")).headers["strict-transport-security"]
