"""The backplane of one process."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

QUEUE = 10_000
"""Messages a subscriber may be behind; then the oldest go, and the gap in `seq` makes it ask the feed."""


class MemoryBackplane:
    """Delivers to the subscribers of this process."""

    def __init__(self, client_id: str) -> None:
        self.client_id = client_id
        self._started = False
        self._subscribers: dict[str, set[asyncio.Queue[str]]] = defaultdict(set)

    async def start(self) -> None:
        """Begin to deliver."""
        self._started = True

    async def aclose(self) -> None:
        """Stop delivering."""
        self._started = False
        self._subscribers.clear()

    async def publish(self, channel: str, message: str) -> int:
        """Send a message to all subscribers of the channel; return how many there were."""
        self._require_started()
        subscribers = self._subscribers.get(channel, set())
        for waiting in subscribers:
            if waiting.full():
                waiting.get_nowait()
            waiting.put_nowait(message)
        return len(subscribers)

    @asynccontextmanager
    async def subscribe(self, channel: str) -> AsyncIterator[AsyncIterator[str]]:
        """Subscribe while the block runs."""
        self._require_started()
        waiting: asyncio.Queue[str] = asyncio.Queue(QUEUE)
        self._subscribers[channel].add(waiting)
        messages = _messages(waiting)
        try:
            yield messages
        finally:
            await messages.aclose()
            remaining = self._subscribers[channel]
            remaining.discard(waiting)
            if not remaining:
                del self._subscribers[channel]

    def get_user_channel(self, user_id: str) -> str:
        """Return the channel of one user's notifications."""
        return f"ws:{user_id}"

    async def publish_user_notification(self, user_id: str, notification: dict[str, Any]) -> int:
        """Send a notification, as JSON, to one user's channel; return how many received it."""
        return await self.publish(self.get_user_channel(user_id), json.dumps(notification))

    def _require_started(self) -> None:
        if not self._started:
            msg = f"Backplane client '{self.client_id}' is not running."
            raise RuntimeError(msg)


async def _messages(waiting: asyncio.Queue[str]) -> AsyncGenerator[str, None]:
    while True:
        yield await waiting.get()
