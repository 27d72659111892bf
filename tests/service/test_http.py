"""Between services: what passes, what stays, what is waited for, and what goes with a request."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import httpx2
import pytest
from fastapi import APIRouter, Response
from starlette.types import ASGIApp

from huleedu.platform.context import bound, current, new_id
from huleedu.platform.errors import Conflict, Gone, NotFound, Problem, Unavailable
from huleedu.platform.http import Peer, internal_app
from huleedu.platform.settings import Settings

KEY = "the key"
Answer = Callable[[], Awaitable[Any]]


async def refuse(problem: Problem) -> None:
    raise problem


def serving(answer: Answer) -> ASGIApp:
    """Return a service that answers so."""
    router = APIRouter()
    router.add_api_route("/internal/v1/things/{thing}", answer)
    return internal_app("things", [router], KEY)


def asking(answer: Answer, key: str = KEY, seconds: float = 5) -> Peer:
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
    assert (type(raised.value), asked) == ((Unavailable, 3) if passes else (Problem, 1))


async def test_a_service_that_breaks_or_knows_us_not_is_no_reason_to_wait() -> None:
    async def broken() -> None:
        raise ValueError

    for peer in (asking(broken), asking(broken, key="another key")):
        with pytest.raises(Problem) as raised:
            await peer.ask("GET", "/internal/v1/things/x")
        assert type(raised.value) is Problem


async def test_what_a_service_refuses_is_refused_in_its_words() -> None:
    for refusal in (NotFound("Nothing."), Conflict("Not now.", code="LATER"), Gone("Over.")):
        with pytest.raises(type(refusal), match=refusal.detail) as raised:
            await asking(partial(refuse, refusal)).ask("GET", "/internal/v1/things/x")
        assert raised.value.code == refusal.code


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


async def test_a_refused_stranger_is_told_under_which_id_to_ask_and_every_service_says_that_it_is_ready() -> None:
    transport = httpx2.ASGITransport(serving(asyncio.Event().wait))
    async with httpx2.AsyncClient(transport=transport, base_url="http://things") as client:
        asked = {"x-correlation-id": str(new_id())}
        refused = await client.get("/internal/v1/ready", headers=asked)
        assert (refused.status_code, refused.json()["correlation_id"]) == (401, asked["x-correlation-id"])
        ready = await client.get("/internal/v1/ready", headers={"authorization": f"Bearer {KEY}"})
        assert ready.status_code == 200
