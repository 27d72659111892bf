"""What every answer tells the browser to keep from: foreign scripts, frames, guesses, copies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from huleedu.gateway.access import Access

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; manifest-src 'self'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
TLS_ONLY = "max-age=31536000"
REVALIDATED, NOT_KEPT = "private, no-cache", "no-store"
"""An answer that can be asked for again by its ETag is kept by the browser for that; any other is not kept at all."""


class Headers:
    """ASGI middleware that adds the headers which the answer does not have."""

    def __init__(self, app: ASGIApp, *, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request with these headers."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        secure = self._access.secure(HTTPConnection(scope))

        async def headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", REVALIDATED if "etag" in headers else NOT_KEPT)
                if secure:
                    headers.setdefault("Strict-Transport-Security", TLS_ONLY)
            await send(message)

        return await self._app(scope, receive, headed)
