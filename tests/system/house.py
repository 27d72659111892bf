"""The whole platform running in this process, and teachers who use it as the outside world does."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from starlette.types import ASGIApp

from huleedu.cli import serve
from huleedu.contracts.messages import TOPICS
from huleedu.files import handlers
from huleedu.platform.app import Platform, connect, running
from huleedu.platform.backplane.memory import MemoryBackplane
from huleedu.platform.backplane.redis import RedisClient
from huleedu.platform.clock import Clock
from huleedu.platform.installation import opened
from huleedu.platform.log.embedded import EmbeddedLog
from huleedu.platform.service import Service
from huleedu.platform.settings import Settings
from huleedu.services import build_all
from tests.given import DATABASES, PATIENT, database, heard

_numbers = itertools.count(1)
HEARTBEAT_SECONDS = 10.0
Parts = list[tuple[str, tuple[str, bytes, str]]]


def essay(words: str = "") -> str:
    """Return an essay that no other is like."""
    return f"Pupil number {next(_numbers)} lives in a small house by the sea and likes it very much. {words}"


def parts(*texts: str, name: str = "essay") -> Parts:
    """Return a form that uploads these texts."""
    return [("files", (f"{name} {place}.txt", text.encode(), "text/plain")) for place, text in enumerate(texts, 1)]


class Refused(AssertionError):
    """The answer was not the one expected."""


class Teacher:
    """An account with a token, and the public interface in its hands."""

    def __init__(self, house: "House", user_id: str, email: str, token: str) -> None:
        self._house = house
        self.user_id, self.email, self.token = user_id, email, token
        self.http = house.http(token)

    async def link(self) -> str:
        """Return the secret of a new sign-in link."""
        told = await self._house.operate("/link", email=self.email)
        return str(told["path"]).partition("#")[2]

    async def browser(self, origin: str = "http://127.0.0.1:4001") -> httpx2.AsyncClient:
        """Return a browser in which she is signed in."""
        browser = self._house.browser(origin)
        response = await browser.post("/v1/session", json={"link": await self.link()})
        if response.status_code != 201:
            raise Refused(response.text)
        return browser

    async def ask(self, method: str, path: str, expected: int, **sent: Any) -> Any:  # noqa: ANN401 -- JSON
        """Return the answer, which has this status."""
        response = await self.http.request(method, f"/v1{path}", **sent)
        if response.status_code != expected:
            raise Refused(f"{method} {path}: {response.status_code} {response.text[:500]}")
        return response.json() if response.content else None

    async def batch(self, *texts: str, **draft: str) -> str:
        """Register a batch with these essays and return its id."""
        batch_id: str = (await self.ask("POST", "/batches", 201, json=draft))["batch_id"]
        if texts:
            told = await self.ask("POST", f"/batches/{batch_id}/essays", 201, files=parts(*texts))
            assert {item["status"] for item in told["items"]} == {"stored"}, told
        return batch_id

    async def start(self, batch_id: str, pipeline: str = "all") -> str:
        """Start a pipeline and return the run's id."""
        body = {"requested_pipeline": pipeline}
        run_id: str = (await self.ask("POST", f"/batches/{batch_id}/pipelines", 202, json=body))["run_id"]
        return run_id

    async def until(self, batch_id: str, right: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Follow the batch until its status is right; what is published wakes, the view is the truth.

        What is published on Redis may be lost: then one looks all the same, as clients do by their heartbeat.
        In one process nothing is.
        """
        backplane = self._house.platform.backplane
        seconds = HEARTBEAT_SECONDS if isinstance(backplane, RedisClient) else None
        async with heard(backplane, backplane.get_user_channel(self.user_id)) as messages:
            while not right(status := await self.ask("GET", f"/batches/{batch_id}/status", 200)):
                with suppress(TimeoutError):
                    await asyncio.wait_for(messages.get(), seconds)
        return dict(status)

    async def settled(self, batch_id: str, essays: int) -> dict[str, Any]:
        """Follow the batch until its view shows so many essays."""
        return await self.until(batch_id, lambda found: found["essays"] == essays and found["status"] == "ready")

    async def ended(self, batch_id: str, run_id: str) -> dict[str, Any]:
        """Follow the batch until this run has ended."""

        def over(found: dict[str, Any]) -> bool:
            return found["pipeline_state"]["run_id"] == run_id and found["status"] not in {"ready", "processing"}

        return await self.until(batch_id, over)


@dataclass(frozen=True)
class House:
    """A running platform with its services."""

    platform: Platform
    services: dict[str, Service]
    apps: dict[str, ASGIApp]

    @property
    def public(self) -> FastAPI:
        app = self.services["gateway"].public
        assert isinstance(app, FastAPI)
        return app

    def http(self, token: str | None = None) -> httpx2.AsyncClient:
        """Return a client of the public interface."""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        transport = httpx2.ASGITransport(self.public, raise_app_exceptions=False)
        return httpx2.AsyncClient(transport=transport, base_url="http://huleedu", headers=headers)

    def browser(self, origin: str = "http://127.0.0.1:4001") -> httpx2.AsyncClient:
        """Return a browser with HuleEdu's page open at this address."""
        transport = httpx2.ASGITransport(self.public, raise_app_exceptions=False)
        return httpx2.AsyncClient(transport=transport, base_url=origin, headers={"origin": origin})

    async def folded(self) -> None:
        """Wait until the views have heard all that has been said: each message makes a version.

        They ask the owners, and so show what is said in a message that they have not heard yet.
        """
        aggregator = self.services["aggregator"]
        heard = {TOPICS[message] for message in aggregator.hears}
        while any(lag.size for lag in (await self.platform.log.lag(aggregator.group, heard)).values()):
            """It goes on."""

    async def operate(self, path: str, **body: Any) -> Any:  # noqa: ANN401 -- JSON
        """Do what a command of the operator does."""
        return await self.platform.peer("gateway").ask("POST", f"/internal/v1/users{path}", json=body)

    async def teacher(self, name: str = "Anna Ek") -> Teacher:
        """Return a new teacher."""
        email = f"teacher{next(_numbers)}@school.se"
        user = await self.operate("", email=email, name=name)
        told = await self.operate("/token", email=email)
        return Teacher(self, user["user_id"], email, told["token"])


@asynccontextmanager
async def inhabited(
    directory: Path,
    *,
    without: Collection[str] = (),
    clock: Clock | None = None,
    backplane: MemoryBackplane | None = None,
    **settings: Any,  # noqa: ANN401 -- of Settings
) -> AsyncIterator[House]:
    """Run the platform on this directory; the services named are there to be asked, and do nothing by themselves."""
    async with opened(Settings(data_dir=directory, **(PATIENT | settings)), clock) as found:
        if backplane is not None:
            await backplane.start()
        async with AsyncExitStack() as stack:
            patient = stack.enter_context(pytest.MonkeyPatch.context())
            patient.setattr(handlers, "EXTRACTION_SECONDS", 50.0)
            platform = replace(found, backplane=backplane or found.backplane)
            if DATABASES.server:
                db = await stack.enter_async_context(database(directory, found.clock))
                platform = replace(platform, db=db, log=EmbeddedLog(db))
            services = build_all(platform)
            apps = connect(platform, services)
            async with running(platform, [service for service in services if service.name not in without]):
                yield House(platform, {service.name: service for service in services}, apps)


@asynccontextmanager
async def listening(house: House) -> AsyncIterator[str]:
    """Serve the public interface, while the block runs, as `huleedu serve` does."""
    socket = serve._bind("127.0.0.1", 0)
    socket.listen()  # whoever connects from now on is served, in a moment
    listener = serve._listener(house.public)
    serving = asyncio.create_task(listener.serve([socket]))
    try:
        yield serve._url(socket)
    finally:
        listener.should_exit = True
        await serving
