"""The live connection: every teacher's feed, on every one of her sockets, without a hole and without a copy.

What is published on the backplane is a hint; the feed is the truth. A socket joins in this order: it is registered and
buffers, the subscription is in force, the feed is read after the client's cursor, and what was buffered follows by
`seq`. A message that is not the next one makes the socket read the feed: what the feed does not have was erased.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import defaultdict
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import anyio
import msgspec
import structlog
from opentelemetry.trace import SpanKind
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketDisconnected

from huleedu.contracts.notice import FEEDS
from huleedu.gateway.connection import framed, writing
from huleedu.platform.context import bound
from huleedu.platform.errors import Forbidden, Problem, TooMany, Unauthenticated
from huleedu.platform.metrics import OPEN_SOCKETS, PUSH_SECONDS
from huleedu.platform.tracing import collecting, span

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from anyio.abc import TaskGroup
    from starlette.types import Message, Receive, Scope, Send

    from huleedu.gateway.access import Access
    from huleedu.gateway.accounts import Accounts, Teacher
    from huleedu.gateway.connection import Write
    from huleedu.platform.app import Platform

HELLO_SECONDS = 10.0
HEARTBEAT_SECONDS = 20.0
QUEUE = 1_000
"""Frames a client may be behind: minutes of a busy class. Beyond, it is told to come again with its cursor."""
SOCKETS = 20
"""Sockets of one teacher in this process; one more, and the oldest goes."""
FRAMES = 100
"""Frames a client may send between two beats; it has one to send, the pong."""
RESYNC = {"event": "resync", "reason": "the cursor is not of this feed, or no longer: take a fresh snapshot"}
BAD_FRAME, UNAUTHENTICATED, FOREIGN, TOO_SLOW, TOO_MANY, TOO_MANY_FRAMES = 4400, 4401, 4403, 4408, 4409, 4429
GOING_DOWN = 1012
APART_MS = 10
"""Clients that are sent away together come again one after the other, a hundred in a second."""
SPREAD_MS = 2_000
"""Whoever could not be told what the feed has comes again within this time, and not with all others at once."""
Place = tuple[int, int]
log = structlog.get_logger()


class Item(msgspec.Struct):
    """What is read of a message: its place in the feed, when it was written there, because of what."""

    epoch: str
    seq: int
    at: Annotated[datetime, msgspec.Meta(tz=True)]
    traceparent: str | None = None


_read = msgspec.json.Decoder(Item).decode


class Waiting(NamedTuple):
    """A message on its way: its place in the feed, and the one before it; or a page of the feed; or the head only."""

    place: Place
    after: Place | None = None
    frame: str = ""
    item: Item | None = None
    page: dict[str, Any] | None = None


class Ending(Exception):
    """The connection is to be closed, and nothing more is to be sent."""


def _waiting(message: str) -> Waiting | None:
    """Read a message that was published; None if it is of no feed."""
    try:
        item = _read(message)
        epoch = int(item.epoch)
        return Waiting((epoch, item.seq), (epoch, item.seq - 1), message, item)
    except (ValueError, RecursionError):  # brackets without end
        return None


@dataclass(eq=False, slots=True)
class Socket:
    """One client: the place of the feed that it is at, (epoch, seq), and what waits to be sent.

    While it is doubtful whether its credential is in force, as at first, nothing is sent. It is at rest while all has
    been sent and nothing is doubtful.
    """

    websocket: WebSocket
    teacher: Teacher
    at_once: Write
    waiting: asyncio.Queue[Waiting | None] = field(default_factory=lambda: asyncio.Queue(QUEUE))
    place: Place = (0, 0)
    close_code: int | None = None
    doubtful: bool = True
    at_rest: bool = False
    after_ms: int = field(default_factory=lambda: random.randrange(SPREAD_MS))  # noqa: S311 -- jitter
    frames: int = 0

    @property
    def cursor(self) -> str:
        """The place as clients keep it."""
        return f"{self.place[0]}:{self.place[1]}"

    def put(self, message: Waiting) -> None:
        """Let a message wait its turn; a client that is too far behind is told to come again."""
        self.at_rest = False
        if self.waiting.full():
            self.end(TOO_SLOW)
        else:
            self.waiting.put_nowait(message)

    async def next(self) -> Waiting | None:
        """Wait for the next message; None is the end."""
        self.at_rest = self.waiting.empty()
        return await self.waiting.get()

    def end(self, code: int) -> None:
        """Close the connection, with this code, as soon as it is free."""
        self.at_rest = False
        if self.close_code is None:
            self.close_code = code
            while not self.waiting.empty():
                self.waiting.get_nowait()
            self.waiting.put_nowait(None)

    def write(self, messages: Sequence[Waiting], wire: bytes) -> bool:
        """Write messages at once if they are the next ones and nothing is before them; return whether they were.

        `wire` is their frames as their bytes go over the wire.
        """
        written = self.at_rest and messages[0].after == self.place and self.at_once(wire)
        if written:
            self.place = messages[-1].place
        return written

    async def send(self, frame: str | dict[str, Any]) -> None:
        """Send a frame; raise WebSocketDisconnect if the connection has gone or is about to go."""
        await self._do({"type": "websocket.send", "text": frame if isinstance(frame, str) else json.dumps(frame)})

    async def close(self, code: int) -> None:
        """Close the connection; raise WebSocketDisconnect if it has gone."""
        await self._do({"type": "websocket.close", "code": code})

    async def _do(self, message: Message) -> None:
        try:
            await self.websocket.send(message)
        except RuntimeError as error:  # how the server tells that it is closing the connection itself
            raise WebSocketDisconnect from error


class Live:
    """Holds the sockets of this process."""

    def __init__(self, platform: Platform, accounts: Accounts, access: Access) -> None:
        self._backplane = platform.backplane
        self._aggregator = platform.peer("aggregator")
        self._clock = platform.clock
        self._accounts = accounts
        self._access = access
        self._sockets: dict[str, list[Socket]] = defaultdict(list)
        self._told: list[datetime] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection until it ends."""
        websocket = WebSocket(scope, receive, send)
        await websocket.accept()
        try:
            teacher, cursor = await self._met(websocket)
        except Unauthenticated:
            return await websocket.close(UNAUTHENTICATED, "show a session, a token or a ticket in force")
        except Forbidden:
            return await websocket.close(FOREIGN, "a page may connect from its own address only")
        except TooMany:
            return await websocket.close(TOO_MANY_FRAMES, "too many connections at once")
        except (ValueError, TimeoutError):
            return await websocket.close(BAD_FRAME, 'begin with {"event":"hello","cursor":null}')
        except WebSocketDisconnect:
            return None
        except Problem:  # whom to ask is away
            return await websocket.close(GOING_DOWN, "come again in a moment")
        with bound(user_id=teacher.user_id), OPEN_SOCKETS.track_inprogress():
            socket = Socket(websocket, teacher, writing(scope))
            async with self._joined(socket), anyio.create_task_group() as tasks:
                tasks.start_soon(self._run, socket, cursor, tasks)
                await _watch_client(socket)
        return None

    async def _met(self, websocket: WebSocket) -> tuple[Teacher, str | None]:
        """Return who connects, by what the request shows or by the ticket of the first frame, and their cursor."""
        if "authorization" in websocket.headers or self._access.cookie(websocket):
            teacher = await self._access.asking(websocket)
            return teacher, (await _hello(websocket))[0]
        await self._access.meet_stranger(websocket)
        cursor, ticket = await _hello(websocket)
        return await self._accounts.redeem(ticket), cursor

    async def _look_again(self, sockets: Sequence[Socket]) -> None:
        """Close those whose credential is no longer in force."""
        in_force = await self._accounts.in_force({socket.teacher.credential for socket in sockets})
        for socket in sockets:
            if socket.teacher.credential not in in_force:
                socket.end(UNAUTHENTICATED)

    async def heartbeat(self) -> None:
        """Once in a while, find the loss of a last message."""
        while True:
            await self._clock.sleep(HEARTBEAT_SECONDS)
            await self._beat()

    async def recover(self) -> None:
        """When messages come again, find what was lost meanwhile; begun anew after a failure, it looks at once."""
        while True:
            await self._beat()
            await self._backplane.restored()

    async def _beat(self) -> None:
        """Close what may no longer listen, and tell the others what they miss of their feed, if anything."""
        if open_now := list(chain.from_iterable(self._sockets.values())):
            await self._look_again(open_now)
        for socket in open_now:
            socket.frames = 0
        for first in range(0, len(open_now), FEEDS):
            await self._tell(open_now[first : first + FEEDS])

    async def _tell(self, sockets: Sequence[Socket]) -> None:
        """Tell these the heads of their feeds; those at rest, what comes after their places too."""
        asked = defaultdict[tuple[str, str | None], list[Socket]](list)
        for socket in sockets:
            asked[socket.teacher.user_id, socket.cursor if socket.at_rest else None].append(socket)
        places = [{"user_id": user_id, "after": after} for user_id, after in asked]
        pages: list[dict[str, Any]] = await self._aggregator.ask("POST", "/internal/v1/feeds:query", json=places)
        for ((_, after), those), page in zip(asked.items(), pages, strict=True):
            for socket in those:
                socket.put(Waiting(_place(page["cursor"]), _place(after) if after else None, page=page))

    def close_all(self) -> None:
        """Ask every client to come again, not all at once: this process is going down."""
        for place, socket in enumerate(chain.from_iterable(self._sockets.values())):
            socket.after_ms = place * APART_MS
            socket.end(GOING_DOWN)

    @asynccontextmanager
    async def _joined(self, socket: Socket) -> AsyncIterator[None]:
        """Register the socket. While the block runs, it hears what is published for its teacher."""
        channel = self._backplane.get_user_channel(socket.teacher.user_id)
        mine = self._sockets[channel]
        mine.append(socket)
        staying = [one for one in mine if one.close_code is None]
        if len(staying) > SOCKETS:
            staying[0].end(TOO_MANY)
        try:
            async with self._backplane.subscribe(channel, self._hear):
                yield
        finally:
            mine.remove(socket)
            if not mine:
                self._sockets.pop(channel, None)

    def _hear(self, channel: str, messages: Sequence[str]) -> None:
        """Take what was published for a teacher: messages of her feed, or that a credential of hers has ended."""
        sockets = self._sockets.get(channel, [])
        waiting = [found for message in messages if (found := _waiting(message))]
        if len(waiting) < len(messages):
            for socket in sockets:
                socket.doubtful = True
                socket.put(Waiting(socket.place))
        at_once = not collecting() and all(two.after == one.place for one, two in pairwise(waiting))
        wire = b"".join(framed(message.frame) for message in waiting) if at_once else b""
        written = False
        for socket in sockets:
            if wire and socket.write(waiting, wire):  # together they cost the kernel as much as one
                written = True
            else:
                for message in waiting:
                    socket.put(message)
        if written:
            self._pushed(waiting[0])

    async def _run(self, socket: Socket, cursor: str | None, tasks: TaskGroup) -> None:
        """Send what is to be sent, then the closing, and end these tasks.

        It is a task of its own because waking the one that came through the whole application costs more than a frame.
        """
        try:
            with suppress(Problem, Ending):  # without its feed it can only come again with its cursor
                await self._welcome(socket, cursor)
                while (message := await socket.next()) is not None:
                    await self._forward(socket, message)
            code = socket.close_code or GOING_DOWN
            if code == GOING_DOWN:
                await socket.send({"event": "reconnect", "after_ms": socket.after_ms})
            await socket.close(code)
        except WebSocketDisconnect:  # the client has gone while something was sent
            log.debug("live.gone")
        tasks.cancel_scope.cancel()

    async def _welcome(self, socket: Socket, cursor: str | None) -> None:
        """Say from where this connection goes on, then send what came after the client's cursor."""
        page = await self._page(socket, cursor)
        if page["resync"]:
            await self._send(socket, RESYNC)
        socket.place = _place(page["cursor"] if cursor is None or page["resync"] else cursor)
        await self._send(socket, {"event": "welcome", "cursor": socket.cursor, "heartbeat_s": HEARTBEAT_SECONDS})
        await self._catch_up(socket, page)

    async def _forward(self, socket: Socket, message: Waiting) -> None:
        """Send a message if it is the next one; if something is missing, send what the feed has instead.

        One of an earlier epoch was under way while the views were made again, and says nothing any more.
        """
        if message.place[0] > socket.place[0]:
            socket.place = message.place
            await self._send(socket, RESYNC)
        elif message.frame and message.after == socket.place:
            await self._push(socket, message)
            socket.place = message.place
        elif message.place > socket.place:
            page = message.page if message.after == socket.place else None
            await self._catch_up(socket, page or await self._page(socket, socket.cursor))
        if not message.frame:
            await self._send(socket, {"event": "ping", "cursor": socket.cursor})

    async def _push(self, socket: Socket, message: Waiting) -> None:
        """Send a message that came over the backplane: the last step of its trace."""
        if collecting():
            with bound(traceparent=message.item and message.item.traceparent), span("push", SpanKind.PRODUCER):
                await self._send(socket, message.frame)
        else:
            await self._send(socket, message.frame)
        self._pushed(message)

    def _pushed(self, message: Waiting) -> None:
        """Have it timed at the end of this turn, with what else is told in it; each by itself costs twice as much."""
        if message.item:
            if not self._told:
                asyncio.get_running_loop().call_soon(self._time)
            self._told.append(message.item.at)

    def _time(self) -> None:
        now, told, self._told = self._clock.now(), self._told, []
        for at in told:
            PUSH_SECONDS.observe(max(0.0, (now - at).total_seconds()))  # clocks may differ

    async def _catch_up(self, socket: Socket, page: dict[str, Any]) -> None:
        """Send this page of the feed, and those that follow it, or say that what would follow is not to be had.

        What is sent so may be of any age, and is not timed.
        """
        while True:
            for item in page["items"]:
                await self._send(socket, item)
                socket.place = (socket.place[0], item["seq"])
            if not page["more"]:
                break
            page = await self._page(socket, page["cursor"])
        if page["resync"] and _place(page["cursor"]) > socket.place:
            await self._send(socket, RESYNC)
        socket.place = max(socket.place, _place(page["cursor"]))

    async def _send(self, socket: Socket, frame: str | dict[str, Any]) -> None:
        """Send a frame, if the connection may still have it."""
        while socket.doubtful:
            socket.doubtful = False
            await self._look_again([socket])
        if socket.close_code is not None:
            raise Ending
        await socket.send(frame)

    async def _page(self, socket: Socket, cursor: str | None) -> dict[str, Any]:
        params = {} if cursor is None else {"after": cursor}
        path = f"/internal/v1/users/{socket.teacher.user_id}/feed"
        page: dict[str, Any] = await self._aggregator.ask("GET", path, params=params)
        return page


async def _hello(websocket: WebSocket) -> tuple[str | None, str]:
    """Return the cursor and the ticket of the client's first frame."""
    async with asyncio.timeout(HELLO_SECONDS):
        frame = await _frame(websocket)
    cursor, ticket = frame.get("cursor"), frame.get("ticket", "")
    if frame.get("event") != "hello" or not isinstance(cursor, str | None) or not isinstance(ticket, str):
        raise ValueError("the first frame is no hello")
    f"{cursor}{ticket}".encode()  # half a character, which JSON can say, is a ValueError too
    return cursor, ticket


async def _frame(websocket: WebSocket) -> dict[str, Any]:
    """Return the client's next frame, or raise ValueError if it is not a JSON object in text."""
    try:
        frame = json.loads(await websocket.receive_text())
    except (KeyError, RecursionError) as error:  # bytes; brackets without end
        raise ValueError("not JSON in text") from error
    if not isinstance(frame, dict):
        raise ValueError("not an object")  # noqa: TRY004 -- a frame that does not fit, like the others
    return frame


async def _watch_client(socket: Socket) -> None:
    """Take the client's frames; when it goes, so does the connection."""
    try:
        while socket.frames < FRAMES:
            if (await _frame(socket.websocket)).get("event") not in {"pong", "hello"}:
                return socket.end(BAD_FRAME)
            socket.frames += 1
        socket.end(TOO_MANY_FRAMES)
    except ValueError:
        socket.end(BAD_FRAME)
    except (WebSocketDisconnect, WebSocketDisconnected):  # by the client; by us
        socket.end(GOING_DOWN)
    return None


def _place(cursor: str) -> Place:
    epoch, _, seq = cursor.partition(":")
    return int(epoch), int(seq)
