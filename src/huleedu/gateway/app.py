"""The public application: routes, error shape, headers, body limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from fastapi import Response
from fastapi_offline import FastAPIOffline
from pydantic import BaseModel
from starlette.routing import WebSocketRoute

from huleedu import __version__
from huleedu.contracts.essay import MAX_UPLOAD_BYTES
from huleedu.gateway.headers import Headers
from huleedu.gateway.page import PageFiles, described
from huleedu.gateway.routes import account, batches, essays, frames, pipelines, results, session
from huleedu.platform.errors import TooLarge
from huleedu.platform.http import UNTOLD, Bound, answer_problems, problem_response

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from huleedu.gateway.access import Access
    from huleedu.gateway.accounts import Accounts
    from huleedu.gateway.handlers import Gateway
    from huleedu.gateway.live import Live

MAX_BODY_BYTES = 2**20
ABOUT = """\
Assess a class's essays. Make a batch, upload essays to it, start a pipeline, follow it on `/ws` or by its status, read
the results. Programs show `Authorization: Bearer …`, the page its session. Every error is a problem (RFC 9457) that
says what to do. A request body may hold 1 MiB, an upload 100 MiB and 200 files, a file 10 MiB."""


class Ready(BaseModel):
    """The process serves; what is missing (`log`, `backplane`, `blobs`) it does without for a while."""

    status: Literal["ready"] = "ready"
    missing: list[str]


def create_app(gateway: Gateway, accounts: Accounts, access: Access, live: Live) -> FastAPI:
    """Return the application that the outside world talks to."""
    app = FastAPIOffline(
        title="HuleEdu", version=__version__, description=ABOUT, docs_url=None, redoc_url=None, telemetry=UNTOLD
    )
    app.state.access = access
    routers = [resource.routes(gateway) for resource in (batches, essays, pipelines, results)]
    for router in (session.routes(accounts, access), account.routes(accounts), *routers):
        app.include_router(router)
    app.webhooks.include_router(frames.routes())
    answer_problems(app)
    app.add_middleware(BodyLimit)
    app.add_middleware(Bound, service="gateway", trusted=False)
    app.add_middleware(Headers, access=access)
    app.router.routes.append(WebSocketRoute("/ws", live))
    app.router.default = PageFiles()

    @app.get("/healthz", tags=["operation"])
    async def alive() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/readyz", tags=["operation"])
    async def ready() -> Ready:
        return Ready(missing=await gateway.ready())

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return described("/openapi.json", app.title)

    return app


class BodyLimit:
    """ASGI middleware that refuses a body over its stated limit, said beforehand or found while it streams in."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request unless it is too large."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        limit = MAX_UPLOAD_BYTES if scope["path"].endswith("/essays") else MAX_BODY_BYTES
        headers: dict[bytes, bytes] = dict(scope["headers"])
        declared = headers.get(b"content-length", b"0")
        too_large = TooLarge(f"The request is over the limit of {limit // 2**20} MiB. Send less at a time.")
        if declared.isdigit() and int(declared) > limit:
            return await problem_response(too_large)(scope, receive, send)
        counted = 0

        async def limited() -> Message:
            nonlocal counted
            message: dict[str, Any] = dict(await receive())
            counted += len(message.get("body", b""))
            if counted > limit:
                raise too_large
            return message

        return await self._app(scope, limited, send)
