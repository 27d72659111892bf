"""The event backbone: a port to the log, and one runner that makes effects happen once in the database.

Publishing is adding rows to the outbox in the caller's transaction (`store.append`). Reading is a `Consumer`: it
hands out records of the partitions it was assigned, each with the fence of that assignment. Position, inbox and
effects share one transaction, so a record that is read twice has its effects once. Order is per (topic, key).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime

    from huleedu.platform.clock import Clock


class Record(NamedTuple):
    """One record of the log. `fence` is the number of the assignment it was read under."""

    topic: str
    partition: int
    offset: int
    key: str
    value: bytes
    fence: int


class Backlog(NamedTuple):
    """How much waits somewhere, and since when the oldest of it does."""

    size: int = 0
    since: datetime | None = None


class Consumer(Protocol):
    """One group's reading of its topics."""

    async def fetch(self) -> list[Record]:
        """Wait until something is there and return it: at most 2,000 records, those of a partition in order.

        Whoever fetches again has handled what was handed out before.
        """

    async def rewind(self) -> None:
        """Hand out nothing more of the present assignments, and go on from the positions of what is still ours.

        Some record was fenced: its partition has moved, or is moving.
        """


class Log(Protocol):
    """Where records come from. Its adapters pass one contract suite."""

    def consume(self, group: str, topics: Collection[str]) -> AbstractAsyncContextManager[Consumer]:
        """Read these topics for this group, from its positions in the database."""

    async def tend(self, clock: Clock) -> None:
        """Do for ever what the log needs besides being read: bring records to it, or forget old ones."""

    async def lag(self, group: str, topics: Collection[str]) -> Mapping[str, Backlog]:
        """Return what this group has not handled yet, by topic, whoever of its consumers should.

        Raises:
            Unavailable: if what keeps the records does not tell where they end.
        """

    async def unsent(self) -> Backlog:
        """Return what is said and still waits to be brought to the log."""

    async def ready(self) -> None:
        """Raise Unavailable unless what keeps the records answers."""
