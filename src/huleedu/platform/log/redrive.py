"""Parked records, handled again when an operator asks for it: in order, each key until it fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from huleedu.platform.context import bound
from huleedu.platform.errors import describe
from huleedu.platform.log import Record, parking, store
from huleedu.platform.log.delivery import Delivery

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from huleedu.platform.app import Platform
    from huleedu.platform.db import Tx
    from huleedu.platform.log.runner import Runner
    from huleedu.platform.service import Notice, Service


async def redrive(platform: Platform, service: Service, runner: Runner) -> None:
    """Wait for requests and serve them, until cancelled."""
    with bound(service=service.name), platform.db.watch([parking.redrive_channel(service.group)]) as watch:
        while True:
            await watch.take()
            await serve(platform, service, runner)


async def serve(platform: Platform, service: Service, runner: Runner) -> None:
    """Handle what a redrive was asked for, and what was parked behind it meanwhile; a key that fails rests again."""
    while (row := await platform.db.read(lambda tx: parking.due(tx, service.group))) is not None:
        await _handle(platform, runner, row)


async def _handle(platform: Platform, runner: Runner, row: Any) -> None:  # noqa: ANN401 -- a row of dead_letter
    """Handle one parked record; its dead letter goes in the same transaction."""
    delivery = Delivery.of(Record(row.topic, row.part, row.id, row.key, row.value, fence=0))

    def again(deliveries: list[Delivery], facts: Mapping[str, object], tx: Tx) -> Sequence[Notice]:
        store.hold_position(tx, row.grp, row.topic, row.part)
        store.hold(tx, row.grp, [row.key])
        parking.unpark(tx, row.grp, row.id, delivery)
        return runner.effects(tx, deliveries, facts)

    try:
        await runner.commit([delivery], again)
    except Exception as error:  # noqa: BLE001 -- whatever a handler raises keeps its record parked, with the new cause
        cause = describe(error)
        await platform.db.write(lambda tx: parking.keep(tx, row, cause))
