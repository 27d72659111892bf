"""The operator's commands: asked of the running server, or done on its data while it does not run."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sqlite3
from contextlib import AsyncExitStack, asynccontextmanager, closing, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import httpx2

from huleedu.platform.app import connect
from huleedu.platform.errors import Problem, Usage
from huleedu.platform.installation import BLOBS, CONTROL, DATABASE, Locked, locked, opened, prepare
from huleedu.platform.settings import http_url
from huleedu.services import ROSTER, build_all

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from huleedu.platform.settings import Settings


class Ask(Protocol):
    """Asks a service, wherever it is."""

    def __call__(self, service: str, method: str, path: str, **sent: Any) -> Awaitable[Any]:  # noqa: ANN401 -- JSON
        """Return the answer's JSON, or raise the Problem that it was answered with."""


@asynccontextmanager
async def installation(settings: Settings) -> AsyncIterator[Ask]:
    """Reach the services of the running server, or those on the data directory if nobody uses it."""
    async with AsyncExitStack() as stack:
        try:
            platform = await stack.enter_async_context(opened(settings))
        except Locked:
            yield partial(_ask_server, settings)
            return
        connect(platform, build_all(platform, [name for name in ROSTER if not settings.addresses(name)]))

        def ask(service: str, method: str, path: str, **sent: Any) -> Awaitable[Any]:  # noqa: ANN401 -- JSON
            return platform.peer(service).ask(method, path, **sent)

        yield ask


async def ask(settings: Settings, service: str, method: str, path: str, **sent: Any) -> Any:  # noqa: ANN401 -- JSON
    """Ask one thing."""
    async with installation(settings) as ask_service:
        return await ask_service(service, method, path, **sent)


async def sign_in_link(settings: Settings, email: str) -> str:
    """Return a new one-time link, at the running server's address or the one that it would have."""
    told = await ask(settings, "gateway", "POST", "/internal/v1/users/link", json={"email": email})
    control = settings.data_dir / CONTROL
    if control.exists():
        page = json.loads(control.read_text())["page"]
    else:
        page = settings.public_url or http_url(settings.host, settings.port)
    return f"{page}{told['path']}"


async def _ask_server(settings: Settings, service: str, method: str, path: str, **sent: Any) -> Any:  # noqa: ANN401 -- JSON
    control = settings.data_dir / CONTROL
    if not control.exists():
        raise Usage(f"Another HuleEdu uses {settings.data_dir}, and it is starting or stopping. Try again in a moment.")
    known = json.loads(control.read_text())
    headers = {"authorization": f"Bearer {known['key']}"}
    try:
        async with httpx2.AsyncClient(base_url=known["url"], headers=headers, timeout=30) as client:
            response = await client.request(method, f"/{service}{path}", **sent)
    except httpx2.HTTPError as error:
        raise Usage("The running server does not answer. Look at its log, or stop it and try again.") from error
    body: Any = response.json() if response.content else None
    if not response.is_success:
        raise Problem(body["detail"], code=body["code"])
    return body


def dead_letters(settings: Settings) -> list[dict[str, Any]]:
    """Return what every service has parked."""

    async def collect() -> list[dict[str, Any]]:
        async with installation(settings) as ask_service:
            told = [await ask_service(service, "GET", "/internal/v1/dead-letters") for service in ROSTER]
        return [letter for answer in told for letter in answer["items"]]

    return asyncio.run(collect())


def redrive(settings: Settings, key: str | None) -> int:
    """Ask every service to handle its parked records again; return how many there are."""

    async def request() -> int:
        sent = {"params": {"key": key} if key else {}}
        async with installation(settings) as ask_service:
            told = [await ask_service(service, "POST", "/internal/v1/dead-letters", **sent) for service in ROSTER]
        return sum(answer["requested"] for answer in told)

    return asyncio.run(request())


def migrate_database(settings: Settings) -> list[str]:
    """Make or upgrade what data is kept in; return the revisions of the database."""
    with nullcontext() if settings.database_url else locked(settings.data_dir):
        return asyncio.run(prepare(settings))


def back_up(data_dir: Path, target: Path) -> int:
    """Copy a data directory as it is at one moment, while it is used or not; return how many essays are in the copy.

    The database first: a blob is there before a row names it, and goes only with its essay. What the copied rows do
    not name stays out, so that no copy holds a text that nobody could erase.
    """
    if target.exists():
        raise Usage(f"{target} is there already. Name a directory that is not.")
    part = target.with_name(f"{target.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)  # of a back-up that was broken off
        (part / BLOBS).mkdir(mode=0o700, parents=True)
        part.chmod(0o700)
        (part / DATABASE).touch(mode=0o600)
        with closing(sqlite3.connect(f"{(data_dir / DATABASE).absolute().as_uri()}?mode=ro", uri=True)) as database:
            database.execute("VACUUM INTO ?", (str(part / DATABASE),))
        with closing(sqlite3.connect(part / DATABASE)) as database:
            essays = database.execute("SELECT batch_id || '/' || essay_id FROM essay").fetchall()
        for (essay,) in essays:
            _copy(data_dir / BLOBS / essay, part / BLOBS / essay)
        os.sync()
        part.rename(target)
    except (OSError, sqlite3.Error) as error:
        shutil.rmtree(part, ignore_errors=True)
        raise Usage(f"Cannot back up {data_dir} to {target}: {error}.") from error
    return len(essays)


def _copy(blobs: Path, target: Path) -> None:
    """Copy the blobs below this directory; one that is deleted meanwhile, or not whole yet, belongs to no copy."""
    for folder, _, names in os.walk(blobs):
        place = target / Path(folder).relative_to(blobs)
        place.mkdir(parents=True, exist_ok=True)
        for name in names:
            if not name.startswith("."):
                with suppress(FileNotFoundError):
                    shutil.copyfile(Path(folder, name), place / name)
