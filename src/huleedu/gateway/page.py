"""The page, as it was built, and the description of the interface: what people open in a browser."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi.openapi.docs import get_swagger_ui_html
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.staticfiles import StaticFiles
from typing_extensions import override

from huleedu.gateway.headers import POLICY
from huleedu.platform.errors import NotFound

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import Receive, Scope, Send

FOLDER = Path(__file__).parent / "page"
"""Where `make setup` puts the page."""
FOR_PROGRAMS = frozenset({"v1", "internal", "docs", "static-offline-docs", "openapi.json", "healthz", "readyz", "ws"})
"""First parts of paths that are not the page's, whatever stands after them."""
FOR_EVER = "public, max-age=31536000, immutable"
"""For files that have a hash of what is in them in their names."""


class PageFiles(StaticFiles):
    """Serves the page's files; every address of the page's own is answered with the page, which shows what is there."""

    def __init__(self, folder: Path = FOLDER) -> None:
        super().__init__(directory=folder, check_dir=False)

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that no route takes."""
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1000})
        path = self.get_path(scope)
        if path.partition("/")[0] in FOR_PROGRAMS or scope["method"] not in {"GET", "HEAD"}:
            raise HTTPException(404)
        response = await self._found(path, Request(scope))
        response.headers["Cache-Control"] = FOR_EVER if path.startswith("assets/") else "no-cache"
        return await response(scope, receive, send)

    async def _found(self, path: str, request: Request) -> Response:
        try:
            return await self.get_response(path, request.scope)
        except HTTPException:
            a_place = "text/html" in request.headers.get("accept", "") and not path.startswith("assets/")
            if path != "." and not a_place:
                raise
        try:
            return await self.get_response("index.html", request.scope)
        except HTTPException as error:
            told = "The page is not built: `make setup` builds it. Programs can use the interface all the same."
            raise NotFound(told, code="PAGE_NOT_BUILT") from error


def described(openapi_url: str, title: str) -> Response:
    """Return the page that describes the interface. The one script that stands in it is let run by its hash."""
    folder = "/static-offline-docs"
    response = get_swagger_ui_html(
        openapi_url=openapi_url,
        title=title,
        swagger_js_url=f"{folder}/swagger-ui-bundle.js",
        swagger_css_url=f"{folder}/swagger-ui.css",
        swagger_favicon_url=f"{folder}/favicon.png",
    )
    (script,) = re.findall(rb"<script>(.*?)</script>", bytes(response.body), re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script).digest()).decode()
    response.headers["Content-Security-Policy"] = POLICY.replace("script-src", f"script-src 'sha256-{digest}'")
    return response
