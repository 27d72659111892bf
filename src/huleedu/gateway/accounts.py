"""Accounts and bearer tokens.

A token is `hule_<id>_<signature>`: the signature (HMAC-SHA256 with the installation's key) shows that we made it, the
row says whose it is and whether it has been revoked. The database alone, without the key, lets nobody in.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from huleedu.gateway import store
from huleedu.platform.context import new_id
from huleedu.platform.errors import Conflict, NotFound, Unauthenticated, Unprocessable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from huleedu.platform.db import Db, Tx
    from huleedu.platform.keys import Keys

PREFIX = "hule"


@dataclass(frozen=True, slots=True)
class Teacher:
    """Who asks, verified, and by which token."""

    user_id: str
    email: str
    name: str
    token_id: str


class Accounts:
    """Owns accounts and tokens."""

    def __init__(self, db: Db, keys: Keys) -> None:
        self._db = db
        self._keys = keys

    async def add(self, email: str, name: str) -> str:
        """Add an account and return its id."""
        email = email.strip().lower()
        if "@" not in email or not name.strip():
            raise Unprocessable("An account needs an e-mail address and a name.", code="INVALID_ACCOUNT")
        user_id = str(new_id())
        if not await self._db.write(lambda tx: store.add_account(tx, user_id, email, name.strip())):
            raise Conflict(f"There is an account for {email} already.", code="ACCOUNT_EXISTS")
        return user_id

    async def listed(self) -> list[dict[str, Any]]:
        """Return all accounts."""
        rows = await self._db.read(store.accounts)
        return [{"user_id": row.user_id, "email": row.email, "name": row.name} for row in rows]

    async def issue_token(self, email: str) -> str:
        """Return a new bearer token for an account; it is shown once and stored nowhere."""
        token_id = secrets.token_hex(16)

        def issue(tx: Tx) -> None:
            store.add_token(tx, token_id, _require(store.account_of(tx, email.strip().lower()), email).user_id)

        await self._db.write(issue)
        return f"{PREFIX}_{token_id}_{self._keys.sign(token_id)}"

    async def revoke_tokens(self, email: str) -> int:
        """Revoke all tokens of an account; return how many were in force."""

        def revoke(tx: Tx) -> int:
            return store.revoke_tokens(tx, _require(store.account_of(tx, email.strip().lower()), email).user_id)

        return await self._db.write(revoke)

    async def verify(self, authorization: str | None) -> Teacher:
        """Return whose token this is, or raise Unauthenticated."""
        scheme, _, shown = (authorization or "").partition(" ")
        prefix, _, rest = shown.strip().partition("_")
        token_id, _, signature = rest.partition("_")
        genuine = hmac.compare_digest(signature.encode(), self._keys.sign(token_id).encode())
        if scheme.lower() == "bearer" and prefix == PREFIX and genuine:
            row = await self._db.read(lambda tx: store.holder(tx, token_id))
            if row is not None:
                return Teacher(row.user_id, row.email, row.name, token_id)
        raise Unauthenticated("Show a valid token: 'Authorization: Bearer …'. `huleedu user token EMAIL` makes one.")

    async def in_force(self, token_ids: Iterable[str]) -> set[str]:
        """Return those of the tokens that have not been revoked."""
        return await self._db.read(lambda tx: store.in_force(tx, token_ids))


def _require(row: Any, email: str) -> Any:  # noqa: ANN401 -- a row of account
    if row is None:
        raise NotFound(f"There is no account for {email}. `huleedu user add {email} --name NAME` makes one.")
    return row
