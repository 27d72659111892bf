"""The one loop that consumes the log, for every service and every adapter.

fetch -> gather facts (before the transaction) -> ONE transaction {position under the fence, inbox, handlers, outbox}
-> push. A failing stretch is halved until the poison record stands alone; its key is parked, all others go on.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from huleedu.contracts.messages import TOPICS
from huleedu.platform.context import bound, caused_by
from huleedu.platform.errors import Retry, describe
from huleedu.platform.log import parking, store
from huleedu.platform.log.delivery import Delivery
from huleedu.platform.metrics import handling
from huleedu.platform.tasks import finish

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from huleedu.contracts.envelope import EventEnvelope
    from huleedu.platform.app import Platform
    from huleedu.platform.db import Tx
    from huleedu.platform.service import Notice, Service

    Apply = Callable[[list[Delivery], Mapping[str, object], Tx], Sequence[Notice]]

TRIES = 3
TRANSACTION_SECONDS = 0.010  # of work: others wait for the same writer, and a crowded machine is no reason to do less
SHARED_SECONDS = 0.100  # where writers do not wait for one another, and one transaction alone costs more than the above
LARGEST = 2_000
STOP_SECONDS = 1.0
"""So long a server that is to stop works on what it has fetched; what is not done by then is fetched again."""
log = structlog.get_logger()


class Runner:
    """Runs one service's handlers over the log."""

    def __init__(self, platform: Platform, service: Service) -> None:
        self._platform, self._service, self._group = platform, service, service.group
        self._size = 64
        self._deciding = asyncio.Lock()  # a redrive must not decide between another's question and its transaction

    async def run(self) -> None:
        """Consume until cancelled."""
        topics = [TOPICS[message] for message in self._service.hears]
        with bound(service=self._service.name):
            async with self._platform.log.consume(self._group, topics) as consumer:
                while True:
                    records = await consumer.fetch()
                    try:
                        await finish(self._process_all([Delivery.of(record) for record in records]), STOP_SECONDS)
                    except store.Fenced:
                        await consumer.rewind()

    async def _process_all(self, deliveries: list[Delivery]) -> None:
        while deliveries:
            stretch, deliveries = deliveries[: self._size], deliveries[self._size :]
            await self._process(stretch)

    async def _process(self, deliveries: list[Delivery], attempt: int = 1) -> None:
        """Commit this stretch; if it cannot be, find the record that is to blame and park its key."""
        try:
            return await self.commit(deliveries, self._apply)
        except store.Fenced:
            raise
        except Exception as error:  # noqa: BLE001 -- whatever a handler raises is parked and told
            cause = describe(error)
        if middle := len(deliveries) // 2:
            await self._process(deliveries[:middle])
            return await self._process(deliveries[middle:])
        if attempt < TRIES:
            await self._back_off(attempt)
            return await self._process(deliveries, attempt + 1)
        await self._platform.db.write(lambda tx: parking.give_up(tx, self._group, deliveries[0], cause, TRIES))
        with deliveries[0].bound():
            log.error("log.parked", group=self._group, topic=deliveries[0].record.topic, cause=cause)
        return None

    async def commit(self, deliveries: list[Delivery], apply: Apply) -> None:
        """Gather, apply, push; a passing fault is waited out for as long as it lasts, and nothing is skipped."""
        for attempt in itertools.count():
            try:
                async with self._deciding:
                    body = partial(apply, deliveries, await self._gather(deliveries))
                    notices = await self._platform.db.write(body)
                await self._push(notices)
                break
            except Retry as error:
                log.warning("log.waiting", group=self._group, cause=describe(error), attempt=attempt)
                await self._back_off(attempt)

    async def _gather(self, deliveries: list[Delivery]) -> Mapping[str, object]:
        """Ask other services what has to be known before the transaction."""
        envelopes = [delivery.envelope for delivery in deliveries if delivery.envelope is not None]
        return await self._service.gather(envelopes) if self._service.gather and envelopes else {}

    def _apply(self, deliveries: list[Delivery], facts: Mapping[str, object], tx: Tx) -> Sequence[Notice]:
        """Do everything that these records mean, in one transaction."""
        started = self._platform.clock.worked()
        store.advance(tx, self._group, [delivery.record for delivery in deliveries])
        store.hold(tx, self._group, {delivery.record.key for delivery in deliveries})
        notices = self.effects(tx, parking.divert(tx, self._group, deliveries), facts)
        self._resize(len(deliveries), self._platform.clock.worked() - started)
        return notices

    def effects(self, tx: Tx, deliveries: Sequence[Delivery], facts: Mapping[str, object]) -> Sequence[Notice]:
        """Hand what was not seen before to its handlers; what they say goes to the outbox."""
        unseen = store.unseen(tx, self._group, (delivery.event_id for delivery in deliveries))
        silent = store.buried(tx, self._group, (delivery.record.key for delivery in deliveries))
        folded: list[EventEnvelope[Any]] = []
        said: list[dict[str, Any]] = []
        for delivery in deliveries:
            key = delivery.record.key
            if delivery.event_id not in unseen or key in silent:
                continue
            unseen.discard(delivery.event_id)
            envelope, fact = delivery.envelope, facts.get(key)
            if envelope is None or isinstance(fact, Exception):
                raise delivery.error or fact  # type: ignore[misc]  # one of the two is the reason
            if type(envelope.data) is self._service.ends:
                parking.bury(tx, self._group, key)
                silent.add(key)
                folded = [earlier for earlier in folded if earlier.subject != key]
            if type(envelope.data) in self._service.folds:
                folded.append(envelope)
            else:
                said += self._handle(tx, envelope, fact)
        store.post(tx, said)
        if not self._service.fold or not folded:
            return ()
        with handling(self._group, "fold", folded):
            return self._service.fold(tx, folded, facts)

    def _handle(self, tx: Tx, envelope: EventEnvelope[Any], fact: object) -> list[dict[str, Any]]:
        message, service = envelope.data, self._service
        with caused_by(envelope), handling(self._group, type(message).__name__, [envelope]):
            if handler := service.on.get(type(message)):
                return store.compose(tx, handler(tx, message))
            return store.compose(tx, service.informed[type(message)](tx, message, fact))

    async def _push(self, notices: Sequence[Notice]) -> None:
        """Publish on the backplane, best effort: a hint that is lost is in the feed, and the next ping tells."""
        told = [(notice.user_id, notice.message) for notice in notices]
        try:
            await self._platform.backplane.publish_user_notifications(told)
        except Exception as error:  # noqa: BLE001 -- whatever the backplane's client raises, the feed has it
            log.warning("log.not_pushed", cause=describe(error))

    def _resize(self, handled: int, seconds: float) -> None:
        """Double the stretch while its transactions are short, halve it when they are long."""
        enough = SHARED_SECONDS if self._platform.db.shared else TRANSACTION_SECONDS
        if seconds > 2 * enough:
            self._size = max(1, self._size // 2)
        elif seconds < enough and handled == self._size:
            self._size = min(LARGEST, self._size * 2)

    async def _back_off(self, attempt: int) -> None:
        await self._platform.clock.sleep(min(5.0, 0.05 * 2 ** min(attempt, 7)) * random.uniform(0.5, 1.0))  # noqa: S311 -- jitter
