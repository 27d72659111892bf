"""The third law of the backbone: slow work goes through the work queue, so that the log never waits for it."""

import asyncio
import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from huleedu.contracts.envelope import Event
from huleedu.contracts.phase import PhaseWorkRequestedV1
from huleedu.phases.handlers import Phases
from huleedu.platform.db import Tx
from tests.service import quirky
from tests.service.test_phases import Office, office

__all__ = ["office"]  # the fixture


@pytest.fixture(scope="module")
def engine() -> str:
    """What breaks the law here waits in a transaction; on PostgreSQL everything in the process would wait with it."""
    return "sqlite"


async def the_log_goes_on_while_an_essay_is_worked_on(office: Office, fifo: Path, seconds: float) -> None:
    os.mkfifo(fifo)
    asked = asyncio.ensure_future(office.request(f"wait {fifo}"))
    try:
        await asyncio.wait_for(asyncio.shield(asked), seconds)
    except TimeoutError as error:
        raise AssertionError("the log waits for the work") from error
    finally:
        reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)  # whoever waits is let go
        await asked
        os.close(reader)


async def test_the_log_goes_on_while_an_essay_is_worked_on(office: Office, tmp_path: Path) -> None:
    await the_log_goes_on_while_an_essay_is_worked_on(office, tmp_path / "fifo", seconds=50)


async def test_work_in_a_handler_would_be_noticed(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Phases.on_work_requested

    def works_at_once(self: Phases, tx: Tx, request: PhaseWorkRequestedV1) -> Iterable[Event]:
        text = (office.school.directory / "blobs" / request.essays[0].text_storage_id).read_text()
        quirky.run(text, request.context, {})
        return real(self, tx, request)

    hears: Any = office.school.services["phases"].on
    monkeypatch.setitem(hears, PhaseWorkRequestedV1, partial(works_at_once, Phases()))
    with pytest.raises(AssertionError, match="the log waits"):
        await the_log_goes_on_while_an_essay_is_worked_on(office, tmp_path / "fifo", seconds=5)
