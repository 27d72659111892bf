"""What is pushed: the teacher's feed, the frames of the socket, and what an operator must know."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from huleedu.contracts.envelope import Event, Fact, Moment


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


class FeedItem(Fact):
    """One entry of a teacher's feed. `seq` grows by one for each entry of that teacher and is the only total order."""

    event: FeedEvent
    seq: int
    epoch: str
    batch_id: str
    version: int
    data: dict[str, Any]
    at: Moment


class FeedPage(Fact):
    """A stretch of one teacher's feed. `resync` is set when the asked cursor is older than what is kept."""

    items: tuple[FeedItem, ...]
    cursor: str
    resync: bool = False
