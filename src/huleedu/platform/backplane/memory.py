"""The backplane of one process."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from limits.aio.storage import MemoryStorage, Storage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from huleedu.platform.backplane import Hear


class MemoryBackplane:
    """Delivers to the subscribers of this process."""

    def __init__(self, client_id: str) -> None:
        self.client_id = client_id
        self.counters: Storage = MemoryStorage()
        self._started = False
        self._restored = asyncio.Event()
        self._subscribers: dict[str, Counter[Hear]] = defaultdict(Counter)

    async def start(self) -> None:
        """Begin to deliver."""
        self._started = True

    async def aclose(self) -> None:
        """Stop delivering."""
        self._started = False

    async def publish(self, channel: str, message: str) -> int:
        """Send a message to all subscribers of the channel; return whether there are any, this being one process."""
        self._require_started()
        return int(self._deliver(channel, [message]))

    def _deliver(self, channel: str, messages: Sequence[str]) -> bool:
        subscribers = self._subscribers.get(channel, ())
        for hear in subscribers:
            hear(channel, messages)
        return bool(subscribers)

    @asynccontextmanager
    async def subscribe(self, channel: str, hear: Hear) -> AsyncIterator[None]:
        """Call `hear` with the channel and its messages while a block runs that was entered with it."""
        self._require_started()
        subscribers = self._subscribers[channel]
        subscribers[hear] += 1
        try:
            yield
        finally:
            subscribers -= Counter([hear])  # in place, and without those who are down to none
            if not subscribers:
                del self._subscribers[channel]

    async def restored(self) -> None:
        """Wait until messages come again after some may have been lost; in one process none are."""
        await self._restored.wait()
        self._restored.clear()

    def get_user_channel(self, user_id: str) -> str:
        """Return the channel of one user's notifications."""
        return f"ws:{user_id}"

    async def publish_user_notification(self, user_id: str, notification: dict[str, Any]) -> int:
        """Send a notification, as JSON, to one user's channel; return whether it was received."""
        return await self.publish(self.get_user_channel(user_id), json.dumps(notification))

    async def publish_user_notifications(self, notifications: Sequence[tuple[str, str]]) -> None:
        """Send many notifications, each user's together."""
        self._require_started()
        together = defaultdict[str, list[str]](list)
        for user_id, notification in notifications:
            together[self.get_user_channel(user_id)].append(notification)
        for channel, messages in together.items():
            self._deliver(channel, messages)

    def _require_started(self) -> None:
        if not self._started:
            msg = f"Backplane client '{self.client_id}' is not running."
            raise RuntimeError(msg)
