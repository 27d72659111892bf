"""What has not changed is not sent again: entity tags made of a view's version."""

from __future__ import annotations

from typing import Annotated

from fastapi import Header, Response

Shown = Annotated[str | None, Header(alias="If-None-Match")]


def unchanged(response: Response, live_cursor: str, version: int, shown: str | None) -> Response | None:
    """Tag the answer with the feed's epoch and the version; return what a client that has this very one is answered."""
    if not version:  # no view yet: what the orchestrator says may change without a version
        return None
    etag = f'"{live_cursor.partition(":")[0]}.{version}"'
    response.headers["ETag"] = etag
    known = {tag.strip().removeprefix("W/") for tag in (shown or "").split(",")}
    return Response(status_code=304, headers={"ETag": etag}) if etag in known else None
