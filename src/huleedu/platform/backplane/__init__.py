"""The backplane: how any process pushes to the sockets of any other. Messages are hints; nothing rests on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager


class Backplane(Protocol):
    """Publish and subscribe by channel. Using one that is not started raises RuntimeError naming the client."""

    async def start(self) -> None:
        """Connect."""

    async def aclose(self) -> None:
        """Let go of every connection and subscription."""

    async def publish(self, channel: str, message: str) -> int:
        """Send a message to all subscribers of the channel; return how many there were."""

    def subscribe(self, channel: str) -> AbstractAsyncContextManager[AsyncIterator[str]]:
        """Subscribe while the block runs. The subscription is in force before the block is entered."""

    def get_user_channel(self, user_id: str) -> str:
        """Return the channel of one user's notifications: `ws:{user_id}`."""

    async def publish_user_notification(self, user_id: str, notification: dict[str, Any]) -> int:
        """Send a notification, as JSON, to one user's channel; return how many received it."""
