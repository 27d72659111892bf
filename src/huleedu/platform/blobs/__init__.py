"""Blobs: texts, originals and rich results, named by where they belong and by a hash of what they hold."""

from __future__ import annotations

import hashlib
import re
from typing import Protocol

NAME = re.compile(r"[\w-]{1,128}(/[\w-]{1,128})*", re.ASCII)
"""Ids and prefixes: plain names with slashes between, so that none leads anywhere else, whatever keeps the bytes."""


class Blobs(Protocol):
    """Keeps bytes. An id is `{batch_id}/{essay_id}/{sha256}`, so that erasing a batch is deleting a prefix.

    Every operation raises KeyError for what is no id or prefix.
    """

    async def put(self, prefix: str, data: bytes) -> str:
        """Store the bytes durably under the prefix and return their id; the same bytes have the same id."""

    async def get(self, blob_id: str) -> bytes:
        """Return the bytes. Raises KeyError when there are none of this id."""

    async def delete(self, prefix: str) -> None:
        """Delete the blob of this id, or every blob whose id begins with `{prefix}/`; nothing there is fine."""

    async def names(self) -> set[str]:
        """Return every id that there is."""


def blob_id(prefix: str, data: bytes) -> str:
    """Return the id that these bytes have under the prefix."""
    return f"{prefix}/{hashlib.sha256(data).hexdigest()}"


def checked(name: str) -> str:
    """Return what is an id or prefix, or raise KeyError."""
    if not NAME.fullmatch(name):
        raise KeyError(name)
    return name
