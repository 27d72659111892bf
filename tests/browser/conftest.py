"""One Chromium and one server for each module; each test has a teacher of its own.

They do not stay: the browser's driver keeps an event loop running, beside which no other can run.
"""

import itertools
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.acceptance.served import served
from tests.browser.stage import Stage, chromium

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def house(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    data_dir = tmp_path_factory.mktemp("house")
    with served(data_dir) as server:
        yield Stage(server, data_dir, browser)


@pytest.fixture
def stage(house: Stage) -> Iterator[Stage]:
    """The stage; nothing on it may have complained when the test is over."""
    house.faults.clear()
    yield house
    assert not house.faults


@pytest.fixture
def anna() -> str:
    """The address of a teacher whom no other test knows."""
    return f"anna{next(_numbers)}@school.se"
