"""Between services: what passes, what stays, what is waited for, and what goes with a request."""

import asyncio
import socket
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from fastapi import APIRouter, Response
from stamina.instrumentation import set_on_retry_hooks
from starlette.types import ASGIApp
from structlog.testing import capture_logs
from typing_extensions import override

from huleedu.platform.context import bound, current, new_id
from huleedu.platform.errors import Conflict, Gone, NotFound, Problem, Unavailable
from huleedu.platform.http import (
    FAILURES,
    NOT_READY,
    REST_SECONDS,
    Peer,
    Refused,
    Stranger,
    internal_app,
    problem_response,
)
from huleedu.platform.keys import Keys
from huleedu.platform.settings import Settings

KEY = "the key"
PATIENT = 50.0
"""Seconds, more than a machine pauses."""
Answer = Callable[[], Awaitable[Any]]


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huleedu.platform.http.CONNECT_SECONDS", PATIENT)


async def refuse(problem: Problem) -> None:
    raise problem


def serving(answer: Answer) -> ASGIApp:
    """Return a service that answers so."""
    router = APIRouter()
    router.add_api_route("/internal/v1/things/{thing}", answer)
    return internal_app("things", [router], Keys(KEY))


def asking(answer: Answer, key: str = KEY, seconds: float = PATIENT) -> Peer:
    """Return the way to a service that answers so."""
    peer = Peer("things", key, Settings(bos_query_timeout_seconds=seconds))
    peer.connect(serving(answer))
    return peer


@pytest.mark.parametrize("status", [400, 401, 403, 405, 429, 500, 501, 502, 503, 504])
async def test_only_what_passes_by_itself_is_asked_again(status: int) -> None:
    asked = 0

    async def answer() -> Response:
        nonlocal asked
        asked += 1
        return Response(status_code=status)

    with pytest.raises(Problem) as raised:
        await asking(answer).ask("GET", "/internal/v1/things/x")
    passes = status in {429, 502, 503, 504}
    stays = Refused if status == 401 else Problem
    assert (type(raised.value), asked) == ((Unavailable, 3) if passes else (stays, 1))


async def test_a_service_that_breaks_or_knows_us_not_is_no_reason_to_wait() -> None:
    async def broken() -> None:
        raise ValueError

    for peer, kind in ((asking(broken), Problem), (asking(broken, key="another key"), Refused)):
        with pytest.raises(Problem) as raised:
            await peer.ask("GET", "/internal/v1/things/x")
        assert type(raised.value) is kind


async def test_what_a_service_refuses_is_refused_in_its_words() -> None:
    for refusal in (NotFound("Nothing."), Conflict("Not now.", code="LATER"), Gone("Over.")):
        with pytest.raises(type(refusal), match=refusal.detail) as raised:
            await asking(partial(refuse, refusal)).ask("GET", "/internal/v1/things/x")
        assert raised.value.code == refusal.code


@pytest.mark.parametrize("status", [200, 404])
@pytest.mark.parametrize("body", [b"<h1>The printer</h1>", b"\xff"])
async def test_what_is_no_answer_of_a_service_is_told_once_with_what_to_mend(status: int, body: bytes) -> None:
    async def answer() -> Response:
        return Response(body, status)

    with capture_logs() as told, pytest.raises(Stranger, match="HULEEDU_PEERS says that the service things is"):
        await asking(answer).ask("GET", "/internal/v1/things/x")
    assert [(line["event"], line["peer"], line["status"]) for line in told] == [("http.peer_fault", "things", status)]


@pytest.mark.parametrize("body", [b"", b"[]", b'["detail"]', b'{"detail": "Not Found"}'])
async def test_what_refuses_in_words_of_its_own_is_no_service(body: bytes) -> None:
    async def answer() -> Response:
        return Response(body, 404)

    with pytest.raises(Stranger):
        await asking(answer).ask("GET", "/internal/v1/things/x")


async def test_those_who_ask_again_do_not_all_do_so_at_the_same_moment() -> None:
    async def answer() -> Response:
        return Response(status_code=503)

    waits: list[float] = []
    set_on_retry_hooks([lambda retry: waits.append(retry.wait_for)])
    try:
        asked = (asking(answer).ask("GET", "/internal/v1/things/x") for _ in range(2))
        assert [type(error) for error in await asyncio.gather(*asked, return_exceptions=True)] == [Unavailable] * 2
    finally:
        set_on_retry_hooks(None)
    assert len({round(wait, 9) for wait in waits}) == len(waits) == 4


async def test_a_service_that_never_answers_is_given_up_also_in_this_process() -> None:
    with pytest.raises(Unavailable):
        await asking(asyncio.Event().wait, seconds=0.01).ask("GET", "/internal/v1/things/x")


@pytest.mark.parametrize("thing", ["x?y=1", "x#y", "..", ".", "%2e%2e", "x y", "", "x\n", "å"])
async def test_an_id_leads_nowhere_else(thing: str) -> None:
    async def answer() -> str:
        raise AssertionError("it was asked")

    for path in (f"/internal/v1/things/{thing}", f"/internal/v1/{thing}/x"):
        with pytest.raises(NotFound):
            await asking(answer).ask("GET", path)


async def test_what_is_bound_here_is_bound_there() -> None:
    async def answer() -> list[str]:
        context = current()
        return [str(value) for value in (context.service, context.batch_id, context.user_id, context.correlation_id)]

    correlation_id = new_id()
    with bound(batch_id="b1", user_id="u1", correlation_id=correlation_id):
        told = await asking(answer).ask("GET", "/internal/v1/things/x")
    assert told == ["things", "b1", "u1", str(correlation_id)]
    assert (await asking(answer).ask("GET", "/internal/v1/things/x"))[1:3] == ["None", "None"]


async def test_a_refused_stranger_is_told_under_which_id_to_ask() -> None:
    transport = httpx2.ASGITransport(serving(asyncio.Event().wait))
    async with httpx2.AsyncClient(transport=transport, base_url="http://things") as client:
        asked = {"x-correlation-id": str(new_id())}
        refused = await client.get("/internal/v1/ready", headers=asked)
        assert (refused.status_code, refused.json()["correlation_id"]) == (401, asked["x-correlation-id"])


@pytest.mark.parametrize(("shown", "status"), [("new", 404), ("old", 404), ("older", 401), ("", 401)])
async def test_while_the_key_is_changed_two_let_in(shown: str, status: int) -> None:
    transport = httpx2.ASGITransport(internal_app("things", [], Keys("new", ("old",))))
    async with httpx2.AsyncClient(transport=transport, base_url="http://things") as client:
        answer = await client.get("/internal/v1/things", headers={"authorization": f"Bearer {shown}"})
        assert answer.status_code == status


class Place:
    """Somewhere on this machine, where each request is answered with `says`, or with silence."""

    def __init__(self) -> None:
        self.asked = 0
        self.serving: set[asyncio.Task[None] | None] = set()
        self.says = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.serving.add(asyncio.current_task())
        with suppress(asyncio.IncompleteReadError, ConnectionError):  # of a client that has had enough
            await reader.readuntil(b"\r\n\r\n")
            self.asked += 1
            if self.says:
                writer.write(self.says)
            else:
                await reader.read()
            writer.close()
            await writer.wait_closed()


@asynccontextmanager
async def places(count: int, seconds: float = PATIENT) -> AsyncIterator[tuple[Peer, list[Place]]]:
    """Run a service in so many places; return the way to them."""
    found = [Place() for _ in range(count)]
    async with AsyncExitStack() as stack:
        servers = [await asyncio.start_server(place.serve, "127.0.0.1", 0) for place in found]
        for server in servers:
            await stack.enter_async_context(server)
        at = [f"things=http://127.0.0.1:{server.sockets[0].getsockname()[1]}" for server in servers]
        peer = Peer("things", KEY, Settings(peers=" ".join(at), bos_query_timeout_seconds=seconds))
        stack.push_async_callback(peer.aclose)
        yield peer, found
    await asyncio.gather(*(task for place in found for task in place.serving if task))


async def test_a_place_that_is_silent_is_given_up() -> None:
    async with places(1, seconds=0.3) as (peer, (place,)):
        place.says = b""
        with pytest.raises(Unavailable):
            await peer.ask("GET", "/internal/v1/things")


class Far(httpx2.AsyncBaseTransport):
    """Where each request is answered at once, or comes to nothing; then as much time has passed as it was given."""

    def __init__(self, time: SimpleNamespace) -> None:
        self.asked = 0
        self.fails: Exception | None = None
        self._time = time

    @override
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.asked += 1
        if self.fails is None:
            return httpx2.Response(200, json={})
        if isinstance(self.fails, TimeoutError):
            self._time.now += 3 * request.extensions["timeout"]["connect"]  # a third is for the connection
        raise self.fails


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What the way to a service takes for the time: it passes where somebody is silent."""
    time = SimpleNamespace(now=0.0)
    monkeypatch.setattr("huleedu.platform.http.time", SimpleNamespace(monotonic=lambda: time.now))
    return time


def far(time: SimpleNamespace, count: int) -> tuple[Peer, list[Far]]:
    """Return the way to a service in so many places, and the places."""
    found = [Far(time) for _ in range(count)]
    peer = Peer("things", KEY, Settings(bos_query_timeout_seconds=PATIENT))
    peer._ways = deque(peer._way(f"http://things-{place}", transport) for place, transport in enumerate(found))
    return peer, found


async def test_a_service_in_several_places_is_asked_in_turn_and_one_that_hangs_is_soon_let_be(
    time: SimpleNamespace,
) -> None:
    peer, (one, other) = far(time, 2)
    for _ in range(4):
        await peer.ask("GET", "/internal/v1/things")
    assert (one.asked, other.asked) == (2, 2)
    one.fails = TimeoutError()
    for _ in range(20):
        await peer.ask("GET", "/internal/v1/things")
    assert (one.asked, other.asked) == (2 + FAILURES, 2 + 20)


async def test_who_asks_again_asks_elsewhere_whoever_has_asked_meanwhile(time: SimpleNamespace) -> None:
    peer, (one, other) = far(time, 2)
    one.fails = TimeoutError()
    three = [peer.ask("GET", "/internal/v1/things") for _ in range(3)]
    assert await asyncio.gather(*three) == [{}] * 3
    assert (one.asked, other.asked) == (1, 3)


async def test_what_does_not_answer_is_not_waited_for_by_everybody_and_is_found_again(time: SimpleNamespace) -> None:
    peer, (place,) = far(time, 1)
    place.fails = TimeoutError()
    for asked in range(1, 6):
        with pytest.raises(Unavailable):
            await peer.ask("GET", "/internal/v1/things")
        assert place.asked == min(asked, FAILURES), "the whole time-out was waited for once"
    place.fails = None
    time.now += REST_SECONDS
    assert [await peer.ask("GET", "/internal/v1/things") for _ in range(3)] == [{}] * 3


async def test_what_may_be_done_once_only_is_asked_elsewhere_if_it_was_never_sent() -> None:
    async with places(1) as (live, (place,)):
        (address,) = (way.client.base_url for way in live._ways)
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            at = f"things=http://127.0.0.1:{nobody.getsockname()[1]} things={address}"
            peer = Peer("things", KEY, Settings(peers=at, bos_query_timeout_seconds=PATIENT))
            assert [await peer.ask("POST", "/internal/v1/things", retry=False) for _ in range(4)] == [{}] * 4
            assert place.asked == 4
            await peer.aclose()


def not_ready() -> bytes:
    """Return what a process answers that does not serve yet."""
    told = problem_response(Unavailable("Not yet.", code=NOT_READY))
    head = f"HTTP/1.1 503 Service Unavailable\r\ncontent-length: {len(told.body)}\r\nconnection: close\r\n\r\n"
    return head.encode() + bytes(told.body)


async def test_what_may_be_done_once_only_is_asked_elsewhere_if_who_was_asked_does_not_serve_yet() -> None:
    async with places(2) as (peer, (starting, serving)):
        starting.says = not_ready()
        assert [await peer.ask("POST", "/internal/v1/things", retry=False) for _ in range(4)] == [{}] * 4
        assert (starting.asked > 0, serving.asked) == (True, 4)

        async def streamed() -> AsyncIterator[bytes]:
            yield b"an essay"

        two = [peer.ask("POST", "/internal/v1/things", retry=False, content=streamed()) for _ in range(2)]
        assert {*map(type, await asyncio.gather(*two, return_exceptions=True))} == {dict, Unavailable}, "not sent twice"
        starting.says = starting.says.replace(NOT_READY.encode(), b"CANT_TELL")
        two = [peer.ask("POST", "/internal/v1/things", retry=False) for _ in range(2)]
        assert {*map(type, await asyncio.gather(*two, return_exceptions=True))} == {dict, Unavailable}


async def test_who_asked_a_service_hears_only_that_one_of_them_is_away() -> None:
    async with places(1) as (peer, (starting,)):
        starting.says = not_ready()
        with pytest.raises(Unavailable) as told:
            await peer.ask("GET", "/internal/v1/things")
    assert told.value.code == Unavailable.code, "for which the page has a sentence"


@pytest.mark.parametrize("fails", [httpx2.ReadError("lost"), TimeoutError()], ids=repr)
async def test_what_may_be_done_once_only_is_not_asked_again_if_it_may_have_been_done(
    time: SimpleNamespace, fails: Exception
) -> None:
    peer, found = far(time, 2)
    for place in found:
        place.fails = fails
    with pytest.raises(Unavailable):
        await peer.ask("POST", "/internal/v1/things", retry=False)
    assert sum(place.asked for place in found) == 1
