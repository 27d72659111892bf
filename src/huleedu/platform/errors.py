"""Errors by what to do about them. They are raised where they are found and answered at the edge, once."""

from __future__ import annotations

import traceback
from http import HTTPStatus
from pathlib import Path

from pydantic import ValidationError

PACKAGE = Path(__file__).parents[1]


class Retry(Exception):
    """It may work in a moment: back off and try the same again."""


class Usage(Exception):
    """The operator must change something; the text says what. Shown without a traceback."""


class NotYet(Usage, Retry):
    """What is needed does not answer: the operator is told, and a server waits for it."""


class Problem(Exception):
    """An answer that is not the one asked for: a status, a code for programs, a sentence for people."""

    status = HTTPStatus.INTERNAL_SERVER_ERROR
    code = "INTERNAL_ERROR"
    retry_after_s: int | None = None

    def __init__(self, detail: str, *, code: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or type(self).code


class NotFound(Problem):
    """There is no such thing, or it is not the caller's: nobody can tell which."""

    status = HTTPStatus.NOT_FOUND
    code = "NOT_FOUND"


class Conflict(Problem):
    """It cannot be done now; the detail says what has to happen first."""

    status = HTTPStatus.CONFLICT
    code = "CONFLICT"


class Gone(Problem):
    """It was there and is over."""

    status = HTTPStatus.GONE
    code = "GONE"


class Unprocessable(Problem):
    """It can be read but not done; the detail says what to change."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    code = "UNPROCESSABLE"


class TooLarge(Problem):
    """It is over a stated limit."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    code = "TOO_LARGE"


class Unauthenticated(Problem):
    """No valid credential came with the request."""

    status = HTTPStatus.UNAUTHORIZED
    code = "UNAUTHENTICATED"


class Forbidden(Problem):
    """It is known who asks, and it may not be done this way; the detail says how."""

    status = HTTPStatus.FORBIDDEN
    code = "FORBIDDEN"


class TooMany(Problem):
    """It was asked too often; from the moment told it may be asked again."""

    status = HTTPStatus.TOO_MANY_REQUESTS
    code = "TOO_MANY_REQUESTS"

    def __init__(self, detail: str, *, code: str | None = None, retry_after_s: int) -> None:
        super().__init__(detail, code=code)
        self.retry_after_s = retry_after_s


class Unavailable(Problem, Retry):
    """A service behind this one is away for the moment."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    code = "UNAVAILABLE"
    retry_after_s = 2


def describe(error: Exception) -> str:
    """Say what went wrong and where in our code, and quote nothing of what it was about."""
    if isinstance(error, ValidationError):
        return f"does not decode: {', '.join('.'.join(map(str, problem['loc'])) for problem in error.errors())[:200]}"
    if isinstance(error, Problem):
        return f"{error.code}: {error.detail}"
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if Path(frame.filename).is_relative_to(PACKAGE)]
    where = f" at {Path(ours[-1].filename).relative_to(PACKAGE)}:{ours[-1].lineno}" if ours else ""
    return f"{type(error).__name__}{where}"
