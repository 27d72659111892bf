"""Links, passwords, sessions, tokens and tickets: who is let in, until when, from where and how often."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from argon2 import PasswordHasher
from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from sqlalchemy import Row, select
from starlette.requests import HTTPConnection
from typing_extensions import override

from huleedu.gateway import rates, store
from huleedu.gateway.access import address
from huleedu.gateway.accounts import ABSOLUTE, FRESH, IDLE, LINK, SEEN, TICKET, Accounts, Kind
from huleedu.platform.db import ReadTx, metadata
from huleedu.platform.errors import Unauthenticated
from huleedu.services import ROSTER
from tests.given import ManualClock
from tests.system.house import House, Teacher, inhabited

HALF = "\ud800"
"""Half a character: JSON can say it, UTF-8 cannot."""
JSON = {"content-type": "application/json"}
PASSWORD, OTHER = "tre små grisar", "fyra små grisar"
HOUR = 3600
QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
"""What a password costs is no matter to most tests."""
HERE, FAR = "http://127.0.0.1:4001", "https://huleedu.school.se"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest_asyncio.fixture
async def house(tmp_path: Path, clock: ManualClock) -> AsyncIterator[House]:
    async with inhabited(tmp_path, without=ROSTER, clock=clock) as house:
        accounts_of(house)._hasher = QUICK
        yield house


@pytest_asyncio.fixture
async def anna(house: House) -> Teacher:
    return await house.teacher()


def accounts_of(house: House) -> Accounts:
    found: Accounts = house.public.state.access._accounts
    return found


async def sign_in(browser: httpx2.AsyncClient, **shown: str) -> str:
    """Return the code of what a browser is answered, and "" when it is signed in."""
    response = await browser.post("/v1/session", json=shown)
    return "" if response.status_code == 201 else str(response.json()["code"])


async def signed_in(browser: httpx2.AsyncClient) -> bool:
    return (await browser.get("/v1/me")).status_code == 200


async def with_password(anna: Teacher) -> httpx2.AsyncClient:
    browser = await anna.browser()
    assert (await browser.put("/v1/me/password", json={"password": PASSWORD})).status_code == 204
    return browser


async def credentials(house: House) -> list[Any]:
    return list(await house.platform.db.read(lambda tx: tx.all(select(store.credential))))


async def test_a_link_signs_in_once_even_if_many_use_it_at_once(house: House, anna: Teacher) -> None:
    link = await anna.link()
    browsers = [house.browser() for _ in range(8)]
    codes = await asyncio.gather(*(sign_in(browser, link=link) for browser in browsers))
    assert sorted(codes) == ["", *["LINK_UNUSABLE"] * 7]
    assert [await signed_in(browser) for browser in browsers] == [code == "" for code in codes]
    told = await browsers[codes.index("")].get("/v1/me")
    assert told.json() == {"email": anna.email, "name": "Anna Ek", "has_password": False}


async def test_a_link_runs_out(house: House, anna: Teacher, clock: ManualClock) -> None:
    late, link = await anna.link(), await anna.link()
    clock.move(LINK.total_seconds() - 1)
    assert await sign_in(house.browser(), link=link) == ""
    clock.move(1)
    assert await sign_in(house.browser(), link=late) == "LINK_UNUSABLE"


@pytest.mark.parametrize(
    ("pauses", "alive"),
    [
        ([IDLE.total_seconds() - 1] * 3, True),
        ([HOUR, IDLE.total_seconds()], False),
        ([*[10 * HOUR] * 71, 10 * HOUR - 1], True),
        ([10 * HOUR] * 72, False),
    ],
    ids=["used in time", "idle for too long", "used for a month", "used for longer"],
)
async def test_a_session_ends_by_disuse_and_after_a_month(
    anna: Teacher, clock: ManualClock, pauses: list[float], *, alive: bool
) -> None:
    browser = await anna.browser()
    for pause in pauses[:-1]:
        clock.move(pause)
        assert await signed_in(browser)
    clock.move(pauses[-1])
    assert await signed_in(browser) is alive
    assert ABSOLUTE.total_seconds() == 72 * 10 * HOUR


async def test_that_a_session_is_used_is_not_written_for_every_request(
    house: House, anna: Teacher, clock: ManualClock
) -> None:
    browser = await anna.browser()
    before = await credentials(house)
    clock.move(SEEN.total_seconds() - 1)
    assert await signed_in(browser)
    assert await credentials(house) == before
    clock.move(1)
    assert await signed_in(browser)
    assert await credentials(house) != before


async def test_signing_in_makes_a_new_session_and_ends_the_one_the_browser_showed(house: House, anna: Teacher) -> None:
    berit, browser = await house.teacher("Berit Öst"), await anna.browser()
    for teacher in (anna, berit):
        former = browser.cookies["huleedu"]
        assert await sign_in(browser, link=await teacher.link()) == ""
        assert browser.cookies["huleedu"] != former
        old = house.browser()
        old.cookies.set("huleedu", former)
        assert not await signed_in(old)
    assert (await browser.get("/v1/me")).json()["name"] == "Berit Öst"


async def test_the_cookie_is_for_this_host_and_no_script(house: House, anna: Teacher) -> None:
    for origin, expected in (
        (HERE, {"huleedu", "HttpOnly", "Path=/", "SameSite=lax"}),
        ("https://localhost:8443", {"__Host-huleedu", "HttpOnly", "Path=/", "SameSite=lax", "Secure"}),
    ):
        response = await house.browser(origin).post("/v1/session", json={"link": await anna.link()})
        name, _, rest = response.headers["set-cookie"].partition("=")
        assert {name, *rest.split("; ")[1:]} == expected
    secure = await anna.browser("https://localhost:8443")
    plain = house.browser()
    plain.cookies.set("__Host-huleedu", secure.cookies["__Host-huleedu"])
    assert (await signed_in(secure), await signed_in(plain)) == (True, False)


async def test_signing_out_here_and_everywhere(house: House, anna: Teacher) -> None:
    first, second, berit = await anna.browser(), await anna.browser(), await (await house.teacher()).browser()
    link = await anna.link()
    response = await first.delete("/v1/session")
    assert response.status_code == 204
    assert "huleedu" not in first.cookies
    assert [await signed_in(browser) for browser in (first, second)] == [False, True]
    assert (await second.delete("/v1/sessions")).status_code == 204
    assert not await signed_in(second)
    assert await sign_in(house.browser(), link=link) == "LINK_UNUSABLE"
    assert (await anna.http.get("/v1/me")).status_code == 200, "her programs go on"
    assert await signed_in(berit)


async def test_a_password_signs_in_however_its_letters_are_typed(house: House, anna: Teacher) -> None:
    assert (await (await with_password(anna)).get("/v1/me")).json()["has_password"]
    for typed in (PASSWORD, PASSWORD.replace("å", "a\N{COMBINING RING ABOVE}")):
        assert await sign_in(house.browser(), email=f" {anna.email.upper()}", password=typed) == ""
    assert await sign_in(house.browser(), email=anna.email, password=PASSWORD.upper()) == "SIGN_IN_FAILED"


class Counting(PasswordHasher):
    """Counts how much it was made to work."""

    worked = 0

    @override
    def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
        self.worked += 1
        return super().hash(password, salt=salt)

    @override
    def verify(self, hash: str | bytes, password: str | bytes) -> Any:
        self.worked += 1
        return super().verify(hash, password)


async def test_nobody_can_tell_whether_an_address_has_an_account(house: House, anna: Teacher) -> None:
    berit, cilla = await house.teacher(), await house.teacher()
    await with_password(anna)
    await with_password(cilla)
    await house.operate("/disable", email=cilla.email)
    hasher = accounts_of(house)._hasher = Counting()
    answers = []
    for email in (anna.email, berit.email, cilla.email, "nobody@school.se", ""):
        response = await house.browser().post("/v1/session", json={"email": email, "password": OTHER})
        answers.append({**response.json(), "correlation_id": "", "status": response.status_code})
        answers[-1]["worked"], hasher.worked = hasher.worked, 0
    assert answers == [answers[0]] * 5
    assert (answers[0]["status"], answers[0]["code"], answers[0]["worked"]) == (401, "SIGN_IN_FAILED", 1)


async def test_a_password_is_hashed_anew_when_the_parameters_have_changed(house: House, anna: Teacher) -> None:
    await with_password(anna)
    ours = Accounts(house.platform.db, house.platform.backplane, rates.Rates(MemoryStorage()))
    accounts_of(house)._hasher = ours._hasher
    for _ in range(2):
        assert await sign_in(house.browser(), email=anna.email, password=PASSWORD) == ""
        row = await house.platform.db.read(lambda tx: store.account_of(tx, anna.email))
        assert row.password.startswith("$argon2id$v=19$m=65536,t=3,p=4$")


async def test_who_may_set_a_password(house: House, anna: Teacher, clock: ManualClock) -> None:
    async def tried(browser: httpx2.AsyncClient, **body: str) -> str:
        response = await browser.put("/v1/me/password", content=json.dumps(body), headers=JSON)
        return "" if response.status_code == 204 else str(response.json()["code"])

    browser, elsewhere = await anna.browser(), await anna.browser()
    link = await anna.link()
    assert await tried(browser, password="nine char") == "PASSWORD_UNFIT"
    assert await tried(browser, password="x" * 201) == "PASSWORD_UNFIT"
    for sent in (HALF * 10, "x" * 1_001):
        assert await tried(browser, password=sent) == "INVALID_REQUEST"
        assert await tried(browser, current=sent, password=PASSWORD) == "INVALID_REQUEST"
    assert await tried(browser, password=PASSWORD) == ""
    assert (await signed_in(browser), await signed_in(elsewhere)) == (True, False), "other sessions end"
    assert await sign_in(house.browser(), link=link) == "LINK_UNUSABLE"
    assert await tried(browser, password=OTHER) == "", "she has just come by a link: she may have forgotten it"
    clock.move(FRESH.total_seconds())
    by_password = house.browser()
    assert await sign_in(by_password, email=anna.email, password=OTHER) == ""
    for later in (browser, by_password):
        assert await tried(later, password=PASSWORD) == "CURRENT_PASSWORD_NEEDED"
        assert await tried(later, current=PASSWORD, password=PASSWORD) == "WRONG_PASSWORD"
    assert await tried(by_password, current=OTHER, password=PASSWORD) == ""
    assert await tried(anna.http, password=OTHER) == "SESSION_NEEDED"
    for path in ("/v1/session", "/v1/sessions"):
        assert (await anna.http.delete(path)).json()["code"] == "SESSION_NEEDED"


async def test_a_session_that_ends_meanwhile_sets_no_password(house: House, anna: Teacher) -> None:
    browser = await anna.browser()
    teacher = await accounts_of(house).verify(browser.cookies["huleedu"], Kind.SESSION)
    await browser.delete("/v1/session")
    with pytest.raises(Unauthenticated):
        await accounts_of(house).set_password(teacher, None, PASSWORD, "")


async def test_a_disabled_account_lets_nobody_in(house: House, anna: Teacher) -> None:
    browser, link = await with_password(anna), await anna.link()
    await house.operate("/disable", email=anna.email)
    for _ in range(2):
        assert await sign_in(house.browser(), email=anna.email, password=PASSWORD) == "SIGN_IN_FAILED"
        assert not await signed_in(browser)
        assert (await anna.http.get("/v1/me")).status_code == 401
        assert await sign_in(house.browser(), link=link) == "LINK_UNUSABLE"
        await house.operate("/disable", email=anna.email, undo=True)  # what has ended does not come back
    assert not (await (await anna.browser()).get("/v1/me")).json()["has_password"], "who knows it may be the thief"


async def test_a_ticket_is_used_once_and_soon_and_ends_with_what_it_was_got_with(
    house: House, anna: Teacher, clock: ManualClock
) -> None:
    async def got(holder: httpx2.AsyncClient) -> str:
        told = (await holder.post("/v1/live/ticket")).json()
        assert told["expires_in"] == TICKET.total_seconds()
        return str(told["ticket"])

    async def opens(ticket: str) -> bool:
        try:
            return (await accounts_of(house).redeem(ticket)).user_id == anna.user_id
        except Unauthenticated:
            return False

    browser = await anna.browser()
    for holder in (browser, anna.http):
        ticket = await got(holder)
        assert [await opens(ticket) for _ in range(2)] == [True, False]
        late = await got(holder)
        clock.move(TICKET.total_seconds())
        assert not await opens(late)
    ticket = await got(browser)
    assert sorted(await asyncio.gather(*(opens(ticket) for _ in range(4)))) == [False, False, False, True]
    orphan = await got(browser)
    await browser.delete("/v1/session")
    assert not await opens(orphan)
    assert not await opens(await anna.link())


EVIL = "http://evil.example:4001"
FROM_HERE = [
    (HERE, {"origin": HERE}, True),
    ("http://localhost:53210", {"origin": "http://localhost:53210"}, True),
    ("http://[::1]:4001", {"origin": "http://[::1]:4001"}, True),
    ("http://teacher-pc:4001", {"origin": "http://teacher-pc:4001"}, True),
    (HERE, {"sec-fetch-site": "same-origin"}, True),
    (HERE, {}, False),
    (HERE, {"origin": "null"}, False),
    (HERE, {"origin": ""}, False),
    (HERE, {"origin": "http://127.0.0.1:8000"}, False),
    (HERE, {"origin": "https://127.0.0.1:4001"}, False),
    (HERE, {"origin": "http://localhost:4001"}, False),
    (HERE, {"origin": EVIL, "sec-fetch-site": "same-origin"}, False),
    (HERE, {"sec-fetch-site": "same-site"}, False),
    (HERE, {"sec-fetch-site": "cross-site"}, False),
    (HERE, {"sec-fetch-site": "none"}, False),
    (EVIL, {"origin": EVIL}, False),
    (EVIL, {"sec-fetch-site": "same-origin"}, False),
    ("http://127.0.0.1.evil.example", {"origin": "http://127.0.0.1.evil.example"}, False),
]
FROM_FAR = [
    (HERE, {"origin": FAR}, True),
    (FAR, {"origin": FAR}, True),
    (FAR, {"origin": f"{FAR}.evil.example"}, False),
    (FAR, {"origin": "http://huleedu.school.se"}, False),
    (FAR, {"origin": f"{FAR}:8443"}, False),
    (HERE, {"origin": HERE}, False),
]


@pytest.mark.parametrize(("public", "cases"), [("", FROM_HERE), (FAR, FROM_FAR)], ids=["here", "far"])
async def test_a_cookie_counts_from_our_own_page_only(
    tmp_path: Path, public: str, cases: list[tuple[str, dict[str, str], bool]]
) -> None:
    async with inhabited(tmp_path, without=ROSTER, public_url=public, host="teacher-pc") as house:
        anna = await house.teacher()
        bearer = {"authorization": f"Bearer {anna.token}"}
        ((name, session),) = (await anna.browser(public or HERE)).cookies.items()
        cookie = {"cookie": f"{name}={session}"}
        for base, told, allowed in cases:
            page = httpx2.AsyncClient(transport=httpx2.ASGITransport(house.public), base_url=base, headers=told)
            assert (await page.get("/v1/me", headers=cookie)).status_code == 200, "whoever reads it, we change nothing"
            for method, path in (("POST", "/v1/live/ticket"), ("PUT", "/v1/me/password"), ("DELETE", "/v1/batches/x")):
                response = await page.request(method, path, headers=cookie)
                assert (response.status_code != 403) is allowed, (base, told, path)
                assert allowed or response.json()["code"] == "CROSS_ORIGIN"
            expected = "" if allowed else "CROSS_ORIGIN"
            assert await sign_in(page, link=await anna.link()) == expected, (base, told)
            response = await page.post("/v1/live/ticket", headers=cookie | bearer)
            assert response.status_code == 201, "a token goes along with nothing"


async def test_a_token_is_judged_by_itself(house: House, anna: Teacher) -> None:
    browser = await anna.browser()
    for wrong in ("Bearer x", f"Basic {anna.token}", "", f"Bearer {browser.cookies['huleedu']}"):
        assert (await browser.get("/v1/me", headers={"authorization": wrong})).status_code == 401
    token = house.browser()
    token.cookies.set("huleedu", anna.token)
    assert not await signed_in(token)
    assert await sign_in(token, link=anna.token) == "LINK_UNUSABLE"


async def test_tries_at_a_password_are_counted_by_account(house: House, anna: Teacher) -> None:
    await with_password(anna)
    link = await anna.link()
    tries = [await sign_in(house.browser(), email=anna.email, password=OTHER) for _ in range(6)]
    assert tries == [*["SIGN_IN_FAILED"] * 5, "TOO_MANY_ATTEMPTS"]
    told = await house.browser().post("/v1/session", json={"email": anna.email, "password": PASSWORD})
    assert (told.status_code, told.json()["code"]) == (429, "TOO_MANY_ATTEMPTS"), "the right one tells nothing either"
    assert 0 < int(told.headers["retry-after"]) <= 15 * 60
    assert await sign_in(house.browser(), link=link) == "", "a link lets her in all the same"
    berit = await house.teacher()
    await with_password(berit)
    assert await sign_in(house.browser(), email=berit.email, password=PASSWORD) == ""


async def test_tries_at_passwords_at_once_are_counted_too(house: House, anna: Teacher) -> None:
    tries = await asyncio.gather(*(sign_in(house.browser(), email=anna.email, password=OTHER) for _ in range(30)))
    assert tries.count("SIGN_IN_FAILED") <= 6


async def test_tries_at_passwords_are_counted_by_address(
    house: House, anna: Teacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "ADDRESS", RateLimitItemPerMinute(3, 15, namespace="address"))
    await with_password(anna)
    for _ in range(5):
        assert await sign_in(house.browser(), email=anna.email, password=PASSWORD) == "", "the right one costs nothing"
    tries = [await sign_in(house.browser(), email=f"{number}@x", password=OTHER) for number in range(4)]
    assert tries == [*["SIGN_IN_FAILED"] * 3, "TOO_MANY_ATTEMPTS"]
    assert await sign_in(house.browser(), link=await anna.link()) == ""


@pytest.mark.parametrize(
    ("host", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::9", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_who_has_one_address_of_a_network_has_all_of_them(host: str, counted: str) -> None:
    assert address(HTTPConnection({"type": "http", "client": (host, 4001)})) == counted


async def test_requests_are_counted_by_teacher_and_those_of_strangers_by_address(
    house: House, anna: Teacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    berit, browser = await house.teacher(), await anna.browser()
    monkeypatch.setattr(rates, "TEACHER", RateLimitItemPerMinute(4))
    monkeypatch.setattr(rates, "STRANGER", RateLimitItemPerMinute(3))
    answers = [await client.get("/v1/me") for client in (anna.http, browser) * 3]
    assert [answer.status_code for answer in answers] == [200] * 4 + [429] * 2
    told = answers[-1]
    assert (told.json()["code"], 0 < int(told.headers["retry-after"]) <= 60) == ("TOO_MANY_REQUESTS", True)
    strangers = [await house.http().get("/v1/me") for _ in range(4)]
    assert [answer.status_code for answer in strangers] == [401] * 3 + [429]
    assert (await berit.http.get("/v1/me")).status_code == 200
    told = await house.browser().post("/v1/session", json={"link": "hule_x"})
    assert (told.status_code, 0 < int(told.headers["retry-after"]) <= 60) == (429, True)
    assert await sign_in(house.browser(), link=await berit.link()) == "", "nobody is kept from signing in"


async def test_a_wrong_link_is_counted_and_asks_no_writer(
    house: House, anna: Teacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "STRANGER", RateLimitItemPerMinute(3))
    link = await anna.link()
    written: list[object] = []
    with pytest.MonkeyPatch.context() as watched:
        watched.setattr(house.platform.db, "write", written.append)
        tries = [await sign_in(house.browser(), link=wrong) for wrong in ("hule_x", "", anna.token, "hule_x")]
    assert written == []
    assert tries == [*["LINK_UNUSABLE"] * 3, "TOO_MANY_REQUESTS"]
    assert await sign_in(house.browser(), link=link) == ""


def _dump(tx: ReadTx) -> str:
    return "\n".join(str(row) for table in metadata.sorted_tables for row in tx.all(select(table)))


def _kept(tx: ReadTx) -> list[Row[Any]]:
    credential, account = store.credential.c, store.account.c
    return [
        *tx.all(select(credential.hash, credential.made_of)),
        *tx.all(select(account.user_id, account.password)),
    ]


async def test_the_database_lets_nobody_in(house: House, anna: Teacher) -> None:
    browser, link = await with_password(anna), await anna.link()
    ticket = (await browser.post("/v1/live/ticket")).json()["ticket"]
    secrets = [anna.token, link, ticket, browser.cookies["huleedu"], PASSWORD]
    dump, kept = await house.platform.db.read(lambda tx: (_dump(tx), _kept(tx)))
    assert anna.email in dump
    assert {row.kind for row in await credentials(house)} == set(Kind)
    assert not [secret for secret in secrets if secret in dump]
    for value in {value for row in kept for value in row if value}:
        assert (await house.http(value).get("/v1/me")).status_code == 401
        thief = house.browser()
        assert await sign_in(thief, link=value) == "LINK_UNUSABLE"
        thief.cookies.set("huleedu", value)
        assert not await signed_in(thief)
        with pytest.raises(Unauthenticated):
            await accounts_of(house).redeem(value)


async def test_what_has_run_out_is_not_kept(house: House, anna: Teacher, clock: ManualClock) -> None:
    for _ in range(5):
        await (await anna.browser()).post("/v1/live/ticket")
        await anna.link()
    clock.move(LINK.total_seconds())
    await anna.link()
    assert sorted(row.kind for row in await credentials(house)) == [Kind.LINK, Kind.TOKEN]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"link": 1},
        {"link": "x", "email": "a@b"},
        {"email": "a@b"},
        {"email": "a@b", "password": None},
        [],
        {"link": HALF},
        {"link": "x" * 201},
        {"email": f"a@b{HALF}", "password": "x"},
        {"email": f"a@b{'x' * 318}", "password": "x"},
        {"email": "a@b", "password": HALF},
        {"email": "a@b", "password": "x" * 1_001},
        {HALF: "a@b"},
    ],
)
async def test_what_is_no_sign_in_is_refused_and_not_quoted(house: House, body: Any) -> None:  # noqa: ANN401
    response = await house.browser().post("/v1/session", content=json.dumps(body), headers=JSON)
    assert (response.status_code, response.json()["code"]) == (422, "INVALID_REQUEST")
    assert "a@b" not in response.text
