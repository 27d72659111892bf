"""Logs: one line for each thing that happened, readable in a terminal and JSON otherwise.

Who works on what comes from the bound context, so it is in every line that concerns a batch. Never logged: essay
text, file names, credentials. Callers log ids, counts and error types only; of an exception it is told what it was and
where, not what it said, since that might quote an essay.
"""

from __future__ import annotations

import logging
import sys
import traceback
from typing import TYPE_CHECKING

import structlog

from huleedu.platform.context import current

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping
    from typing import Any

    from structlog.typing import Processor


def configure(level: str) -> None:
    """Send structlog and the standard library's loggers to stderr in one form."""
    terminal = sys.stderr.isatty()
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_context,
        tell_exception,
    ]
    renderer: Processor = structlog.processors.JSONRenderer()
    if terminal:
        renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=renderer, foreign_pre_chain=shared))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # Below this uvicorn tells the address of each live connection, then quotes its headers and frames: credentials,
    # and what pupils wrote; botocore quotes what it signs.
    for chatty in (
        "httpx2",
        "httpcore2",
        "uvicorn.access",
        "uvicorn.error",
        "alembic",
        "stamina",
        "botocore",
        "urllib3",
    ):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))
    logging.getLogger("opentelemetry.util.re").setLevel(logging.CRITICAL)  # it quotes a header that it cannot read


def add_context(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Add what is bound: service, batch_id, user_id, correlation_id, trace."""
    context = current()
    known = {
        "service": context.service,
        "batch_id": context.batch_id,
        "user_id": context.user_id,
        "correlation_id": context.correlation_id and str(context.correlation_id),
        "traceparent": context.traceparent,
    }
    for name, value in known.items():
        if value:
            event.setdefault(name, value)
    return event


def tell_exception(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Say what was raised and where, with what caused it; never what it said."""
    error = event.pop("exc_info", None)
    if error is True:
        error = sys.exception()
    if isinstance(error, tuple):
        error = error[1]
    if isinstance(error, BaseException):
        event["exception"] = "".join(_story(error))
    return event


def _story(error: BaseException) -> Iterator[str]:
    cause = error.__cause__ or error.__context__
    if cause is not None:
        yield from _story(cause)
    for member in error.exceptions if isinstance(error, BaseExceptionGroup) else ():
        yield from _story(member)
    yield from traceback.format_tb(error.__traceback__)
    yield f"{type(error).__name__}\n"
