"""HTTP between services and towards clients: one error shape, one context, one credential check, one client.

In one process the same client runs over an in-process transport, so there is no second code path.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections import deque
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import httpx2
import stamina
import structlog
from fastapi import FastAPI, Header, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.telemetry import TelemetryConfig
from opentelemetry.trace import SpanKind
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from huleedu.platform.context import bound, current, new_id
from huleedu.platform.errors import (
    Conflict,
    Gone,
    NotFound,
    Problem,
    TooLarge,
    Unauthenticated,
    Unavailable,
    Unprocessable,
)
from huleedu.platform.metrics import HTTP_SECONDS, METHODS
from huleedu.platform.tracing import span

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fastapi import APIRouter
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from huleedu.platform.keys import Keys
    from huleedu.platform.settings import Settings

log = structlog.get_logger()
TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
PLACE = re.compile(r"(/[\w:-]+)+", re.ASCII)
"""Paths of internal routes: plain names, so that an id from outside leads nowhere else."""
BY_STATUS: dict[int, type[Problem]] = {
    problem.status: problem for problem in (NotFound, Conflict, Gone, Unprocessable, TooLarge)
}
AWAY = frozenset({429, 502, 503, 504})
"""Statuses of a service that will answer in a moment; any other stays as it is, however often it is asked."""
NOT_READY = "NOT_READY"
"""What a process answers until it serves. It is between processes: whoever asked one of them hears that it is away."""
CONNECT_SECONDS = 2.0
FAILURES, REST_SECONDS = 3, 2.0
"""So often in a row a service may not answer; then for so long it is not asked, and then by one request at a time."""
UNSENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
UNTOLD: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False}
"""What FastAPI would tell by itself: it quotes the query and what exceptions say. `_observed` does not."""
UserId = Annotated[str, Header(alias="x-user-id")]
"""Who asks, as the service that verified it tells."""


class Bound:
    """ASGI middleware that binds who asks and because of what, from the headers of another service or anew."""

    def __init__(self, app: ASGIApp, *, service: str, trusted: bool) -> None:
        self._app = app
        self._service = service
        self._trusted = trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request in its context."""
        if scope["type"] not in {"http", "websocket"}:
            return await self._app(scope, receive, send)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        told = headers if self._trusted else {}
        fields: dict[str, Any] = {
            "service": self._service,
            "correlation_id": _uuid(headers.get("x-correlation-id")) or new_id(),
            "causation_id": None,
            "batch_id": told.get("x-batch-id") or None,
            "user_id": told.get("x-user-id") or None,
            "traceparent": _traceparent(headers.get("traceparent")),
        }
        with bound(**fields):
            if scope["type"] == "http":
                return await _observed(self._app, scope, receive, send)
            return await self._app(scope, receive, send)


async def _observed(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve the request as a step of its trace, and count it by its route, whose name holds nothing of the address.

    A fault is answered here, where it is known whose request it was.
    """
    status, started = 0, time.perf_counter()

    async def noted(message: Message) -> None:
        nonlocal status
        status = message.get("status", status)
        await send(message)

    method = scope["method"] if scope["method"] in METHODS else "other"
    with span(method, SpanKind.SERVER) as step:
        try:
            await app(scope, receive, noted)
        except ClientDisconnect:
            log.info("http.client_gone")
        except Exception as error:
            if status:
                raise  # the server tells it and closes the connection
            await _faulty(scope, error)(scope, receive, noted)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            step.update_name(f"{method} {route}")
            step.set_attributes({"http.route": route, "http.response.status_code": status})
            told = (current().service, method, route, f"{status // 100}xx" if status else "none")
            HTTP_SECONDS.labels(*told).observe(time.perf_counter() - started)


def _faulty(scope: Scope, error: Exception) -> JSONResponse:
    """Tell of a fault, and return what the client is answered."""
    known = {"batch_id": scope.get("path_params", {}).get("batch_id"), **scope.get("state", {})}
    with bound(**{name: known[name] for name in ("batch_id", "user_id") if known.get(name)}):
        log.error("http.fault", cause=type(error).__name__, exc_info=error)
    return problem_response(Problem("Something went wrong here. Try again; if it stays so, tell your IT."))


class Credential:
    """ASGI middleware that lets in only who shows a service key."""

    def __init__(self, app: ASGIApp, *, keys: Keys) -> None:
        self._app = app
        self._expected = [f"Bearer {key}".encode() for key in (keys.service, *keys.former)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request, or answer 401."""
        shown = dict(scope.get("headers", ())).get(b"authorization", b"")
        known = any(secrets.compare_digest(shown, expected) for expected in self._expected)
        if scope["type"] == "http" and not known:
            answer = problem_response(Unauthenticated("This address is for services that show their credential."))
            return await answer(scope, receive, send)
        return await self._app(scope, receive, send)


def internal_app(service: str, routes: Iterable[APIRouter], keys: Keys) -> ASGIApp:
    """Return a service's internal application: never on the public listener, credential required."""
    app = FastAPI(title=service, openapi_url=None, telemetry=UNTOLD)
    for router in routes:
        app.include_router(router)
    answer_problems(app)
    return Bound(Credential(app, keys=keys), service=service, trusted=True)


def answer_problems(app: FastAPI) -> None:
    """Answer every error as RFC 9457 problem details."""

    @app.exception_handler(Problem)
    async def on_problem(_request: Request, problem: Problem) -> JSONResponse:
        return problem_response(problem)

    @app.exception_handler(RequestValidationError)
    async def on_invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        said = "; ".join(f"{'.'.join(map(str, problem['loc'][1:]))}: {problem['msg']}" for problem in error.errors())
        return problem_response(Unprocessable(f"The request does not fit: {said[:500]}.", code="INVALID_REQUEST"))

    @app.exception_handler(HTTPException)
    async def on_http(_request: Request, error: HTTPException) -> JSONResponse:
        if isinstance(error.__cause__, Problem):  # found while the body was read
            return problem_response(error.__cause__)
        status = HTTPStatus(error.status_code)
        found = Problem(f"{status.description or status.phrase}.", code=status.name)
        found.status = status
        return problem_response(found)


def problem_response(problem: Problem) -> JSONResponse:
    """Return a problem as its answer."""
    correlation_id = current().correlation_id
    body = {
        "type": "about:blank",
        "title": problem.status.phrase,
        "status": problem.status.value,
        "code": problem.code,
        "detail": problem.detail,
        "correlation_id": str(correlation_id) if correlation_id else None,
    }
    headers = {"Retry-After": str(problem.retry_after_s)} if problem.retry_after_s else {}
    if problem.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(body, problem.status, headers, media_type="application/problem+json")


class Unreached(Unavailable):
    """It does not even know that it was asked, so it may be asked again, whatever it was."""


class Unready(Unreached):
    """It does not serve yet: of what it was asked it has done nothing."""


class Refused(Problem):
    """It does not know the key that was shown to it: the operator must mend that, not who asked."""


class Stranger(Problem):
    """Something else answers where the service is said to be: the operator must mend that, not who asked."""


class Way:
    """One of the places where a service answers. One that does not is let be for a moment: nobody waits for it."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self.client = client
        self._failures = 0
        self._resting_until = 0.0

    def open(self) -> bool:
        """Whether to ask here. After a rest one may, and the others wait for what that one finds."""
        now = time.monotonic()
        if self._failures < FAILURES:
            return True
        if now < self._resting_until:
            return False
        self._resting_until = now + REST_SECONDS
        return True

    def found(self, *, answering: bool) -> None:
        """Note whether there was an answer, of whatever kind."""
        self._failures = 0 if answering else self._failures + 1
        self._resting_until = time.monotonic() + REST_SECONDS


class Peer:
    """Another service, asked over HTTP with a time-out, retries with jitter and the service credential.

    It may run in several places, which are asked in turn.
    """

    def __init__(self, name: str, key: str, settings: Settings) -> None:
        self._name = name
        self._headers = {"authorization": f"Bearer {key}"}
        self._settings = settings
        self._ways = deque(self._way(address) for address in settings.addresses(name))

    def connect(self, app: ASGIApp) -> None:
        """Reach the service in this process."""
        transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
        self._ways = deque([self._way(f"http://{self._name}", transport)])

    @property
    def connected(self) -> bool:
        """Whether it is known where the service is."""
        return bool(self._ways)

    async def aclose(self) -> None:
        """Let go of the connections."""
        for way in self._ways:
            await way.client.aclose()

    def _way(self, address: str, transport: httpx2.AsyncBaseTransport | None = None) -> Way:
        # No proxy of the machine's is asked for the way, and no certificates are read where none are shown.
        verify = address.startswith("https:")
        client = httpx2.AsyncClient(
            base_url=address, headers=self._headers, transport=transport, trust_env=False, verify=verify
        )
        return Way(client)

    async def ask(self, method: str, path: str, *, retry: bool = True, **sent: Any) -> Any:  # noqa: ANN401 -- JSON
        """Return the answer's JSON, or raise the Problem that the service answered with.

        `sent` goes to the HTTP client (json, params, content, headers). `timeout` is for all tries together; each of
        several places may take its share of it. `retry` is for what may be done twice.
        Raises Unavailable when the service is away, which passes; a fault of the service's own does not.
        """
        if not PLACE.fullmatch(path):
            raise NotFound("There is nothing of this name.")
        attempts = self._settings.bos_query_retry_attempts
        seconds = sent.pop("timeout", self._settings.bos_query_timeout_seconds)
        passing = Unavailable if retry else Unreached
        share = seconds / min(2, len(self._ways) or 1) if retry else seconds
        until, tried = time.monotonic() + seconds, list[Way]()
        async for attempt in stamina.retry_context(
            on=passing, attempts=attempts, wait_initial=0.05, wait_max=1.0, wait_jitter=0.1, timeout=seconds
        ):
            with attempt, span(f"{method} {self._name}", SpanKind.CLIENT):
                return await self._ask(method, path, min(share, until - time.monotonic()), sent, tried)
        raise AssertionError  # pragma: no cover -- the loop returns or raises

    async def _ask(self, method: str, path: str, seconds: float, sent: Mapping[str, Any], tried: list[Way]) -> Any:  # noqa: ANN401 -- JSON
        self._ways.rotate(-1)
        way = next((way for way in sorted(self._ways, key=tried.count) if way.open()), None)
        away = f"The service {self._name} cannot be reached; try again in a moment."
        if way is None or seconds <= 0:
            raise Unreached(away)
        tried.append(way)
        context = current()
        bound_here = {
            "x-correlation-id": context.correlation_id,
            "x-user-id": context.user_id,
            "x-batch-id": context.batch_id,
            "traceparent": context.traceparent,
        }
        sent_along = {**bound_here, **sent.get("headers", {})}
        # As bytes, since some came from outside, where a header may hold any.
        headers = {name: str(value).encode("latin-1") for name, value in sent_along.items() if value}
        soon = min(CONNECT_SECONDS, seconds / 3)
        # The client has no time-out for the whole: two that end at the same moment may lose each other's cancellation.
        timeout = httpx2.Timeout(None, connect=soon, pool=soon)
        try:
            async with asyncio.timeout(seconds):  # the client's own does not reach into this process
                response = await way.client.request(method, path, **{**sent, "headers": headers, "timeout": timeout})
        except (httpx2.HTTPError, TimeoutError) as error:
            if not isinstance(error, httpx2.PoolTimeout):  # it is we who ask too much at once
                way.found(answering=False)
            raise (Unreached if isinstance(error, UNSENT) else Unavailable)(away) from error
        way.found(answering=True)
        return self._answer(response, streamed="content" in sent)

    def _answer(self, response: httpx2.Response, *, streamed: bool) -> Any:  # noqa: ANN401 -- JSON
        status = response.status_code
        if status in AWAY:
            untouched = NOT_READY in response.text and not streamed  # what has streamed away cannot be sent again
            away = Unready if untouched else Unavailable
            raise away(f"The service {self._name} could not answer; try again in a moment.")
        try:
            if response.is_success:
                return response.json() if response.content else None
            if refusal := BY_STATUS.get(status):
                body = response.json()
                raise refusal(body["detail"], code=body["code"])
            fault = Refused if status == HTTPStatus.UNAUTHORIZED else Problem
            told = f"The service {self._name} answered {status}. If it stays so, tell your IT."
        except (ValueError, LookupError, TypeError):  # a page, or JSON that is not ours
            fault = Stranger
            told = f"Something else answers where HULEEDU_PEERS says that the service {self._name} is. Tell your IT."
        log.error("http.peer_fault", peer=self._name, status=status, cause=fault.__name__)
        raise fault(told)


def _uuid(text: str | None) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        return None


def _traceparent(text: str | None) -> str | None:
    return text if text and TRACEPARENT.fullmatch(text) else None
