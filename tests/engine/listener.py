"""A teacher's page on the live connection: it stays, whatever becomes of the connection."""

import asyncio
import json
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidHandshake, WebSocketException

from huleedu.contracts.notice import FeedItem
from tests.engine.apart import Town
from tests.given import described
from tests.service.page import Page, Shown
from tests.system.house import Teacher

AGAIN_SECONDS = (0.1, 0.5)
"""Between two tries to connect, as a page rests between them."""
LOST = (OSError, EOFError, TimeoutError, WebSocketException, InvalidHandshake)


class Listener:
    """A page, and the gateways it goes to, one after another. It takes one snapshot; the rest it is told, once each."""

    def __init__(self, town: Town, teacher: Teacher, gateways: Iterator[str]) -> None:
        async def ask(service: str, method: str, path: str, **sent: Any) -> Any:  # noqa: ANN401 -- JSON
            return await town.platform.peer(service).ask(method, f"/internal/v1{path}", **sent)

        self.page = Page(ask, teacher.user_id)
        self.connections = 0
        self._gateways = gateways
        self._headers = {"authorization": f"Bearer {teacher.token}"}
        self._heard = asyncio.Condition()

    async def stay(self) -> None:
        """Listen until cancelled."""
        await self.page.follow()
        while True:
            with suppress(*LOST):
                url = f"{next(self._gateways).replace('http', 'ws', 1)}/ws"
                async with connect(url, additional_headers=self._headers, proxy=None) as socket:
                    await socket.send(json.dumps({"event": "hello", "cursor": self.page.cursor}))
                    async for message in socket:
                        await self._hear(described(json.loads(message)))
            await asyncio.sleep(random.uniform(*AGAIN_SECONDS))

    async def _hear(self, frame: dict[str, Any]) -> None:
        assert frame["event"] != "resync", frame
        self.connections += frame["event"] == "welcome"
        if "seq" in frame:
            item, seq = FeedItem.model_validate(frame), int(str(self.page.cursor).partition(":")[2])
            assert item.seq == seq + 1, "one is missing, or told twice"
            self.page.hear(item)
            self.page.cursor = f"{item.epoch}:{item.seq}"
        async with self._heard:
            self._heard.notify_all()

    async def until(self, right: Callable[[Shown], bool]) -> None:
        """Wait until what is shown is right."""
        async with self._heard:
            await self._heard.wait_for(lambda: right(self.page.shown))
