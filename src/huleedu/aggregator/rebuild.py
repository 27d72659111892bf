"""Making the views again from their owners, while they are read and written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from huleedu.aggregator import store
from huleedu.aggregator.model import EssayRow, PhaseRow, blank
from huleedu.contracts.batch import ProcessingPipelineState
from huleedu.contracts.messages import ERASERS
from huleedu.platform.errors import Conflict
from huleedu.platform.log import store as log_store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from huleedu.platform.app import Platform
    from huleedu.platform.db import Tx

GROUP = "result-aggregator-service"
OLD_ROWS = 500
"""Rows of the past generation that go in one transaction."""


class Rebuild:
    """Asks every owner, page by page, and writes the next generation; folds write both until the swap."""

    def __init__(self, platform: Platform) -> None:
        self._db = platform.db
        self._peers = {name: platform.peer(name) for name in ("orchestrator", *ERASERS)}

    async def run(self, page_size: int) -> int:
        """Rebuild all views and return how many batches there are. The feed keeps its entries; its epoch is raised."""
        after = await self._db.write(store.begin_generation)
        batches, last = 0, ""
        try:
            while states := await self._states(last, page_size):
                await self._page(after, states)
                batches, last = batches + len(states), states[-1].batch_id
            await self._attention()
            if not await self._db.write(lambda tx: store.swap_generation(tx, after)):
                raise Conflict("Another rebuild has begun meanwhile, and goes on.", code="REBUILDING")
        finally:
            await self._db.write(lambda tx: store.abandon_generation(tx, after))
        while await self._db.write(lambda tx: store.delete_old(tx, OLD_ROWS)):
            pass
        return batches

    async def _states(self, last: str, limit: int) -> list[ProcessingPipelineState]:
        params = {"after": last, "limit": limit}
        told = await self._peers["orchestrator"].ask("GET", "/internal/v1/batches/pipeline-states", params=params)
        return [ProcessingPipelineState.model_validate(item) for item in told["items"]]

    async def _page(self, after: int, states: Sequence[ProcessingPipelineState]) -> None:
        asked = {"batch_ids": [state.batch_id for state in states]}
        essays = (await self._peers["files"].ask("POST", "/internal/v1/essays:query", json=asked))["items"]
        phases = (await self._peers["lifecycle"].ask("POST", "/internal/v1/essays:query", json=asked))["items"]
        known = {essay["essay_id"] for essay in essays}

        def write(tx: Tx) -> None:
            gone = log_store.buried(tx, GROUP, asked["batch_ids"])
            rows = [PhaseRow.model_validate(item) for item in phases if item["batch_id"] not in gone]
            store.put_essays(
                tx, [after], [EssayRow.model_validate(essay) for essay in essays if essay["batch_id"] not in gone]
            )
            store.put_phases(tx, [after], [row if row.essay_id in known else blank(row) for row in rows])
            there = [state for state in states if state.batch_id not in gone]
            store.put_batches(tx, [after], there)
            for state in there:
                if state.status.terminal:
                    store.note_end(tx, [after], state.batch_id, str(state.run_id))

        await self._db.write(write)

    async def _attention(self) -> None:
        """Ask again what is parked, of every service."""
        before = await self._db.read(store.attentions)
        parked: dict[tuple[str, str, str], tuple[int, str]] = {}
        for peer in self._peers.values():
            for letter in (await peer.ask("GET", "/internal/v1/dead-letters"))["items"]:
                if letter["told"]:
                    place = (letter["key"], letter["group"], letter["topic"])
                    count, cause = parked.get(place, (0, letter["cause"]))
                    parked[place] = (count + 1, cause)
        await self._db.write(lambda tx: store.replace_attention(tx, before, parked))
