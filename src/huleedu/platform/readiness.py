"""Whether a process can serve, and what it does without meanwhile."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import structlog

from huleedu.platform.errors import Unavailable, describe

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from huleedu.platform.app import Platform

ANSWER_SECONDS = 2.0
"""What has not answered by then is missing: a monitor or a load balancer does not wait much longer."""
GIVEN_UP_SECONDS = 10.0
"""After that it is asked again: a connection may be dead and not know it."""
log = structlog.get_logger()


class Readiness:
    """Asks all that a process stands on; what owes an answer yet is not asked again, however many want to know."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._asked: dict[str, asyncio.Future[bool]] = {}

    async def __call__(self) -> list[str]:
        """Return what is missing and can be done without: the log, for which things wait, the backplane or the blobs.

        Raises Unavailable, naming all that is missing, if the database or a service that is asked from here is of it.
        """
        for name, question in self._questions().items():
            if name not in self._asked or self._asked[name].done():
                self._asked[name] = asyncio.ensure_future(_answers(name, question))
        asked = dict(self._asked)
        await asyncio.wait(asked.values(), timeout=ANSWER_SECONDS)
        missing = [name for name, answer in asked.items() if not answer.done() or not answer.result()]
        if {"database", *self._platform.peers} & {*missing}:
            raise Unavailable(f"Not ready yet: {', '.join(missing)}. Try again in a moment.")
        return missing

    def _questions(self) -> dict[str, Callable[[], Awaitable[object]]]:
        here, peers = self._platform, self._platform.peers.items()
        return {
            "database": here.serving,
            "log": here.log.ready,
            "backplane": partial(here.backplane.publish, "readyz", ""),
            "blobs": self._look,
            **{name: partial(peer.ask, "GET", "/internal/v1/ready", retry=False) for name, peer in peers},
        }

    async def _look(self) -> None:
        with suppress(KeyError):
            await self._platform.blobs.get("readyz")


async def _answers(name: str, question: Callable[[], Awaitable[object]]) -> bool:
    try:
        async with asyncio.timeout(GIVEN_UP_SECONDS):
            await question()
    except Exception as error:  # noqa: BLE001 -- whatever it was, it is no answer
        log.info("ready.missing", what=name, cause=describe(error))
        return False
    return True
