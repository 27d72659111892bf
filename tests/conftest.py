"""Fixtures for every test: time that passes when somebody waits for it, and a platform of one's own."""

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import settings

from huleedu.platform.app import Platform
from huleedu.platform.db import Db, postgres
from tests.given import DATABASES, Databases, RestlessClock, opened
from tests.servers import ENGINE, Servers, servers_of_ones_own

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files whose tests may take longest: at the end one worker would have them, and others nothing."""
    bounds: defaultdict[Path, float] = defaultdict(float)
    for item in items:
        for mark in item.iter_markers("timeout"):
            bounds[item.path] = max(bounds[item.path], mark.args[0])
    many = Counter(item.path for item in items)
    items.sort(key=lambda item: (-bounds[item.path], -many[item.path]))


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    """What is logged after the test is told as before it: commands that run in this process set it for their own."""
    handlers, level = logging.root.handlers, logging.root.level
    yield
    structlog.reset_defaults()
    logging.root.handlers, logging.root.level = handlers, level


@pytest.fixture
def clock() -> RestlessClock:
    return RestlessClock()


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=ENGINE)])
def engine(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every database of the module is one of these, each in its turn; a slow machine may take long to connect."""
    if request.param == "postgres":
        servers: Servers = request.getfixturevalue("servers")
        DATABASES.server = servers.env("postgres")["HULEEDU_DATABASE_URL"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postgres, "CONNECT_SECONDS", 30.0)
        yield request.param
    asyncio.run(DATABASES.clear())
    DATABASES.server = ""


@pytest.fixture
def databases(engine: str) -> Iterator[Databases]:  # noqa: ARG001 -- says what they are
    """The databases of one test, free for others when it is over."""
    before = set(DATABASES.used)
    yield DATABASES
    asyncio.run(DATABASES.clear(before))


@pytest.fixture
async def platform(tmp_path: Path, clock: RestlessClock) -> AsyncIterator[Platform]:
    async with opened(tmp_path, clock) as platform:
        yield platform


@pytest.fixture
def db(platform: Platform) -> Db:
    return platform.db


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    with servers_of_ones_own() as servers:
        yield servers
