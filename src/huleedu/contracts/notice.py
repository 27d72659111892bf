"""What is pushed: the teacher's feed, the frames of the socket, and what an operator must know."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, RootModel

from huleedu.contracts.batch import BatchClientStatus, BatchStatus
from huleedu.contracts.envelope import Event, Fact, Moment
from huleedu.contracts.essay import EssayView, RefusalCode

FEEDS = 200
"""Places in teachers' feeds that are asked for together."""


class RecordParkedV1(Event):
    """A record that cannot be handled is parked with all that follow on its key; `parked` 0 means: none any more."""

    group: str
    topic: str
    cause: str
    parked: int


class FeedEvent(StrEnum):
    """The types of frames; each has a reducer wherever a page is kept live."""

    BATCH_UPDATED = "batch_updated"
    BATCH_DELETED = "batch_deleted"
    BATCH_PIPELINE_COMPLETED = "batch_pipeline_completed"
    BATCH_PIPELINE_REJECTED = "batch_pipeline_rejected"
    ESSAY_UPDATED = "essay_updated"
    ESSAY_REMOVED = "essay_removed"
    ESSAY_REFUSED = "essay_refused"


class Entry(Fact):
    """One entry of a teacher's feed. `seq` grows by one for each entry of that teacher and is the only total order.

    `traceparent` is the W3C trace context of what was said last of what led to it.
    """

    seq: int
    epoch: str
    batch_id: str
    version: int
    at: Moment
    traceparent: str | None = None


class FeedItem(Entry):
    """An entry as services hand it on: what its `data` is, is told by the frames below."""

    event: FeedEvent
    data: dict[str, Any]


class FeedPlace(Fact):
    """A place in one teacher's feed, by its cursor; without one, its head is meant."""

    user_id: str
    after: str | None = None


class FeedPage(Fact):
    """A stretch of one teacher's feed, up to `cursor`; `more` follows.

    `resync` is set when the asked cursor is older than what is kept.
    """

    items: tuple[FeedItem, ...]
    cursor: str
    resync: bool = False
    more: bool = False


# -- the frames of /ws


class BatchUpdated(Entry):
    """The batch is now so, whole."""

    event: Literal[FeedEvent.BATCH_UPDATED]
    data: BatchStatus


class BatchGone(Fact):
    """Which batch is gone."""

    batch_id: str


class BatchDeleted(Entry):
    """The batch is gone, and all its essays."""

    event: Literal[FeedEvent.BATCH_DELETED]
    data: BatchGone


class RunEnded(Fact):
    """Which run has ended, and how."""

    run_id: str
    status: BatchClientStatus


class BatchPipelineCompleted(Entry):
    """A run has ended; the batch as it is since was told before."""

    event: Literal[FeedEvent.BATCH_PIPELINE_COMPLETED]
    data: RunEnded


class RunRejected(Fact):
    """Which start came to nothing, and why."""

    run_id: str
    code: str
    detail: str


class BatchPipelineRejected(Entry):
    """A start that was accepted lost a race; nothing of it ran."""

    event: Literal[FeedEvent.BATCH_PIPELINE_REJECTED]
    data: RunRejected


class EssayUpdated(Entry):
    """The essay is now so, whole."""

    event: Literal[FeedEvent.ESSAY_UPDATED]
    data: EssayView


class EssayGone(Fact):
    """Which essay is gone."""

    essay_id: str


class EssayRemoved(Entry):
    """The essay is gone from the batch."""

    event: Literal[FeedEvent.ESSAY_REMOVED]
    data: EssayGone


class Refusal(Fact):
    """Why a file was refused; which one was told to whoever sent it."""

    code: RefusalCode


class EssayRefused(Entry):
    """A file was not stored as an essay of the batch."""

    event: Literal[FeedEvent.ESSAY_REFUSED]
    data: Refusal


class Welcome(Fact):
    """The connection goes on from this cursor; a ping comes at least so often."""

    event: Literal["welcome"]
    cursor: str
    heartbeat_s: float


class Ping(Fact):
    """Nothing is missing up to this cursor."""

    event: Literal["ping"]
    cursor: str


class Resync(Fact):
    """What the page shows cannot be brought up to date by frames: take a fresh snapshot."""

    event: Literal["resync"]
    reason: str


class Reconnect(Fact):
    """Close, and come again after so long, with your cursor."""

    event: Literal["reconnect"]
    after_ms: int


class Hello(Fact):
    """The client's first frame: the cursor it has, if any, and a ticket if nothing else says who it is."""

    event: Literal["hello"]
    cursor: str | None = None
    ticket: str | None = None


class Pong(Fact):
    """The client is there."""

    event: Literal["pong"]


FeedFrame = (
    BatchUpdated
    | BatchDeleted
    | BatchPipelineCompleted
    | BatchPipelineRejected
    | EssayUpdated
    | EssayRemoved
    | EssayRefused
)


class ServerFrame(RootModel[Annotated[FeedFrame | Welcome | Ping | Resync | Reconnect, Field(discriminator="event")]]):
    """What the server says on `/ws`."""


class ClientFrame(RootModel[Annotated[Hello | Pong, Field(discriminator="event")]]):
    """What the client says on `/ws`; `hello` comes first."""
