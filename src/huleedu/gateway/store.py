"""The gateway's tables: accounts, bearer tokens, and answers that were given under an idempotency key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Boolean, Column, Index, PrimaryKeyConstraint, Table, Text, delete, select, update
from sqlalchemy.dialects.sqlite import insert

from huleedu.platform.db import Timestamp, each, metadata

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement

    from huleedu.gateway.answers import Asked
    from huleedu.platform.db import ReadTx, Tx

account = Table(
    "account",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("email", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("created_at", Timestamp, nullable=False),
)
token = Table(
    "token",
    metadata,
    Column("token_id", Text, primary_key=True),
    Column("user_id", Text, nullable=False),
    Column("created_at", Timestamp, nullable=False),
    Column("revoked", Boolean, nullable=False),
    Index("token_user", "user_id"),
)
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
    return tx.first(select(account).where(account.c.email == email))


def accounts(tx: ReadTx) -> Sequence[Any]:
    """Return all accounts."""
    return tx.all(select(account).order_by(account.c.email))


def add_token(tx: Tx, token_id: str, user_id: str) -> None:
    """Insert a token."""
    tx.execute(insert(token).values(token_id=token_id, user_id=user_id, created_at=tx.now, revoked=False))


def revoke_tokens(tx: Tx, user_id: str) -> int:
    """Revoke all tokens of an account; return how many were in force."""
    mine = (token.c.user_id == user_id) & token.c.revoked.is_(False)
    return tx.execute(update(token).where(mine).values(revoked=True))


def holder(tx: ReadTx, token_id: str) -> Any:  # noqa: ANN401 -- a row of account, or None
    """Return the account that a token in force belongs to."""
    joined = select(account).join(token, token.c.user_id == account.c.user_id)
    return tx.first(joined.where(token.c.token_id == token_id, token.c.revoked.is_(False)))


def in_force(tx: ReadTx, token_ids: Iterable[str]) -> set[str]:
    """Return those of the tokens that have not been revoked."""
    shown = select(each(token_ids).c.value)
    return set(tx.scalars(select(token.c.token_id).where(token.c.token_id.in_(shown), token.c.revoked.is_(False))))


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


def _under(asked: Asked) -> ColumnElement[bool]:
    there = idempotency.c
    return (there.user_id == asked.user_id) & (there.route == asked.route) & (there.key == asked.key)


def forget_answers(tx: Tx, before: datetime) -> None:
    """Delete answers that nobody will ask for again."""
    tx.execute(delete(idempotency).where(idempotency.c.at < before))
