"""Background work: kept alive, and ended together."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import structlog

from huleedu.platform.errors import describe

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from huleedu.platform.clock import Clock

log = structlog.get_logger()


class Tasks:
    """Loops that run until they are closed. One that fails is told and started again: nothing stops unseen."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._running: set[asyncio.Task[None]] = set()

    def start(self, name: str, loop: Callable[[], Awaitable[None]]) -> None:
        """Run the loop in the background."""
        task = asyncio.create_task(self._keep(name, loop), name=name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def aclose(self) -> None:
        """Cancel everything and wait until it has ended."""
        for task in (running := list(self._running)):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _keep(self, name: str, loop: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                return await loop()
            except Exception as error:
                log.exception("task.failed", task=name, cause=describe(error))
                await self._clock.sleep(1.0)


async def finish(work: Coroutine[Any, Any, None], seconds: float) -> None:
    """Do this work to its end, also when the caller is cancelled meanwhile; but then for no longer than this."""
    working = asyncio.create_task(work)
    try:
        await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait([working], timeout=seconds)
        working.cancel()
        (ended,) = await asyncio.gather(working, return_exceptions=True)
        if isinstance(ended, Exception):
            log.warning("task.failed_at_its_end", cause=describe(ended))
        raise
