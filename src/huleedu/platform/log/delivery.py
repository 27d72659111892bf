"""A record with what it says, or why that cannot be read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError

from huleedu.contracts.messages import decode
from huleedu.platform.context import bound, caused_by

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from huleedu.contracts.envelope import EventEnvelope
    from huleedu.platform.log import Record


class Delivery(NamedTuple):
    """One record, decoded: it has either an envelope or an error.

    `event_id` is the event's; for what cannot be read, its place in the log.
    """

    record: Record
    event_id: str
    envelope: EventEnvelope[Any] | None
    error: Exception | None = None

    @classmethod
    def of(cls, record: Record) -> Delivery:
        """Decode a record by its topic."""
        try:
            envelope = decode(record.topic, record.value)
        except ValidationError as error:
            return cls(record, f"{record.topic}/{record.partition}/{record.offset}", None, error)
        return cls(record, str(envelope.event_id), envelope)

    @property
    def lane(self) -> tuple[str, str]:
        """What order is kept for: the topic and the key."""
        return self.record.topic, self.record.key

    def bound(self) -> AbstractContextManager[object]:
        """Work because of this record, as far as it can be read."""
        return caused_by(self.envelope) if self.envelope else bound(batch_id=self.record.key)
