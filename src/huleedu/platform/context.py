"""What is known about the work in hand, bound once per message or request instead of passed through every signature.

Envelopes, log lines and calls to other services take their correlation, owner and trace from here.
"""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from uuid_utils.compat import uuid7

if TYPE_CHECKING:
    from collections.abc import Iterator

    from huleedu.contracts.envelope import EventEnvelope


@dataclass(frozen=True, slots=True)
class Context:
    """Who works, for whom, on what, and because of which request."""

    service: str = ""
    correlation_id: UUID | None = None
    causation_id: UUID | None = None
    batch_id: str | None = None
    user_id: str | None = None
    traceparent: str | None = None


_NOTHING = Context()
_current: ContextVar[Context] = ContextVar("context", default=_NOTHING)


def current() -> Context:
    """Return what is bound here."""
    return _current.get()


@contextmanager
def bound(**fields: Any) -> Iterator[Context]:  # noqa: ANN401 -- the fields of Context, checked by replace()
    """Bind these fields of the context while the block runs."""
    context = replace(_current.get(), **fields)
    token = _current.set(context)
    try:
        yield context
    finally:
        _current.reset(token)


@contextmanager
def caused_by(envelope: EventEnvelope[Any]) -> Iterator[None]:
    """Work because of this event: what is said inside bears its correlation, owner and trace."""
    with bound(
        correlation_id=envelope.correlation_id,
        causation_id=envelope.event_id,
        batch_id=envelope.subject,
        user_id=envelope.user_id,
        traceparent=envelope.traceparent,
    ):
        yield


def new_trace() -> str:
    """Return the W3C traceparent of a trace that begins here."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


def new_id() -> UUID:
    """Return a UUID (v7): unique, and growing with time, so that indexes stay compact."""
    return uuid7()
