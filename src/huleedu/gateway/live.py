"""The live connection: every teacher's feed, on every one of her sockets, without a hole and without a copy.

What is published on the backplane is a hint; the feed is the truth. A socket joins in this order: it is registered and
buffers, the subscription is in force, the feed is read after the client's cursor, and what was buffered follows by
`seq`. A message that is not the next one makes the socket read the feed: what the feed does not have was erased.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio
import structlog
from starlette.websockets import WebSocketDisconnect

from huleedu.platform.context import bound
from huleedu.platform.errors import Unauthenticated, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.websockets import WebSocket

    from huleedu.gateway.accounts import Accounts
    from huleedu.platform.app import Platform

HELLO_SECONDS = 10.0
HEARTBEAT_SECONDS = 20.0
QUEUE = 1_000
"""Frames a client may be behind: minutes of a busy class. Beyond, it is told to come again with its cursor."""
SOCKETS = 20
"""Sockets of one teacher in this process; one more, and the oldest goes."""
BAD_FRAME, UNAUTHENTICATED, TOO_SLOW, TOO_MANY, GOING_DOWN = 4400, 4401, 4408, 4409, 1012
log = structlog.get_logger()


@dataclass(eq=False, slots=True)
class Socket:
    """One client: what it has been sent (`epoch`, `seq`), and what waits to be sent."""

    websocket: WebSocket
    user_id: str
    waiting: asyncio.Queue[tuple[str, int, str] | None] = field(default_factory=lambda: asyncio.Queue(QUEUE))
    epoch: str = ""
    seq: int = 0
    close_code: int | None = None

    def put(self, message: tuple[str, int, str] | None) -> None:
        """Let a message wait its turn; a client that is too far behind is told to come again."""
        if self.waiting.full():
            self.end(TOO_SLOW)
        else:
            self.waiting.put_nowait(message)

    def end(self, code: int) -> None:
        """Close the connection, with this code, as soon as it is free."""
        if self.close_code is None:
            self.close_code = code
            while not self.waiting.empty():
                self.waiting.get_nowait()
            self.waiting.put_nowait(None)


class Live:
    """Holds the sockets of this process."""

    def __init__(self, platform: Platform, accounts: Accounts) -> None:
        self._backplane = platform.backplane
        self._aggregator = platform.peer("aggregator")
        self._clock = platform.clock
        self._accounts = accounts
        self._sockets: dict[str, list[Socket]] = defaultdict(list)

    async def serve(self, websocket: WebSocket) -> None:
        """Serve one connection until it ends."""
        await websocket.accept()
        try:
            teacher = await self._accounts.verify(websocket.headers.get("authorization"))
        except Unauthenticated:
            return await websocket.close(UNAUTHENTICATED, "show a valid token")
        try:
            cursor = await _hello(websocket)
        except (ValueError, TimeoutError):
            return await websocket.close(BAD_FRAME, 'begin with {"event":"hello","cursor":null}')
        except WebSocketDisconnect:
            return None
        with bound(user_id=teacher.user_id):
            socket = Socket(websocket, teacher.user_id)
            async with self._joined(socket):
                await self._run(socket, cursor)
        return None

    async def heartbeat(self) -> None:
        """Tell every socket the head of its feed, once in a while: so the loss of the last message is found."""
        while True:
            await self._clock.sleep(HEARTBEAT_SECONDS)
            if not self._sockets:
                continue
            heads: dict[str, str] = await self._aggregator.ask(
                "POST", "/internal/v1/feeds:heads", json=list(self._sockets)
            )
            for user_id, head in heads.items():
                epoch, _, seq = head.partition(":")
                for socket in self._sockets.get(user_id, []):
                    socket.put((epoch, int(seq), ""))

    def close_all(self) -> None:
        """Ask every client to come again: this process is going down."""
        for sockets in self._sockets.values():
            for socket in sockets:
                socket.end(GOING_DOWN)

    @asynccontextmanager
    async def _joined(self, socket: Socket) -> AsyncIterator[None]:
        """Register the socket. While the block runs, it hears what is published for its teacher."""
        mine = self._sockets[socket.user_id]
        mine.append(socket)
        if len(mine) > SOCKETS:
            mine[0].end(TOO_MANY)
        channel = self._backplane.get_user_channel(socket.user_id)
        try:
            async with self._backplane.subscribe(channel) as messages, anyio.create_task_group() as tasks:
                tasks.start_soon(_listen, messages, socket)
                yield
                tasks.cancel_scope.cancel()
        finally:
            mine.remove(socket)
            if not mine:
                self._sockets.pop(socket.user_id, None)

    async def _run(self, socket: Socket, cursor: str | None) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_watch_client, socket)
            try:
                await self._welcome(socket, cursor)
                while (message := await socket.waiting.get()) is not None:
                    await self._forward(socket, *message)
                await socket.websocket.close(socket.close_code or GOING_DOWN)
            except (WebSocketDisconnect, RuntimeError):  # the client has gone while something was sent
                log.debug("live.gone")
            except Unavailable:
                await socket.websocket.close(GOING_DOWN)
            tasks.cancel_scope.cancel()

    async def _welcome(self, socket: Socket, cursor: str | None) -> None:
        """Say from where this connection goes on, then send what came after the client's cursor."""
        page = await self._page(socket, cursor)
        if page["resync"]:
            await _send(socket, {"event": "resync", "reason": "the cursor is not of this feed: take a fresh snapshot"})
        start = page["cursor"] if cursor is None or page["resync"] else cursor
        socket.epoch, _, seq = start.partition(":")
        socket.seq = int(seq)
        await _send(socket, {"event": "welcome", "cursor": start, "heartbeat_s": HEARTBEAT_SECONDS})
        await self._catch_up(socket, page)

    async def _forward(self, socket: Socket, epoch: str, seq: int, frame: str) -> None:
        """Send a message if it is the next one; if something is missing before it, read the feed instead."""
        if epoch != socket.epoch:
            socket.epoch, socket.seq = epoch, seq
            await _send(socket, {"event": "resync", "reason": "the views were made again: take a fresh snapshot"})
        elif frame and seq == socket.seq + 1:
            await socket.websocket.send_text(frame)
            socket.seq = seq
        elif seq > socket.seq:
            await self._catch_up(socket, await self._page(socket, f"{socket.epoch}:{socket.seq}"))
        if not frame:
            await _send(socket, {"event": "ping", "cursor": f"{socket.epoch}:{socket.seq}"})

    async def _catch_up(self, socket: Socket, page: dict[str, Any]) -> None:
        """Send this page of the feed, and those that follow it."""
        while True:
            for item in page["items"]:
                await _send(socket, item)
                socket.seq = item["seq"]
            socket.seq = max(socket.seq, int(page["cursor"].partition(":")[2]))
            if not page["items"]:
                return
            page = await self._page(socket, f"{socket.epoch}:{socket.seq}")

    async def _page(self, socket: Socket, cursor: str | None) -> dict[str, Any]:
        params = {} if cursor is None else {"after": cursor}
        page: dict[str, Any] = await self._aggregator.ask(
            "GET", f"/internal/v1/users/{socket.user_id}/feed", params=params
        )
        return page


async def _hello(websocket: WebSocket) -> str | None:
    """Return the cursor of the client's first frame."""
    async with asyncio.timeout(HELLO_SECONDS):
        frame = await _frame(websocket)
    cursor = frame.get("cursor")
    if frame.get("event") != "hello" or not isinstance(cursor, str | None):
        raise ValueError("the first frame is no hello")
    return cursor


async def _frame(websocket: WebSocket) -> dict[str, Any]:
    """Return the client's next frame, or raise ValueError if it is not a JSON object in text."""
    try:
        frame = json.loads(await websocket.receive_text())
    except (KeyError, RecursionError) as error:  # bytes; brackets without end
        raise ValueError("not JSON in text") from error
    if not isinstance(frame, dict):
        raise ValueError("not an object")  # noqa: TRY004 -- a frame that does not fit, like the others
    return frame


async def _listen(messages: AsyncIterator[str], socket: Socket) -> None:
    async for message in messages:
        item = json.loads(message)
        socket.put((item["epoch"], item["seq"], message))


async def _watch_client(socket: Socket) -> None:
    """Take the client's frames; when it goes, so does the connection."""
    try:
        while True:
            if (await _frame(socket.websocket)).get("event") not in {"pong", "hello"}:
                return socket.end(BAD_FRAME)
    except ValueError:
        socket.end(BAD_FRAME)
    except WebSocketDisconnect:
        socket.end(GOING_DOWN)
    return None


async def _send(socket: Socket, frame: dict[str, Any]) -> None:
    await socket.websocket.send_text(json.dumps(frame))
