"""Time, asked of an object, so that tests can set it."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime


class Clock:
    """The machine's time."""

    def now(self) -> datetime:
        """Return the present moment, in UTC."""
        return datetime.now(UTC)

    def worked(self) -> float:
        """Return the seconds that this thread has worked, without what it waited; only differences mean anything."""
        return time.thread_time()

    async def sleep(self, seconds: float) -> None:
        """Wait in real time."""
        await asyncio.sleep(seconds)
