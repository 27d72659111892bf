"""The account of who is signed in, and tickets for her live connections."""

from __future__ import annotations

from fastapi import APIRouter, Response
from starlette.requests import HTTPConnection

from huleedu.contracts.envelope import Fact, Request
from huleedu.gateway.access import address
from huleedu.gateway.accounts import TICKET, Accounts
from huleedu.gateway.routes.common import Asking, Me, SignedIn, Typed, problems


class NewPassword(Request):
    """A password to be set, with the present one if there is one and no link was just used."""

    current: Typed | None = None
    password: Typed


class Ticket(Fact):
    """What opens one live connection, shown in its first frame, within so many seconds."""

    ticket: str
    expires_in: int


def routes(accounts: Accounts) -> APIRouter:
    """Return the routes of the account."""
    router = APIRouter(prefix="/v1", tags=["account"])

    @router.get("/me", responses=problems())
    async def me(teacher: Asking) -> Me:
        return Me.of(teacher)

    @router.put("/me/password", status_code=204, responses=problems(422))
    async def set_password(teacher: SignedIn, connection: HTTPConnection, given: NewPassword) -> Response:
        await accounts.set_password(teacher, given.current, given.password, address(connection))
        return Response(status_code=204)

    @router.post("/live/ticket", status_code=201, responses=problems())
    async def get_ticket(teacher: Asking) -> Ticket:
        return Ticket(ticket=await accounts.ticket(teacher), expires_in=int(TICKET.total_seconds()))

    return router
