"""All that the aggregator's views hold."""

import json
from collections.abc import Collection

from sqlalchemy import select

from huleedu.aggregator import store
from huleedu.platform.db import Db

DECIDING = {"generation", "version", "ended_run"}
"""What depends on when a row was written, and not on what it says."""


async def views(db: Db, *, but: Collection[str] = frozenset({"generation"})) -> bytes:
    """Return the bytes of all views that are read."""
    current = await db.read(store.current_generation)
    found = [
        [view.name, {name: str(value) for name, value in row._mapping.items() if name not in but}]
        for view in store.VIEWS
        for row in await db.read(
            lambda tx, view=view: tx.all(  # type: ignore[misc]
                select(view).where(view.c.generation == current).order_by(*view.primary_key)
            )
        )
    ]
    return json.dumps(found).encode()
