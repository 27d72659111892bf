"""The frames of `/ws`, described for whoever makes types of the interface; no route of this answers."""

from __future__ import annotations

from fastapi import APIRouter

from huleedu.contracts.notice import ClientFrame, ServerFrame


def routes() -> APIRouter:
    """Return the conversation as OpenAPI can say it, which knows no sockets: the client's frame, then the server's."""
    router = APIRouter(tags=["live"])

    @router.post("/ws")
    def live(frame: ClientFrame) -> ServerFrame:
        """A socket at `/ws`: either side sends frames when it wants to."""
        raise NotImplementedError(frame)  # pragma: no cover -- it is described, never called

    return router
