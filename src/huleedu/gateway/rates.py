"""How often something may be asked: requests of a teacher, and tries at a password."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, TypeVar

import structlog
from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import FixedWindowRateLimiter
from limits.errors import StorageError

from huleedu.platform.errors import TooMany

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from limits import RateLimitItem
    from limits.aio.storage import Storage

T = TypeVar("T")

TEACHER = RateLimitItemPerMinute(3_000, namespace="teacher")
"""Requests: a program that asks for a status 20 times a second may, and one machine answers many times as many."""
STRANGER = RateLimitItemPerMinute(300, namespace="stranger")
"""Requests without a valid credential, by address, links among them; who has one in force is never kept out."""
ACCOUNT = RateLimitItemPerMinute(5, 15, namespace="account")
"""Wrong passwords for one account, and below from one address, in 15 minutes: as OWASP's advice on sign-in has it."""
ADDRESS = RateLimitItemPerMinute(30, 15, namespace="address")
ALONE_SECONDS = 1.0
"""So long nobody waits again for counters that were away."""
log = structlog.get_logger()


class Rates:
    """Counts by key, together with all processes; while what they share is away, each counts alone."""

    def __init__(self, counters: Storage) -> None:
        self._shared = FixedWindowRateLimiter(counters)
        self._own = FixedWindowRateLimiter(MemoryStorage())
        self._alone_until = 0.0

    async def spend(self, rate: RateLimitItem, key: str) -> None:
        """Count one, or raise TooMany if there is none left."""
        if not await self._counted(lambda limiter: limiter.hit(rate, key)):
            seconds = await self._seconds(rate, key)
            raise TooMany(f"Too many requests at once. Try again in {seconds} seconds.", retry_after_s=seconds)

    async def require(self, rate: RateLimitItem, key: str) -> None:
        """Raise TooMany if nothing is left of the tries at a password."""
        if not await self._counted(lambda limiter: limiter.test(rate, key)):
            seconds = await self._seconds(rate, key)
            told = f"Too many wrong tries. Wait {math.ceil(seconds / 60)} min, or sign in by a one-time link."
            raise TooMany(told, code="TOO_MANY_ATTEMPTS", retry_after_s=seconds)

    async def _seconds(self, rate: RateLimitItem, key: str) -> int:
        stats = await self._counted(lambda limiter: limiter.get_window_stats(rate, key))
        return max(1, math.ceil(stats.reset_time - time.time()))

    async def _counted(self, ask: Callable[[FixedWindowRateLimiter], Awaitable[T]]) -> T:
        if time.monotonic() >= self._alone_until:
            try:
                return await ask(self._shared)
            except StorageError as error:
                self._alone_until = time.monotonic() + ALONE_SECONDS
                log.warning("rates.alone", cause=str(error))
        return await ask(self._own)
