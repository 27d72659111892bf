"""Deleting a service's garbage, and knowing when nothing of an erased batch is left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from huleedu.platform.blobs import store
from huleedu.platform.context import bound
from huleedu.platform.errors import describe
from huleedu.platform.log import store as log_store

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from huleedu.contracts.envelope import Event
    from huleedu.platform.app import Platform
    from huleedu.platform.db import Tx

AGAIN_SECONDS = 60.0
"""Soon enough for what was expected and never came, seldom enough for a disk that is in trouble."""
log = structlog.get_logger()


class Sweep:
    """Deletes one service's garbage; `gone(batch_id)` is what it then says of an erased batch."""

    def __init__(self, platform: Platform, group: str, gone: Callable[[str], Event]) -> None:
        self._db, self._blobs, self._clock = platform.db, platform.blobs, platform.clock
        self._group, self._gone = group, gone

    async def sweep(self) -> None:
        """Delete what is due as soon as there is any; what cannot be deleted holds up nothing else."""
        with self._db.watch([store.CHANNEL]) as watch:
            while True:
                await watch.take()
                for row in await self._db.read(lambda tx: store.due(tx, self._group)):
                    with bound(user_id=row.user_id, batch_id=_batch(row.prefix)):
                        try:
                            await self._delete(row.prefix, row.due)
                        except Exception as error:  # noqa: BLE001 -- whatever keeps the bytes may raise; asked again
                            log.warning("blobs.not_deleted", group=self._group, cause=describe(error))

    async def remind(self) -> None:
        """Look again, now and then, for what has become due and for what could not be deleted."""
        while True:
            await self._clock.sleep(AGAIN_SECONDS)
            await self._db.write(lambda tx: tx.announce(store.CHANNEL))

    async def _delete(self, prefix: str, due: datetime) -> None:
        batch_id = _batch(prefix)
        erased = await self._db.read(lambda tx: log_store.buried(tx, self._group, [batch_id]))
        await self._blobs.delete(batch_id if erased else prefix)
        await self._db.write(lambda tx: self._forget(tx, prefix, due))

    def _forget(self, tx: Tx, prefix: str, due: datetime) -> None:
        batch_id = _batch(prefix)
        log_store.hold(tx, self._group, [batch_id])
        store.forget(tx, self._group, prefix, due)
        if log_store.buried(tx, self._group, [batch_id]) and not store.remains(tx, self._group, batch_id):
            log_store.append(tx, [self._gone(batch_id)])


def _batch(prefix: str) -> str:
    """Every blob's id begins with its batch's."""
    return prefix.partition("/")[0]
