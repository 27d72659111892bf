"""What the routes share: who asks, and how answers are described."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

from fastapi import Depends, Header, Request
from fastapi.security import HTTPBearer
from pydantic import BaseModel, Field

from huleedu.contracts.envelope import Fact
from huleedu.gateway.accounts import Kind, Teacher
from huleedu.platform.context import bound
from huleedu.platform.errors import Forbidden

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from huleedu.gateway.access import Access

T = TypeVar("T")
Typed = Annotated[str, Field(max_length=1_000)]
"""A password as it was typed, fit or not. A limit on what is sent also lets pydantic refuse half a character."""


class ProblemDetails(BaseModel):
    """An error (RFC 9457): `code` for programs, `detail` says what to do next."""

    type: str = "about:blank"
    title: str
    status: int
    code: str
    detail: str
    correlation_id: str


class Me(Fact):
    """Who is signed in."""

    email: str
    name: str
    has_password: bool

    @classmethod
    def of(cls, teacher: Teacher) -> Me:
        """Return what a teacher may know of herself."""
        return cls(email=teacher.email, name=teacher.name, has_password=teacher.has_password)


class Page(BaseModel, Generic[T]):
    """A page of a list. `live_cursor` is the feed position that it is valid at."""

    items: list[T]
    next_cursor: str | None = None
    live_cursor: str


Bearer = Depends(HTTPBearer(auto_error=False, description="For programs; the page shows its cookie instead."))
"""Describes the token where the routes are described; it is judged by `Access`."""


async def verified(request: Request, _described: Annotated[object, Bearer]) -> AsyncIterator[Teacher]:
    """Return who asks, from what they show; their work is done in their name."""
    access: Access = request.app.state.access
    teacher = await access.asking(request)
    request.state.user_id = teacher.user_id  # for who tells of a fault when this is over
    with bound(user_id=teacher.user_id, batch_id=request.path_params.get("batch_id")):
        yield teacher


Asking = Annotated[Teacher, Depends(verified)]


def signed_in(teacher: Asking) -> Teacher:
    """Return who asks by a session: a token that was lost must not change how its owner signs in."""
    if teacher.kind is not Kind.SESSION:
        raise Forbidden("This is for the page: sign in there. A token cannot do it.", code="SESSION_NEEDED")
    return teacher


SignedIn = Annotated[Teacher, Depends(signed_in)]
IdempotencyKey = Annotated[str | None, Header(alias="Idempotency-Key", max_length=200)]


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the errors that a route may answer with."""
    return {status: {"model": ProblemDetails} for status in (401, 403, 429, *statuses)}
