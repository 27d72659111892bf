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


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have the browser last: its driver keeps an event loop running, beside which no other can run."""
    items.sort(key=lambda item: "browser" in item.path.parts)
