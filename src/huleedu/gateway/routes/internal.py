"""The gateway's internal routes: accounts and credentials, for the commands of the operator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from pydantic import BaseModel

from huleedu.gateway.accounts import Kind

if TYPE_CHECKING:
    from huleedu.gateway.accounts import Accounts


class NewAccount(BaseModel):
    """An account to be made."""

    email: str
    name: str


class Address(BaseModel):
    """Whose account is meant."""

    email: str


class Disabling(Address):
    """Whose account is shut off, or let be used again."""

    undo: bool = False


def routes(accounts: Accounts) -> APIRouter:
    """Return the routes of accounts."""
    router = APIRouter(prefix="/internal/v1/users")

    @router.get("")
    async def listed() -> dict[str, Any]:
        return {"items": await accounts.listed()}

    @router.post("", status_code=201)
    async def add(account: NewAccount) -> dict[str, str]:
        return {"user_id": await accounts.add(account.email, account.name)}

    @router.post("/token", status_code=201)
    async def token(address: Address) -> dict[str, str]:
        return {"token": await accounts.issue(address.email, Kind.TOKEN)}

    @router.post("/link", status_code=201)
    async def link(address: Address) -> dict[str, str]:
        return {"path": f"/sign-in#{await accounts.issue(address.email, Kind.LINK)}"}

    @router.post("/revoke")
    async def revoke(address: Address) -> dict[str, int]:
        return {"revoked": await accounts.revoke_tokens(address.email)}

    @router.post("/disable", status_code=204)
    async def disable(asked: Disabling) -> None:
        await accounts.disable(asked.email, undo=asked.undo)

    return router
