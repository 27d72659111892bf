"""Answers that are kept for a day: what is asked again under its Idempotency-Key is answered again, and done once."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from python_multipart.multipart import parse_options_header

from huleedu.gateway import store
from huleedu.platform.context import new_id
from huleedu.platform.errors import Unprocessable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from datetime import datetime

    from huleedu.platform.db import Db, Tx

Answer = dict[str, Any]
BETWEEN_PARTS = b"\0"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: whose, of what, and under which key, if any."""

    user_id: str
    route: str
    key: str | None


class Answers:
    """Keeps what was answered under a key, with a hash of what was asked."""

    def __init__(self, db: Db) -> None:
        self._db = db

    async def known(self, asked: Asked, body: str) -> Answer | None:
        """Return what was answered to this request before."""
        row = await self._db.read(lambda tx: store.answered(tx, asked)) if asked.key else None
        return _same(row, _hash(body)) if row else None

    async def once(self, asked: Asked, body: str, act: Callable[[Tx, UUID], Answer]) -> Answer:
        """Act once under this key, in the transaction that keeps the answer, or return what was answered before."""
        minted = new_id()

        def once(tx: Tx) -> Answer:
            row = store.answered(tx, asked) if asked.key else None
            if row is not None:
                return _same(row, _hash(body))
            answer = act(tx, minted)
            if asked.key:
                store.begin_answer(tx, asked)
                store.keep_answer(tx, asked, _hash(body), json.dumps(answer))
            return answer

        return await self._db.write(once)

    # An upload is too large to be hashed before it is done, and too slow for one transaction. So it is noted when it
    # begins, and its answer when it has ended; what comes in between under the same key is done beside it.

    async def of_upload(self, asked: Asked, upload: Upload) -> Answer | None:
        """Return what was answered to this upload before; it is read to its end to see whether it is the same."""
        row = await self._db.read(lambda tx: store.answered(tx, asked)) if asked.key else None
        if row is None or not row.answer:
            return None
        async for _piece in upload:
            pass
        return _same(row, upload.hash)

    async def begin(self, asked: Asked) -> datetime:
        """Note that this is under way, and return since when it was tried for the first time."""
        return await self._db.write(lambda tx: store.begin_answer(tx, asked))

    async def end(self, asked: Asked, upload: Upload, answer: Answer) -> Answer:
        """Keep the answer and return it, or the one that was kept meanwhile; of an erased batch nothing is kept."""

        def end(tx: Tx) -> Answer:
            store.keep_answer(tx, asked, upload.hash, json.dumps(answer))
            row = store.answered(tx, asked)
            return _same(row, upload.hash) if row else answer

        return await self._db.write(end)


class Upload:
    """A multipart body as it streams through, and its hash without what divides its parts: each attempt has its own."""

    def __init__(self, content_type: str, body: AsyncIterator[bytes]) -> None:
        self.content_type = content_type
        self._body = body
        # Without a boundary it is no upload, and will be refused.
        self._boundary = parse_options_header(content_type)[1].get(b"boundary") or BETWEEN_PARTS
        self._hash = hashlib.sha256()
        self._tail = b""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Pass the body on, hashing all but what may be the beginning of a boundary."""
        async for piece in self._body:
            *before, rest = (self._tail + piece).split(self._boundary)
            for part in before:
                self._hash.update(part + BETWEEN_PARTS)
            sure = max(0, len(rest) - len(self._boundary) + 1)
            self._hash.update(rest[:sure])
            self._tail = rest[sure:]
            yield piece

    @property
    def hash(self) -> str:
        """What two uploads of the same have in common, when they have streamed through."""
        whole = self._hash.copy()
        whole.update(self._tail)
        return whole.hexdigest()


def _same(row: Any, body_hash: str) -> Answer:  # noqa: ANN401 -- a row of idempotency
    if row.body_hash != body_hash:
        told = "This Idempotency-Key was used for something else, or for what is deleted. Use a new one."
        raise Unprocessable(told, code="KEY_REUSED")
    answer: Answer = json.loads(row.answer)
    return answer


def _hash(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()
