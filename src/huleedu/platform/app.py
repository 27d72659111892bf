"""What a service is given, and how services run together in a process."""

from __future__ import annotations

import asyncio
import gc
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from fastapi import APIRouter
from sqlalchemy import select

from huleedu.platform.context import bound
from huleedu.platform.http import Peer, internal_app
from huleedu.platform.log.redrive import redrive
from huleedu.platform.log.routes import dead_letter_routes
from huleedu.platform.log.runner import Runner
from huleedu.platform.log.trim import INBOX_KEPT, trim, trim_inbox
from huleedu.platform.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from starlette.types import ASGIApp

    from huleedu.platform.backplane import Backplane
    from huleedu.platform.blobs import Blobs
    from huleedu.platform.clock import Clock
    from huleedu.platform.db import Db
    from huleedu.platform.keys import Keys
    from huleedu.platform.log import Log
    from huleedu.platform.service import Service
    from huleedu.platform.settings import Settings


COLLECT_EACH = 10_000
"""New objects between two rounds of the garbage collector: with Python's 700 they took a sixth of a fold's time."""


@dataclass(frozen=True)
class Platform:
    """The ports, adapted as the settings say. `peer(name)` is another service, wherever it runs."""

    settings: Settings
    keys: Keys
    clock: Clock
    db: Db
    log: Log
    backplane: Backplane
    blobs: Blobs
    peers: dict[str, Peer] = field(default_factory=dict)

    def peer(self, name: str) -> Peer:
        """Return the way to another service."""
        return self.peers.setdefault(name, Peer(name, self.keys.service, self.settings))

    async def serving(self) -> None:
        """Raise Unavailable unless the database answers."""
        await self.db.read(lambda tx: tx.scalar(select(1)))


def connect(platform: Platform, services: Sequence[Service]) -> dict[str, ASGIApp]:
    """Return each service's internal application by name, reachable from the others in this process."""
    apps = {
        service.name: internal_app(
            service.name,
            [*service.routes, dead_letter_routes(platform, service), _ready_routes(platform)],
            platform.keys,
        )
        for service in services
    }
    for name, app in apps.items():
        platform.peer(name).connect(app)
    return apps


def spare_collector() -> None:
    """Have the garbage collector never look at what is there now, and seldom at what is new.

    Looking through it all again and again took a third of the log's time, and finds nothing: what a transaction makes
    is let go of without it. What a connection leaves behind is not, so what has grown old since is looked at soon too.
    """
    gc.freeze()
    gc.set_threshold(COLLECT_EACH, 1, 1)


@asynccontextmanager
async def running(platform: Platform, services: Sequence[Service]) -> AsyncIterator[None]:
    """Run what the services do by themselves: prepare, consume the log, work, watch."""
    tasks = Tasks(platform.clock)
    tasks.start("platform.log", partial(platform.log.tend, platform.clock))
    tasks.start("platform.inbox", partial(trim, platform.db, platform.clock, trim_inbox, INBOX_KEPT))
    for service in services:
        if service.prepare and not platform.db.shared:
            await platform.db.write(service.prepare)
        if service.workers:
            await service.workers.start()
        runner = Runner(platform, service)
        if service.hears:
            tasks.start(f"{service.name}.runner", runner.run)
            tasks.start(f"{service.name}.redrive", partial(redrive, platform, service, runner))
        for loop in service.tasks:
            tasks.start(f"{service.name}.{loop.__name__}", partial(_inside, service.name, loop))
    try:
        yield
    finally:
        for service in services:
            if service.stopping:
                service.stopping()
        workers = [service.workers.aclose() for service in services if service.workers]
        await asyncio.gather(tasks.aclose(), *workers)


def _ready_routes(platform: Platform) -> APIRouter:
    """Return the route by which one service asks another whether it can serve."""
    router = APIRouter()

    @router.get("/internal/v1/ready")
    async def ready() -> dict[str, str]:
        await platform.serving()
        return {"status": "ready"}

    return router


async def _inside(service: str, loop: Callable[[], Awaitable[None]]) -> None:
    with bound(service=service):
        await loop()
