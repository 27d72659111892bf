"""The one wrapper around every event, and the base of every event."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Generic, TypeVar
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, PlainSerializer


def _zulu(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


Moment = Annotated[AwareDatetime, PlainSerializer(_zulu, return_type=str, when_used="json")]
"""A point in time: UTC, ISO 8601 with `Z` on the wire."""


class Fact(BaseModel):
    """What services tell one another: immutable; fields a reader does not know are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Request(BaseModel):
    """What clients send: a field that is not known is an error, so that a misspelled one is not lost in silence."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Event(Fact):
    """A thing that happened to a batch. `batch_id` is its subject: the key that orders it."""

    batch_id: str

    @property
    def subject_version(self) -> int | None:
        """The subject's version, only from its single writer."""
        return None


T = TypeVar("T", bound=Event)


class EventEnvelope(Fact, Generic[T]):
    """An event with where it came from.

    `event_id` is minted once, when the fact is written to the outbox, and never again by a relay: it is what makes
    effects happen once. `user_id` is the owner of the subject; `correlation_id` joins all that one request caused,
    `causation_id` names the event that caused this one; `traceparent` is W3C trace context.
    """

    event_id: UUID
    event_type: str
    event_timestamp: Moment
    source_service: str
    schema_version: int = 1
    correlation_id: UUID
    causation_id: UUID | None = None
    traceparent: str | None = None
    subject: str
    user_id: str | None = None
    version: int | None = None
    data: T
    metadata: dict[str, str] | None = None
