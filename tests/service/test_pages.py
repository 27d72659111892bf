"""Pages of a list, while batches come, go and change: none that was there all along is skipped or shown twice."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import delete

from huleedu.aggregator import store
from huleedu.aggregator.handlers import Aggregator
from huleedu.contracts.batch import BatchClientStatus, ProcessingPipelineState
from huleedu.platform.app import Platform
from tests.given import ManualClock, opened
from tests.service.school import hasty

NOW = datetime(2026, 1, 1, tzinfo=UTC)
READY, PROCESSING = BatchClientStatus.READY, BatchClientStatus.PROCESSING
STATUS = st.sampled_from([READY, PROCESSING])


class Come(NamedTuple):
    """A batch is made, perhaps by another gateway whose clock is wrong: its id may be older or newer than any."""

    batch_id: UUID
    status: BatchClientStatus


class Change(NamedTuple):
    batch: int
    status: BatchClientStatus


class Go(NamedTuple):
    batch: int


Step = Come | Change | Go
NUMBER = st.integers(0, 20)
STEPS = st.one_of(st.builds(Come, st.uuids(), STATUS), st.builds(Change, NUMBER, STATUS), st.builds(Go, NUMBER))


class Shelf:
    """The views of one teacher's batches, and which of them have been as they were since the first page."""

    def __init__(self, platform: Platform) -> None:
        self.db, self.aggregator = platform.db, Aggregator(platform)
        self.shown: dict[str, BatchClientStatus] = {}
        self.steady: dict[str, BatchClientStatus] = {}
        self.version = 0

    async def play(self, step: Step) -> None:
        match step:
            case Come(batch_id, status) if str(batch_id) not in self.shown:
                await self.put(str(batch_id), status)
            case Change(batch, status) if self.shown:
                await self.put(self._pick(batch), status)
            case Go(batch) if self.shown:
                gone = self._pick(batch)
                self.steady.pop(gone, None)
                del self.shown[gone]
                await self.db.write(lambda tx: store.erase(tx, gone))

    async def put(self, batch_id: str, status: BatchClientStatus) -> None:
        self.version += 1
        self.shown[batch_id] = status
        if self.steady.get(batch_id) is not status:
            self.steady.pop(batch_id, None)
        state = ProcessingPipelineState(
            batch_id=batch_id, user_id="anna", status=status, created_at=NOW, last_updated=NOW, version=self.version
        )
        await self.db.write(lambda tx: store.put_batches(tx, [1], [state]))

    async def clear(self) -> None:
        """Begin with nothing of another example."""
        for table in store.VIEWS:
            await self.db.write(lambda tx: tx.execute(delete(table)))  # noqa: B023 -- awaited at once

    def _pick(self, number: int) -> str:
        return sorted(self.shown)[number % len(self.shown)]


Place = tuple[asyncio.Runner, Platform]


@pytest.fixture(scope="module")
def place(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:  # noqa: ARG001 -- one for each
    """A platform that is opened once, and what runs there: to open it takes longer than to read pages."""
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        opening = opened(tmp_path_factory.mktemp("pages"), ManualClock(), hasty)
        yield runner, runner.run(stack.enter_async_context(opening))
        runner.run(stack.aclose())


@settings(max_examples=60)
@given(
    there=st.lists(st.builds(Come, st.uuids(), STATUS), min_size=1, max_size=12),
    steps=st.lists(st.lists(STEPS, max_size=4), max_size=8),
    wanted=st.sampled_from([None, READY]),
    limit=st.integers(1, 3),
)
def test_pages_neither_skip_nor_repeat(
    place: Place,
    there: list[Come],
    steps: list[list[Step]],
    wanted: BatchClientStatus | None,
    limit: int,
) -> None:
    runner, platform = place

    async def read() -> None:
        shelf = Shelf(platform)
        await shelf.clear()
        for come in there:
            await shelf.play(come)
        shelf.steady = dict(shelf.shown)
        seen: list[str] = []
        cursor: str | None = None
        for meanwhile in [*steps, *([] for _ in range(100))]:
            page = await shelf.aggregator.batches("anna", wanted, cursor, limit)
            assert len(page["items"]) <= limit
            seen += [item.batch_id for item in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
            for step in meanwhile:
                await shelf.play(step)
        assert cursor is None, "it comes to an end"
        assert len(set(seen)) == len(seen)
        assert seen == sorted(seen, reverse=True)
        assert {batch for batch, status in shelf.steady.items() if wanted in {None, status}} <= set(seen)

    runner.run(read())
