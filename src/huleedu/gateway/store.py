"""The gateway's tables: accounts, credentials, and answers that were given under an idempotency key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, Index, PrimaryKeyConstraint, Table, Text, delete, or_, select, update

from huleedu.platform.db import Timestamp, Tx, among, insert, metadata

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, Select

    from huleedu.gateway.answers import Asked
    from huleedu.platform.db import ReadTx

account = Table(
    "account",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("email", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("created_at", Timestamp, nullable=False),
    Column("password", Text),
    Column("disabled_at", Timestamp),
)
credential = Table(
    "credential",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("made_of", Text),
    Column("created_at", Timestamp, nullable=False),
    Column("expires_at", Timestamp),
    Index("credential_user", "user_id"),
    Index("credential_expiry", "expires_at"),
)
"""Each is known by the hash of its secret; `made_of` is the one that it was got with: a link, for a session."""
idempotency = Table(
    "idempotency",
    metadata,
    Column("user_id", Text, nullable=False),
    Column("route", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("body_hash", Text, nullable=False),
    Column("answer", Text, nullable=False),
    Column("at", Timestamp, nullable=False),
    PrimaryKeyConstraint("user_id", "route", "key"),
    Index("idempotency_at", "at"),
)


def add_account(tx: Tx, user_id: str, email: str, name: str) -> bool:
    """Insert an account; False if the address has one."""
    row = {"user_id": user_id, "email": email, "name": name, "created_at": tx.now}
    return bool(tx.execute(insert(account).values(row).on_conflict_do_nothing()))


def account_of(tx: ReadTx, email: str) -> Any:  # noqa: ANN401 -- a row of account, or None
    """Return the account of an address."""
    return tx.first(_held(tx, select(account).where(account.c.email == email)))


def accounts(tx: ReadTx) -> Sequence[Any]:
    """Return all accounts."""
    return tx.all(select(account).order_by(account.c.email))


def change_account(tx: Tx, user_id: str, **columns: object) -> None:
    """Update an account."""
    tx.execute(update(account).where(account.c.user_id == user_id).values(**columns))


def add_credential(tx: Tx, **row: object) -> None:
    """Insert a credential; those that have run out make room."""
    tx.execute(delete(credential).where(credential.c.expires_at <= tx.now))
    tx.execute(insert(credential).values(created_at=tx.now, **row))


def holder(tx: ReadTx, secret_hash: str) -> Any:  # noqa: ANN401 -- a credential with its account, or None
    """Return a credential in force with the account that it belongs to."""
    shown = (*account.c["user_id", "email", "name", "password"], *credential.c["hash", "kind", "made_of", "expires_at"])
    joined = select(*shown, credential.c.created_at).join(credential, credential.c.user_id == account.c.user_id)
    return tx.first(_held(tx, joined.where(credential.c.hash == secret_hash, _in_force(tx))))


def _held(tx: ReadTx, statement: Select[Any]) -> Select[Any]:
    """Have nobody else change the account before whoever decides about it is done."""
    return statement.with_for_update(of=account) if isinstance(tx, Tx) else statement


def take(tx: Tx, secret_hash: str, kind: str) -> Any:  # noqa: ANN401 -- a credential with its account, or None
    """Delete a credential of this kind and return it, with its account, if it was in force: nobody else gets it."""
    row = holder(tx, secret_hash)
    if row is None or row.kind != kind:
        return None
    taken = tx.execute(delete(credential).where(credential.c.hash == secret_hash))
    return row if taken else None


def prolong(tx: Tx, secret_hash: str, expires_at: datetime) -> None:
    """Let a credential that is still there be in force until then."""
    tx.execute(update(credential).where(credential.c.hash == secret_hash).values(expires_at=expires_at))


def end(tx: Tx, user_id: str, kinds: Collection[str], but: str = "") -> int:
    """Delete the user's credentials of these kinds, except one; return how many there were."""
    mine = (credential.c.user_id == user_id) & credential.c.kind.in_(kinds) & (credential.c.hash != but)
    return tx.execute(delete(credential).where(mine))


def in_force(tx: ReadTx, hashes: Iterable[str]) -> set[str]:
    """Return those of the credentials that are in force."""
    shown = select(credential.c.hash).where(among(credential.c.hash, "hashes"), _in_force(tx))
    return set(tx.scalars(shown, hashes=hashes))


def _in_force(tx: ReadTx) -> ColumnElement[bool]:
    return or_(credential.c.expires_at.is_(None), credential.c.expires_at > tx.now)


def answered(tx: ReadTx, asked: Asked) -> Any:  # noqa: ANN401 -- a row of idempotency, or None
    """Return what was answered under this key; the answer is empty while it is worked out."""
    return tx.first(select(idempotency).where(_under(asked)))


def begin_answer(tx: Tx, asked: Asked) -> datetime:
    """Note that something is asked under this key; return when that was for the first time."""
    row = {"user_id": asked.user_id, "route": asked.route, "key": asked.key, "body_hash": "", "answer": ""}
    tx.execute(insert(idempotency).values(at=tx.now, **row).on_conflict_do_nothing())
    first: datetime = tx.scalar(select(idempotency.c.at).where(_under(asked)))
    return first


def keep_answer(tx: Tx, asked: Asked, body_hash: str, answer: str) -> None:
    """Keep an answer for whoever asks the same again, unless there is one or the question has been erased."""
    unanswered = _under(asked) & (idempotency.c.answer == "")
    tx.execute(update(idempotency).where(unanswered).values(body_hash=body_hash, answer=answer))


def erase_answers(tx: Tx, user_id: str, batch_id: str, mentioned: str = "") -> None:
    """Delete what was answered about a batch, or those answers that mention one of its essays."""
    about = (idempotency.c.user_id == user_id) & idempotency.c.route.startswith(f"{batch_id}/", autoescape=True)
    tx.execute(delete(idempotency).where(about, idempotency.c.answer.contains(mentioned, autoescape=True)))


def use_up(tx: Tx, user_id: str, route: str, mentioned: str) -> None:
    """Erase an answer and what was asked, but for the key: asked again, it is not done again."""
    about = (idempotency.c.user_id == user_id) & (idempotency.c.route == route)
    naming = about & idempotency.c.answer.contains(mentioned, autoescape=True)
    tx.execute(update(idempotency).where(naming).values(body_hash="", answer=""))


def _under(asked: Asked) -> ColumnElement[bool]:
    there = idempotency.c
    return (there.user_id == asked.user_id) & (there.route == asked.route) & (there.key == asked.key)


def forget_answers(tx: Tx, before: datetime) -> int:
    """Delete answers that nobody will ask for again; return how many."""
    return tx.execute(delete(idempotency).where(idempotency.c.at < before))
