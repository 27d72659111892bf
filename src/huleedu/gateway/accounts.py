"""Accounts, and every credential that lets somebody in: sessions, one-time links, tokens, tickets.

Each credential is a secret of 256 random bits that is shown once. Kept is its SHA-256, so the database lets nobody in;
nobody guesses 256 bits, so a slow hash would add nothing. Passwords, which people choose, are kept by argon2id.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import unicodedata
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import structlog
from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from argon2.profiles import RFC_9106_LOW_MEMORY

from huleedu.gateway import rates, store
from huleedu.gateway.rates import Rates
from huleedu.platform.context import new_id
from huleedu.platform.errors import Conflict, Forbidden, NotFound, Unauthenticated, Unavailable, Unprocessable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from huleedu.platform.backplane import Backplane
    from huleedu.platform.db import Db, Tx

LOCAL = {"email": "teacher@localhost", "name": "Teacher"}
"""The account of whoever uses HuleEdu on a machine of their own."""
PREFIX = "hule_"
"""What tells a secret of ours, to people and to programs that look for secrets where they should not be."""
LINK, TICKET = timedelta(hours=24), timedelta(seconds=30)
IDLE, ABSOLUTE = timedelta(hours=12), timedelta(days=30)
"""A session ends when it was not used for a working day, and after a month in any case."""
SEEN = timedelta(minutes=1)
"""That a session is used is written down no more often than this."""
FRESH = timedelta(minutes=15)
"""So long after signing in by a link, a password can be set without the one that was forgotten."""
PASSWORD_LENGTH = range(10, 201)
HASHES_AT_ONCE = 2
"""Each takes 64 MiB and most of a tenth of a second: more at once would let strangers slow the server down."""
log = structlog.get_logger()


class Kind(StrEnum):
    """What a credential is for. A ticket opens one live connection, for the credential that it was got with."""

    SESSION = "session"
    LINK = "link"
    TOKEN = "token"  # noqa: S105 -- a kind of secret
    TICKET = "ticket"


WAYS_IN = (Kind.SESSION, Kind.LINK, Kind.TICKET)
"""What ends when a teacher signs out everywhere; her programs' tokens go on."""


@dataclass(frozen=True, slots=True)
class Teacher:
    """Who asks, verified, and by which credential."""

    user_id: str
    email: str
    name: str
    has_password: bool
    kind: Kind
    credential: str


class Accounts:
    """Owns accounts and credentials."""

    def __init__(self, db: Db, backplane: Backplane, counted: Rates) -> None:
        self._db = db
        self._backplane = backplane
        self._rates = counted
        self._hasher = PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)
        self._hashing = asyncio.Semaphore(HASHES_AT_ONCE)

    # -- for the operator

    async def add(self, email: str, name: str) -> str:
        """Add an account and return its id."""
        email = _address(email)
        if "@" not in email or not name.strip():
            raise Unprocessable("An account needs an e-mail address and a name.", code="INVALID_ACCOUNT")
        user_id = str(new_id())
        if not await self._db.write(lambda tx: store.add_account(tx, user_id, email, name.strip())):
            raise Conflict(f"There is an account for {email} already.", code="ACCOUNT_EXISTS")
        return user_id

    async def listed(self) -> list[dict[str, Any]]:
        """Return all accounts."""
        rows = await self._db.read(store.accounts)
        return [
            {"user_id": row.user_id, "email": row.email, "name": row.name, "disabled": row.disabled_at is not None}
            for row in rows
        ]

    async def issue(self, email: str, kind: Kind) -> str:
        """Return a new link or token for an account; it is shown once."""
        secret = _secret()

        def add(tx: Tx) -> None:
            row = _require(store.account_of(tx, _address(email)), email)
            if row.disabled_at is not None:
                told = f"The account is disabled. `huleedu user disable {email} --undo` lets it be used again."
                raise Conflict(told, code="ACCOUNT_DISABLED")
            expires_at = tx.now + LINK if kind is Kind.LINK else None
            store.add_credential(tx, hash=_hash(secret), kind=kind, user_id=row.user_id, expires_at=expires_at)

        await self._db.write(add)
        return secret

    async def revoke_tokens(self, email: str) -> int:
        """Revoke all tokens of an account; return how many there were."""

        def revoke(tx: Tx) -> tuple[str, int]:
            user_id = _require(store.account_of(tx, _address(email)), email).user_id
            return user_id, store.end(tx, user_id, [Kind.TOKEN])

        user_id, revoked = await self._db.write(revoke)
        await self._tell(user_id)
        return revoked

    async def disable(self, email: str, *, undo: bool) -> None:
        """Let nobody in by this account, whatever they hold or know, or let it be used again, by a new link."""

        def change(tx: Tx) -> str:
            user_id: str = _require(store.account_of(tx, _address(email)), email).user_id
            if undo:
                store.change_account(tx, user_id, disabled_at=None)
            else:
                store.change_account(tx, user_id, disabled_at=tx.now, password=None)
                store.end(tx, user_id, list(Kind))
            return user_id

        await self._tell(await self._db.write(change))

    # -- who it is

    async def verify(self, secret: str, kind: Kind) -> Teacher:
        """Return whose credential this is, or raise Unauthenticated. A session goes on by being used."""
        shown = _hash(secret)
        row, now = await self._db.read(lambda tx: (store.holder(tx, shown), tx.now))
        row = _in_force(row if row is not None and row.kind == kind else None)
        if kind is Kind.SESSION and (until := _session_end(now, row.created_at)) - row.expires_at >= SEEN:
            await self._db.write(lambda tx: store.prolong(tx, shown, until))
        return _teacher(row)

    async def ticket(self, teacher: Teacher) -> str:
        """Return a ticket that opens one live connection for this teacher, soon."""
        secret = _secret()
        row = {"kind": Kind.TICKET, "user_id": teacher.user_id, "made_of": teacher.credential}
        await self._db.write(lambda tx: store.add_credential(tx, hash=_hash(secret), expires_at=tx.now + TICKET, **row))
        return secret

    async def redeem(self, ticket: str) -> Teacher:
        """Return who got this ticket, by the credential that it was got with, or raise Unauthenticated."""

        def take(tx: Tx) -> Any:  # noqa: ANN401 -- a credential with its account, or None
            row = store.take(tx, _hash(ticket), Kind.TICKET)
            return row and store.holder(tx, row.made_of)

        return _teacher(_in_force(await self._db.write(take)))

    async def in_force(self, credentials: Iterable[str]) -> set[str]:
        """Return those of the credentials that are in force."""
        return await self._db.read(lambda tx: store.in_force(tx, credentials))

    # -- sessions

    async def sign_in_by_link(self, link: str, address: str, former: str) -> str:
        """Use up a one-time link; return the secret of a new session, which takes the former one's place."""
        shown = _hash(link)
        row = await self._db.read(lambda tx: store.holder(tx, shown))
        if row is None or row.kind != Kind.LINK:  # a right one is never refused, and a wrong one keeps no writer busy
            await self._rates.spend(rates.STRANGER, address)
            raise _used()

        def use(tx: Tx) -> Any:  # noqa: ANN401 -- a credential with its account
            row = store.take(tx, shown, Kind.LINK)
            if row is None:
                raise _used()
            return row

        return await self._open(former, lambda tx: (use(tx), shown))

    async def sign_in_by_password(self, email: str, password: str, address: str, former: str) -> str:
        """Return the secret of a new session. Whether there is such an account can be told from nothing."""
        row = await self._db.read(lambda tx: store.account_of(tx, _address(email)))
        known = None if row is None else row.password
        if not await self._right(known, password, _address(email), address) or known is None:
            raise _wrong()
        renewed = await self._hashed(password) if self._hasher.check_needs_rehash(known) else known

        def find(tx: Tx) -> Any:  # noqa: ANN401 -- a row of account
            row = store.account_of(tx, _address(email))
            if row is None or row.disabled_at or row.password != known:  # perhaps changed while we counted
                raise _wrong()
            store.change_account(tx, row.user_id, password=renewed)
            return row

        return await self._open(former, lambda tx: (find(tx), None))

    async def sign_out(self, teacher: Teacher) -> None:
        """End this session."""
        await self._db.write(lambda tx: store.take(tx, teacher.credential, Kind.SESSION))
        await self._tell(teacher.user_id)

    async def sign_out_everywhere(self, teacher: Teacher) -> None:
        """End all of the account's sessions, and the links and tickets that wait."""
        await self._db.write(lambda tx: store.end(tx, teacher.user_id, WAYS_IN))
        await self._tell(teacher.user_id)

    async def set_password(self, teacher: Teacher, current: str | None, password: str, address: str) -> None:
        """Set a password and end every other way in. The current one is needed, unless a link was just used."""
        if len(password) not in PASSWORD_LENGTH:
            raise Unprocessable("A password has 10 to 200 characters. Choose another.", code="PASSWORD_UNFIT")
        session, now = await self._db.read(lambda tx: (_in_force(store.holder(tx, teacher.credential)), tx.now))
        by_link = session.made_of is not None and now - session.created_at < FRESH
        if session.password and not by_link:
            if current is None:
                told = "Give your present password too. If you have forgotten it, sign in by a one-time link."
                raise Forbidden(told, code="CURRENT_PASSWORD_NEEDED")
            if not await self._right(session.password, current, teacher.email, address):
                told = "The present password is not right. Type it again; if you have forgotten it, sign in by a link."
                raise Forbidden(told, code="WRONG_PASSWORD")
        chosen = await self._hashed(password)

        def change(tx: Tx) -> None:
            _in_force(store.holder(tx, teacher.credential))  # it may have ended while we counted
            store.change_account(tx, teacher.user_id, password=chosen)
            store.end(tx, teacher.user_id, WAYS_IN, but=teacher.credential)

        await self._db.write(change)
        await self._tell(teacher.user_id)

    async def _open(self, former: str, find: Callable[[Tx], tuple[Any, str | None]]) -> str:
        """Make a session for the account that is found, and end the former one, in the same transaction."""
        secret = _secret()

        def body(tx: Tx) -> set[str]:
            row, made_of = find(tx)
            ended = store.take(tx, _hash(former), Kind.SESSION)
            until = _session_end(tx.now, tx.now)
            row_of = {"kind": Kind.SESSION, "user_id": row.user_id, "made_of": made_of, "expires_at": until}
            store.add_credential(tx, hash=_hash(secret), **row_of)
            tx.after_commit(log.info, "account.signed_in", user_id=row.user_id, by="link" if made_of else "password")
            return {ended.user_id} if ended else set()

        for user_id in await self._db.write(body):
            await self._tell(user_id)
        return secret

    async def _right(self, known: str | None, password: str, email: str, address: str) -> bool:
        """Judge a password, a few at a time. An account without one takes as long, and is never right."""
        async with self._hashing:
            await self._rates.require(rates.ACCOUNT, email)
            await self._rates.require(rates.ADDRESS, address)
            right = await asyncio.to_thread(self._matches, known, password)
            if not right:
                log.warning("account.wrong_password")
                await self._rates.spend(rates.ADDRESS, address)
                await self._rates.spend(rates.ACCOUNT, email)
            return right

    def _matches(self, known: str | None, password: str) -> bool:
        if known is None:
            self._hasher.hash(_normal(password))
            return False
        try:
            return self._hasher.verify(known, _normal(password))
        except VerifyMismatchError:
            return False

    async def _hashed(self, password: str) -> str:
        async with self._hashing:
            return await asyncio.to_thread(self._hasher.hash, _normal(password))

    async def _tell(self, user_id: str) -> None:
        """Have the live connections of this user look whether they may go on; those that miss it look by themselves."""
        with suppress(Unavailable):
            await self._backplane.publish_user_notification(user_id, {"event": "credentials_ended"})


def _secret() -> str:
    return PREFIX + secrets.token_urlsafe(32)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _address(email: str) -> str:
    return email.strip().lower()


def _normal(password: str) -> str:
    """Return the password as every keyboard gives it: an å may come as one character or as two."""
    return unicodedata.normalize("NFKC", password)


def _session_end(now: datetime, created_at: datetime) -> datetime:
    return min(now + IDLE, created_at + ABSOLUTE)


def _teacher(row: Any) -> Teacher:  # noqa: ANN401 -- a credential with its account
    return Teacher(row.user_id, row.email, row.name, row.password is not None, Kind(row.kind), row.hash)


def _in_force(row: Any) -> Any:  # noqa: ANN401 -- a credential with its account
    if row is None:
        told = "Sign in, or show a valid token: 'Authorization: Bearer …'. `huleedu user token EMAIL` makes one."
        raise Unauthenticated(told)
    return row


def _used() -> Unauthenticated:
    told = "This sign-in link has been used, or has run out. Ask whoever runs HuleEdu for a new one."
    return Unauthenticated(told, code="LINK_UNUSABLE")


def _wrong() -> Unauthenticated:
    told = "The address or the password is not right. Try again, or ask for a sign-in link."
    return Unauthenticated(told, code="SIGN_IN_FAILED")


def _require(row: Any, email: str) -> Any:  # noqa: ANN401 -- a row of account
    if row is None:
        raise NotFound(f"There is no account for {email}. `huleedu user add {email} --name NAME` makes one.")
    return row
