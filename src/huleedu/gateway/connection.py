"""A page's connection as our server keeps it, with what ASGI has no word for: frames written now, or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from typing_extensions import override
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Scope

    Write = Callable[[bytes], bool]

EXTENSION = "huleedu.write"
TEXT = b"\x81"
"""The first byte of a frame that is a whole text."""
SHORT = 125
"""Bytes of the longest text whose length is in one byte."""


class Connection(WebSocketsSansIOProtocol):
    """Lets the application write without a task that waits until it may: most of what a frame costs is that task."""

    @override
    async def run_asgi(self) -> None:
        """Serve the connection."""
        extensions: Any = self.scope["extensions"]
        extensions[EXTENSION] = {"write": self.write}
        try:
            await super().run_asgi()
        finally:
            del extensions[EXTENSION]  # or the connection would hold itself until the garbage collector comes

    def write(self, frames: bytes) -> bool:
        """Write whole frames if the client is there and keeps up; return whether it was written."""
        free = self.writable.is_set() and not (self.close_sent or self.transport.is_closing())
        if free:
            self.transport.write(frames)
        return free


def framed(text: str) -> bytes:
    """Return the bytes of a frame of text, as RFC 6455 has them in section 5.2, in a quarter of the library's time.

    A server's are not masked, so they are the same for every client.
    """
    data = text.encode()
    length = len(data)
    if length <= SHORT:
        return TEXT + bytes((length,)) + data
    if length < 1 << 16:
        return TEXT + b"\x7e" + length.to_bytes(2) + data
    return TEXT + b"\x7f" + length.to_bytes(8) + data


def writing(scope: Scope) -> Write:
    """Return what writes frames at once to this connection; to another server's, it never does."""
    write: Write = (scope.get("extensions") or {}).get(EXTENSION, {}).get("write", lambda _: False)
    return write
