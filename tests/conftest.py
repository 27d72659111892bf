"""Fixtures for every test: time that passes when somebody waits for it, and a platform of one's own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from huleedu.platform.app import Platform
from huleedu.platform.db import Db
from tests.given import RestlessClock, opened


@pytest.fixture
def clock() -> RestlessClock:
    return RestlessClock()


@pytest.fixture
async def platform(tmp_path: Path, clock: RestlessClock) -> AsyncIterator[Platform]:
    async with opened(tmp_path, clock) as platform:
        yield platform


@pytest.fixture
def db(platform: Platform) -> Db:
    return platform.db
