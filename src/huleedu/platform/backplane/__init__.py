"""The backplane: what processes share for the moment, messages to each other's sockets and counters.

Messages are hints; nothing rests on them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from limits.aio.storage import Storage

Hear = Callable[[str, Sequence[str]], None]
"""Is told the channel and the messages that came there together; returns at once and raises nothing."""


class Backplane(Protocol):
    """Publish and subscribe by channel. Using one that is not started raises RuntimeError naming the client."""

    counters: Storage
    """Where rates are counted, for all processes together; raises StorageError while it is away."""

    async def start(self) -> None:
        """Begin to deliver. What it stands on need not be there yet."""

    async def aclose(self) -> None:
        """Let go of every connection; nothing is heard any more."""

    async def publish(self, channel: str, message: str) -> int:
        """Send a message to all subscribers of the channel; return how many processes they are in.

        Raises Unavailable when it cannot be sent.
        """

    def subscribe(self, channel: str, hear: Hear) -> AbstractAsyncContextManager[None]:
        """Call `hear` with the channel's messages while the block runs: each once, in order, together if they came so.

        The subscription is in force before the block is entered. While messages cannot come it is entered all the same:
        `restored` tells when they can. Who subscribes again with the same `hear` hears each message once all the same,
        until the last block ends.
        """

    async def restored(self) -> None:
        """Wait until messages come again after some may have been lost; for one waiter of the process."""

    def get_user_channel(self, user_id: str) -> str:
        """Return the channel of one user's notifications: `ws:{user_id}`."""

    async def publish_user_notification(self, user_id: str, notification: dict[str, Any]) -> int:
        """Send a notification, as JSON, to one user's channel; return how many processes received it."""

    async def publish_user_notifications(self, notifications: Sequence[tuple[str, str]]) -> None:
        """Send many notifications that are JSON, each user's in order; after one that cannot be sent, no more."""
