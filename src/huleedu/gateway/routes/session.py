"""Sessions: sign in, sign out, sign out everywhere."""

from __future__ import annotations

from fastapi import APIRouter, Response
from pydantic import Field
from starlette.requests import HTTPConnection

from huleedu.contracts.envelope import Request
from huleedu.gateway.access import Access, address
from huleedu.gateway.accounts import Accounts, Kind
from huleedu.gateway.routes.common import Me, SignedIn, Typed, problems


class ByLink(Request):
    """The secret of a one-time sign-in link: what stands after its #."""

    link: str = Field(max_length=200)


class ByPassword(Request):
    """An account's address and password."""

    email: str = Field(max_length=320)
    password: Typed


def routes(accounts: Accounts, access: Access) -> APIRouter:
    """Return the routes of sessions."""
    router = APIRouter(prefix="/v1", tags=["account"])

    @router.post("/session", status_code=201, responses=problems(422))
    async def sign_in(connection: HTTPConnection, shown: ByLink | ByPassword, response: Response) -> Me:
        access.require_own_page(connection)
        former = access.cookie(connection)
        if isinstance(shown, ByLink):
            secret = await accounts.sign_in_by_link(shown.link, address(connection), former)
        else:
            secret = await accounts.sign_in_by_password(shown.email, shown.password, address(connection), former)
        # Without an age: it goes when the browser is closed, if not before.
        name, secure = access.cookie_name(connection), access.secure(connection)
        response.set_cookie(name, secret, secure=secure, httponly=True, samesite="lax")
        return Me.of(await accounts.verify(secret, Kind.SESSION))

    @router.delete("/session", status_code=204, responses=problems())
    async def sign_out(teacher: SignedIn, connection: HTTPConnection) -> Response:
        await accounts.sign_out(teacher)
        return _gone(connection)

    @router.delete("/sessions", status_code=204, responses=problems())
    async def sign_out_everywhere(teacher: SignedIn, connection: HTTPConnection) -> Response:
        await accounts.sign_out_everywhere(teacher)
        return _gone(connection)

    def _gone(connection: HTTPConnection) -> Response:
        response = Response(status_code=204)
        name, secure = access.cookie_name(connection), access.secure(connection)
        response.delete_cookie(name, secure=secure, httponly=True, samesite="lax")
        return response

    return router
