"""What a service is: what it hears, what it asks before it decides, its internal routes, its background work."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from huleedu.contracts.envelope import Event

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from fastapi import APIRouter
    from starlette.types import ASGIApp

    from huleedu.contracts.envelope import EventEnvelope
    from huleedu.platform.db import ReadTx, Tx
    from huleedu.platform.log import Backlog
    from huleedu.platform.workers import Workers


@dataclass(frozen=True, slots=True)
class Notice:
    """Something to push to a teacher after the commit, as JSON and best effort: the feed has it already."""

    user_id: str
    message: str


class Fold(Protocol):
    """Takes a whole stretch of the log at once."""

    def __call__(
        self, tx: Tx, envelopes: Sequence[EventEnvelope[Any]], facts: Mapping[str, object], /
    ) -> Sequence[Notice]:
        """Apply the events in one transaction and return what to push."""


@dataclass(frozen=True, kw_only=True)
class Service:
    """One service, wired. A handler is `(tx, message) -> messages`; an informed one also gets its key's fact.

    `gather` asks other services, once per transaction and before it. After a message of the type `ends` has
    been handled, nothing about its subject is heard any more. `queue` tells what waits in it, by kind, when somebody
    looks. `prepare` is run once, in a transaction, before anything
    else, where no other process can have anything in hand; `tasks` are loops that run as long as the service does;
    `workers` are its child processes; `public` is what it serves to the outside world; `stopping` is called first of
    all when the process goes down.
    """

    name: str
    group: str
    on: Mapping[type[Event], Callable[[Tx, Any], Iterable[Event]]] = field(default_factory=dict)
    informed: Mapping[type[Event], Callable[[Tx, Any, Any], Iterable[Event]]] = field(default_factory=dict)
    folds: frozenset[type[Event]] = frozenset()
    fold: Fold | None = None
    gather: Callable[[Sequence[EventEnvelope[Any]]], Awaitable[Mapping[str, object]]] | None = None
    ends: type[Event] | None = None
    queue: Callable[[ReadTx], Mapping[str, Backlog]] | None = None
    routes: Sequence[APIRouter] = ()
    tasks: Sequence[Callable[[], Awaitable[None]]] = ()
    prepare: Callable[[Tx], object] | None = None
    workers: Workers | None = None
    public: ASGIApp | None = None
    stopping: Callable[[], None] | None = None

    @property
    def hears(self) -> frozenset[type[Event]]:
        """Every message type that this service subscribes to."""
        return frozenset(self.on) | frozenset(self.informed) | self.folds
