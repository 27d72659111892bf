"""What the routes share: who asks, and how answers are described."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

from fastapi import Depends, Header, Request
from pydantic import BaseModel

from huleedu.gateway.accounts import Accounts, Teacher
from huleedu.platform.context import bound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

T = TypeVar("T")


class ProblemDetails(BaseModel):
    """An error (RFC 9457): `code` for programs, `detail` says what to do next."""

    type: str = "about:blank"
    title: str
    status: int
    code: str
    detail: str
    correlation_id: str


class Page(BaseModel, Generic[T]):
    """A page of a list. `live_cursor` is the feed position that it is valid at."""

    items: list[T]
    next_cursor: str | None = None
    live_cursor: str


async def verified(request: Request, authorization: Annotated[str | None, Header()] = None) -> AsyncIterator[Teacher]:
    """Return who asks, from the token alone; their work is done in their name."""
    accounts: Accounts = request.app.state.accounts
    teacher = await accounts.verify(authorization)
    request.state.user_id = teacher.user_id  # for who tells of a fault when this is over
    with bound(user_id=teacher.user_id, batch_id=request.path_params.get("batch_id")):
        yield teacher


Asking = Annotated[Teacher, Depends(verified)]
IdempotencyKey = Annotated[str | None, Header(alias="Idempotency-Key", max_length=200)]


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the errors that a route may answer with."""
    return {status: {"model": ProblemDetails} for status in (401, *statuses)}
