"""Time as a port: the system's, and one that tests move by hand."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """What the time is, and waiting for it to pass."""

    def now(self) -> datetime:
        """Return the present moment, in UTC."""

    def worked(self) -> float:
        """Return the seconds that this thread has worked, without what it waited; only differences mean anything."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


class SystemClock:
    """The machine's time."""

    def now(self) -> datetime:
        """Return the present moment, in UTC."""
        return datetime.now(UTC)

    def worked(self) -> float:
        """Return the processor time of this thread."""
        return time.thread_time()

    async def sleep(self, seconds: float) -> None:
        """Wait in real time."""
        await asyncio.sleep(seconds)


class ManualClock:
    """Time that passes only when it is told to; sleepers wake when their moment has come."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._start = start
        self._elapsed = 0.0
        self._sleepers: list[tuple[float, asyncio.Event]] = []

    def now(self) -> datetime:
        """Return the moment that time was moved to."""
        return self._start + timedelta(seconds=self._elapsed)

    def worked(self) -> float:
        """Return the seconds that time was moved by."""
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        """Wait until time has been moved so far."""
        woken = asyncio.Event()
        self._sleepers.append((self._elapsed + seconds, woken))
        await woken.wait()

    def move(self, seconds: float) -> None:
        """Let time pass and wake whoever waited for it."""
        self._elapsed += seconds
        due = [sleeper for sleeper in self._sleepers if sleeper[0] <= self._elapsed]
        self._sleepers = [sleeper for sleeper in self._sleepers if sleeper[0] > self._elapsed]
        for _, woken in due:
            woken.set()
