"""A school of one's own; what must hold after anything that happened is checked when the test is over."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.given import Databases
from tests.service.school import School, school_at


@pytest.fixture(autouse=True)
def _databases(engine: str, databases: Databases) -> Databases:  # noqa: ARG001 -- named first, it is made first
    """Every service does the same on each engine."""
    return databases


@pytest.fixture
async def school(tmp_path: Path) -> AsyncIterator[School]:
    async with school_at(tmp_path) as school:
        yield school
