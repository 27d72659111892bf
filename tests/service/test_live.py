"""The live connection, over a real listener on loopback; messages are lost, doubled and late as a test wants it."""

import asyncio
import gc
import json
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from sqlalchemy import update
from starlette.types import Receive, Scope, Send
from typing_extensions import override
from websockets import frames as wire
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from huleedu.cli import serve
from huleedu.gateway import connection, live, store
from huleedu.gateway.live import Socket
from huleedu.platform.backplane import Hear
from huleedu.platform.backplane.memory import MemoryBackplane
from huleedu.platform.clock import Clock
from huleedu.platform.db import Tx
from huleedu.platform.metrics import REGISTRY
from tests.given import described, heard
from tests.system.house import House, Teacher, essay, inhabited

pytestmark = pytest.mark.asyncio(loop_scope="module")
Frame = dict[str, Any]
Deed = Callable[[], Awaitable[None]]


async def nothing() -> None:
    """Leave things as they are."""


class Unruly(MemoryBackplane):
    """Does something once a subscription is in force; loses messages, or delivers each several times."""

    def __init__(self) -> None:
        super().__init__("unruly")
        self.once_subscribed: Deed = nothing
        self.copies = 1

    @override
    @asynccontextmanager
    async def subscribe(self, channel: str, hear: Hear) -> AsyncIterator[None]:
        async with super().subscribe(channel, hear):
            deed, self.once_subscribed = self.once_subscribed, nothing
            await deed()
            yield

    @override
    def _deliver(self, channel: str, messages: Sequence[str]) -> bool:
        heard = False
        for _ in range(self.copies):
            heard = super()._deliver(channel, messages)
        return heard


class Paced(Clock):
    """The heart beats when the test says so."""

    def __init__(self) -> None:
        self.beat = asyncio.Event()

    @override
    async def sleep(self, seconds: float) -> None:
        if seconds == live.HEARTBEAT_SECONDS:
            await self.beat.wait()
            self.beat.clear()
        else:
            await super().sleep(seconds)


@dataclass
class Scene:
    """A house with its address, and what happens in it at the wrong moment."""

    house: House
    url: str
    backplane: Unruly
    clock: Paced
    live: live.Live
    once_read: Deed = field(default=nothing)

    def join(self, teacher: Teacher | None, **options: Any) -> connect:  # noqa: ANN401 -- of websockets
        headers = {"authorization": f"Bearer {teacher.token}"} if teacher else {}
        return connect(self.url, additional_headers=headers, **options)

    @property
    def origin(self) -> str:
        return self.url.replace("ws:", "http:").removesuffix("/ws")

    def visit(self, browser: httpx2.AsyncClient, **headers: str) -> connect:
        """Connect as a page in this browser does."""
        cookie = {"cookie": f"huleedu={browser.cookies['huleedu']}"}
        return connect(self.url, additional_headers=cookie | ({"origin": self.origin} | headers))

    async def wrapped(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the aggregator; something may happen between the feed's being read and its arrival at the gateway."""
        await self.house.apps["aggregator"](scope, receive, send)
        if scope["path"].endswith("/feed"):
            deed, self.once_read = self.once_read, nothing
            await deed()

    def hears(self, teacher: Teacher, *messages: str) -> None:
        """Have this teacher's sockets hear these messages together, before anything else can happen."""
        self.backplane._deliver(self.backplane.get_user_channel(teacher.user_id), messages)

    def kept(self, teacher: Teacher) -> list[Socket]:
        """Return this teacher's sockets as the gateway keeps them."""
        return self.live._sockets[self.backplane.get_user_channel(teacher.user_id)]

    async def change(self, teacher: Teacher) -> None:
        """Make a batch and see that its view and its frame have come: a view may be seen before its frame is sent."""
        async with heard(self.backplane, self.backplane.get_user_channel(teacher.user_id)) as messages:
            batch_id = await teacher.batch()
            await teacher.until(batch_id, lambda found: bool(found["version"]))
            while json.loads(await messages.get()).get("batch_id") != batch_id:
                """Others' frames, and what is no frame at all."""

    async def head(self, teacher: Teacher) -> str:
        return str((await teacher.ask("GET", "/batches", 200))["live_cursor"])

    async def changed(self, teacher: Teacher) -> str:
        await self.change(teacher)
        return await self.head(teacher)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opened(engine: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:  # noqa: ARG001 -- one for each
    directory, backplane, clock = tmp_path_factory.mktemp("live"), Unruly(), Paced()
    async with inhabited(directory, without=["phases"], clock=clock, backplane=backplane) as house:
        socket = serve._bind("127.0.0.1", 0)
        listener = serve._listener(house.public)
        serving = asyncio.create_task(listener.serve([socket]))
        stopping: Any = house.services["gateway"].stopping
        url = serve._url(socket).replace("http", "ws") + "/ws"
        scene = Scene(house, url, backplane, clock, stopping.__self__)
        house.platform.peer("aggregator").connect(scene.wrapped)
        yield scene
        listener.should_exit = True
        await serving


@pytest.fixture
def scene(opened: Scene) -> Scene:
    opened.backplane.copies, opened.backplane.once_subscribed, opened.once_read = 1, nothing, nothing
    return opened


@pytest_asyncio.fixture(loop_scope="module")
async def anna(scene: Scene) -> Teacher:
    return await scene.house.teacher()


async def said(socket: ClientConnection) -> Frame:
    return described(json.loads(await socket.recv()))


async def hello(socket: ClientConnection, cursor: str | None = None) -> Frame:
    await socket.send(json.dumps({"event": "hello", "cursor": cursor}))
    return await said(socket)


async def up_to(socket: ClientConnection, cursor: str) -> list[Frame]:
    """Return the frames up to this place of the feed."""
    frames: list[Frame] = []
    while not frames or frames[-1]["seq"] < int(cursor.partition(":")[2]):
        frames.append(await said(socket))
    return frames


async def closed(socket: ClientConnection) -> int | None:
    with suppress(ConnectionClosed):
        async for _ in socket:
            pass
    return socket.close_code


def assert_whole(frames: list[Frame], start: str, end: str) -> None:
    first, last = (int(cursor.partition(":")[2]) for cursor in (start, end))
    assert [frame["seq"] for frame in frames] == list(range(first + 1, last + 1))


def notice(cursor: str, further: int, essay_id: str = "e") -> Frame:
    """Return what is published when an essay goes, so many places after this one."""
    epoch, _, seq = cursor.partition(":")
    place = {"epoch": epoch, "seq": int(seq) + further, "batch_id": "b", "version": 1, "at": "2026-01-01T00:00:00Z"}
    return {"event": "essay_removed", "data": {"essay_id": essay_id}, "traceparent": None, **place}


async def test_a_snapshot_and_what_follows_it(scene: Scene, anna: Teacher) -> None:
    before = await scene.changed(anna)
    snapshot = (await anna.ask("GET", "/batches", 200))["items"][0]
    async with scene.join(anna) as socket:
        welcome = await hello(socket, snapshot["live_cursor"])
        assert welcome == {"event": "welcome", "cursor": before, "heartbeat_s": live.HEARTBEAT_SECONDS}
        batch_id = await anna.batch(essay())
        await anna.settled(batch_id, 1)
        status = await anna.ask("GET", f"/batches/{batch_id}/status", 200)
        after = status["live_cursor"]  # the view goes on changing: what is compared is of one moment
        frames = await up_to(socket, after)
    assert_whole(frames, before, after)
    assert {frame["batch_id"] for frame in frames} == {batch_id}
    assert {frame["event"] for frame in frames} >= {"batch_updated", "essay_updated"}
    last = [frame for frame in frames if frame["event"] == "batch_updated"][-1]
    assert last["data"] == status, "what is pushed is the view"
    assert not any("user_id" in frame["data"] or "epoch" in frame["data"] for frame in frames)
    assert anna.user_id not in json.dumps(frames), "owners are not told to clients"


async def test_without_a_cursor_the_feed_begins_now(scene: Scene, anna: Teacher) -> None:
    before = await scene.changed(anna)
    async with scene.join(anna) as socket:
        assert (await hello(socket))["cursor"] == before
        after = await scene.changed(anna)
        assert_whole(await up_to(socket, after), before, after)


async def test_what_happens_while_joining_comes_once_and_in_order(scene: Scene, anna: Teacher) -> None:
    before = await scene.changed(anna)
    scene.backplane.once_subscribed = scene.once_read = lambda: scene.change(anna)
    async with scene.join(anna) as socket:
        assert (await hello(socket, before))["cursor"] == before
        after = await scene.changed(anna)
        assert_whole(await up_to(socket, after), before, after)


async def test_a_copy_is_not_sent_and_a_hole_is_filled(scene: Scene, anna: Teacher) -> None:
    before = await scene.changed(anna)
    async with scene.join(anna) as socket, scene.join(anna) as second:
        await hello(socket, before)
        await hello(second, before)
        scene.backplane.copies = 3
        await anna.batch()
        await anna.batch()
        middle = await scene.changed(anna)
        assert_whole(await up_to(socket, middle), before, middle)
        page = scene.house.platform.peer("aggregator")
        scene.backplane.copies = 0
        await anna.batch()
        lost = middle
        while lost == middle:  # nothing is published: only the view tells
            (told,) = await page.ask("POST", "/internal/v1/feeds:query", json=[{"user_id": anna.user_id}])
            lost = told["cursor"]
        scene.backplane.copies = 1
        after = await scene.changed(anna)
        assert_whole(await up_to(socket, after), middle, after)
        assert_whole(await up_to(second, after), before, after)


async def test_the_loss_of_the_last_message_is_found_by_the_next_ping(scene: Scene, anna: Teacher) -> None:
    before = await scene.changed(anna)
    async with scene.join(anna) as socket:
        await hello(socket, before)
        scene.backplane.copies = 0
        await anna.batch()
        lost = before
        while lost == before:
            lost = await scene.head(anna)
        scene.clock.beat.set()
        assert_whole(await up_to(socket, lost), before, lost)
        assert await said(socket) == {"event": "ping", "cursor": lost}
        await socket.send('{"event":"pong"}')


async def test_a_cursor_of_another_feed_is_answered_with_resync(scene: Scene, anna: Teacher) -> None:
    now = await scene.changed(anna)
    epoch, _, seq = now.partition(":")
    for cursor in (f"{int(epoch) + 9}:1", f"{epoch}:{int(seq) + 1}", "nonsense", ""):
        async with scene.join(anna) as socket:
            assert (await hello(socket, cursor))["event"] == "resync", cursor
            assert (await said(socket))["cursor"] == now


async def test_after_a_rebuild_every_socket_is_told_to_begin_anew(scene: Scene, anna: Teacher) -> None:
    before = await scene.changed(anna)
    async with scene.join(anna) as socket:
        await hello(socket, before)
        await scene.house.platform.peer("aggregator").ask("POST", "/internal/v1/rebuild", timeout=30)
        after = await scene.changed(anna)
        assert (await said(socket))["event"] == "resync"
        assert after.partition(":")[0] == str(int(before.partition(":")[0]) + 1)
        last = await scene.changed(anna)
        frames = await up_to(socket, last)
    assert all(second["seq"] == first["seq"] + 1 for first, second in pairwise(frames))


async def test_nobody_hears_of_a_colleague(scene: Scene, anna: Teacher) -> None:
    berit = await scene.house.teacher()
    async with scene.join(anna) as hers, scene.join(berit) as theirs:
        start = (await hello(hers))["cursor"], (await hello(theirs))["cursor"]
        ends = await scene.changed(anna), await scene.changed(berit)
        frames = await up_to(hers, ends[0]), await up_to(theirs, ends[1])
        assert_whole(frames[0], start[0], ends[0])
        assert_whole(frames[1], start[1], ends[1])
        assert not {frame["batch_id"] for frame in frames[0]} & {frame["batch_id"] for frame in frames[1]}


@pytest.mark.parametrize("frame", ["nonsense", "[]", "[" * 4_000, '{"event":"begin"}', b"{}", ""])
async def test_a_frame_that_does_not_fit_closes_with_4400(scene: Scene, anna: Teacher, frame: str | bytes) -> None:
    async with scene.join(anna) as first, scene.join(anna) as joined:
        await first.send(frame)
        assert await closed(first) == 4400
        await hello(joined)
        await joined.send(frame)
        assert await closed(joined) == 4400


@pytest.mark.parametrize("told", ["cursor", "ticket"])
async def test_a_hello_with_half_a_character_closes_with_4400(scene: Scene, anna: Teacher, told: str) -> None:
    async with scene.join(anna) as socket:
        await socket.send(json.dumps({"event": "hello", "cursor": None, told: "\ud800"}))
        assert await closed(socket) == 4400


@pytest.mark.parametrize("frame", [" " * 5_000, ["[" * 2_500] * 2], ids=["at once", "in pieces"])
async def test_a_stranger_cannot_have_a_large_frame_read(scene: Scene, frame: str | list[str]) -> None:
    async with scene.join(None) as socket:
        with suppress(ConnectionClosed):
            await socket.send(frame)
        assert await closed(socket) == 1009


async def test_without_a_token_in_force_closes_with_4401(scene: Scene) -> None:
    cilla = await scene.house.teacher()
    for stranger in (None, cilla):
        if stranger:
            address = {"email": cilla.email}
            await scene.house.platform.peer("gateway").ask("POST", "/internal/v1/users/revoke", json=address)
        async with scene.join(stranger) as socket:
            await socket.send('{"event":"hello","cursor":null,"ticket":"hule_x"}')
            assert await closed(socket) == 4401


async def test_a_client_that_does_not_read_is_sent_away_and_loses_nothing(
    scene: Scene, anna: Teacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "QUEUE", 2)
    before = await scene.changed(anna)
    async with scene.join(anna, max_size=None, max_queue=1) as socket, scene.join(anna) as brisk:
        await hello(socket, before)
        await hello(brisk, before)
        sent = 0
        slow, _ = scene.kept(anna)
        while slow.close_code is None:
            sent += 1
            message = notice(before, sent, "x" * 2**19)
            await scene.backplane.publish_user_notification(anna.user_id, message)
            assert (await said(brisk))["seq"] == message["seq"], "another socket of hers is not held up"
        assert await closed(socket) == 4408


@asynccontextmanager
async def at_rest(scene: Scene, teacher: Teacher) -> AsyncIterator[tuple[ClientConnection, live.Socket, str]]:
    """Join, and give both ends of the connection and its cursor when nothing is left to be sent."""
    before = await scene.changed(teacher)
    async with scene.join(teacher) as socket:
        await hello(socket, before)
        (kept,) = scene.kept(teacher)
        while not kept.at_rest:  # noqa: ASYNC110 -- nobody tells
            await asyncio.sleep(0)
        yield socket, kept, before


async def test_what_comes_while_nothing_waits_is_written_at_once(scene: Scene, anna: Teacher) -> None:
    async with at_rest(scene, anna) as (socket, kept, before):
        for further, last in ((1, 1), (2, 2), (2, 2), (1, 2)):  # copies are nothing new
            scene.hears(anna, json.dumps(notice(before, further)))
            assert kept.place[1] == notice(before, last)["seq"], "nothing has been waited for"
        scene.hears(anna, json.dumps(notice(before, 3)))
        frames = await up_to(socket, f":{notice(before, 3)['seq']}")
    assert frames == [notice(before, further) for further in (1, 2, 3)]


async def test_what_comes_together_is_written_together_if_nothing_is_missing(scene: Scene, anna: Teacher) -> None:
    async with at_rest(scene, anna) as (socket, kept, before):
        for together, written in (((1, 2), 2), ((3, 3), 2), ((4, 6), 3)):  # the next two; a copy; a hole
            while not kept.at_rest:  # noqa: ASYNC110 -- nobody tells
                await asyncio.sleep(0)
            scene.hears(anna, *(json.dumps(notice(before, further)) for further in together))
            assert kept.place[1] == notice(before, written)["seq"]
        assert [await said(socket) for _ in range(4)] == [notice(before, further) for further in (1, 2, 3, 4)]
        while not kept.at_rest:  # noqa: ASYNC110 -- nobody tells
            await asyncio.sleep(0)
        epoch, following = int(before.partition(":")[0]) + 1, notice(before, 5)
        scene.hears(anna, json.dumps(following), json.dumps(notice(before, 6) | {"epoch": str(epoch)}))
        assert kept.place[1] == notice(before, 4)["seq"], "a feed made again"
        assert await said(socket) == following
        assert (await said(socket))["event"] == "resync"


async def test_nothing_is_written_before_what_waits_or_after_the_end(scene: Scene, anna: Teacher) -> None:
    async with at_rest(scene, anna) as (socket, kept, before):

        async def hear_the_next() -> None:
            scene.hears(anna, json.dumps(notice(before, 1)))
            places.append(kept.cursor)

        places: list[str] = []
        scene.once_read = hear_the_next
        for message in ("", json.dumps(notice(before, 5)), json.dumps(notice(before, 1))):  # a doubt, a hole, the next
            scene.hears(anna, message)
            places.append(kept.cursor)
        assert [(await said(socket))["event"] for _ in range(2)] == ["ping", "essay_removed"]
        assert places == [before] * 4, "it is looked at first whether they may be sent"
        kept.end(live.TOO_MANY)
        scene.hears(anna, json.dumps(notice(before, 2)))
        assert kept.place[1] == notice(before, 1)["seq"]
        assert await closed(socket) == live.TOO_MANY


async def test_a_doubt_goes_before_all_that_comes_with_it(scene: Scene, anna: Teacher) -> None:
    async with at_rest(scene, anna) as (socket, kept, before):
        scene.hears(anna, json.dumps(notice(before, 1)), "")
        assert kept.cursor == before
        assert [await said(socket) for _ in range(2)] == [{"event": "ping", "cursor": before}, notice(before, 1)]


async def test_what_cannot_be_written_at_once_is_not_written(scene: Scene, anna: Teacher) -> None:
    async with scene.join(anna, max_size=None, max_queue=1) as slow, scene.join(anna) as leaving:
        await hello(slow)
        await hello(leaving)
        to_slow, to_leaving = [kept.at_once for kept in scene.kept(anna)]
        while to_slow(connection.framed("x" * 2**19)):
            """Go on until its buffers are full."""
        assert to_leaving(connection.framed("x"))
        await leaving.close()
        assert not to_leaving(connection.framed("x"))
        slow.transport.abort()


@pytest.mark.parametrize("length", [0, 125, 126, 2**16 - 1, 2**16])
async def test_a_frame_has_the_bytes_that_the_library_gives_it(length: int) -> None:
    text = "ö" * (length // 2) + "x" * (length % 2)
    assert connection.framed(text) == wire.Frame(wire.Opcode.TEXT, text.encode()).serialize(mask=False)


async def test_what_is_told_together_is_timed_once_by_the_oldest(scene: Scene, anna: Teacher) -> None:
    before = await scene.changed(anna)
    timed = partial(REGISTRY.get_sample_value, "huleedu_push_seconds_count")
    seconds = partial(REGISTRY.get_sample_value, "huleedu_push_seconds_sum")
    async with scene.join(anna) as one, scene.join(anna) as two:
        for socket in (one, two):
            await hello(socket, before)
        while not all(kept.at_rest for kept in scene.kept(anna)):  # noqa: ASYNC110 -- nobody tells
            await asyncio.sleep(0)
        already, passed = timed() or 0, seconds() or 0
        pair = [notice(before, 1) | {"at": "1999-01-01T00:00:00Z"}, notice(before, 2)]
        for notices in (pair, [notice(before, 3)], [notice(before, 4)]):
            if notices == [notice(before, 4)]:
                for kept in scene.kept(anna):
                    kept.at_rest = False
            scene.hears(anna, *map(json.dumps, notices))
            for socket in (one, two):
                assert [await said(socket) for _ in notices] == notices
        assert timed() == already + 2 + 2, "each of two that waited by itself"
        assert (seconds() or 0) - passed > 25 * 365 * 86_400


async def test_after_the_closing_nothing_is_written_at_once(scene: Scene, anna: Teacher) -> None:
    async with at_rest(scene, anna) as (socket, kept, _):
        socket.transport.pause_reading()  # it does not answer
        await kept.close(live.TOO_MANY)
        assert not kept.at_once(connection.framed("x"))
        socket.transport.resume_reading()
        assert await closed(socket) == live.TOO_MANY


async def test_a_connection_that_has_ended_holds_nothing(scene: Scene, anna: Teacher) -> None:
    gc.disable()
    try:
        async with at_rest(scene, anna) as (_, kept, _):
            method: Any = kept.at_once
            ended = weakref.ref(method.__self__)
            del kept, method
        while ended():  # noqa: ASYNC110 -- nobody tells
            await asyncio.sleep(0)
    finally:
        gc.enable()


async def test_one_socket_too_many_and_the_oldest_goes(
    scene: Scene, anna: Teacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "SOCKETS", 1)
    async with scene.join(anna) as first, scene.join(anna) as second:
        await hello(first)
        cursor = (await hello(second))["cursor"]
        assert await closed(first) == 4409
        after = await scene.changed(anna)
        assert_whole(await up_to(second, after), cursor, after)


async def test_going_down_is_told_and_connections_leave_nothing(scene: Scene, anna: Teacher) -> None:
    async with scene.join(anna) as first, scene.join(await scene.house.teacher()) as second:
        for socket in (first, second):
            await hello(socket)
        scene.live.close_all()
        told = [await said(socket) for socket in (first, second)]
        assert told == [{"event": "reconnect", "after_ms": place * live.APART_MS} for place in range(2)]
        assert [await closed(socket) for socket in (first, second)] == [1012, 1012]
    before = asyncio.all_tasks()
    for _ in range(10):
        sockets = [await scene.join(anna) for _ in range(10)]
        for socket in sockets[::2]:
            await hello(socket)
        for socket in sockets:
            await socket.close()
    if left := asyncio.all_tasks() - before:
        await asyncio.wait(left)
    assert not scene.live._sockets
    assert not scene.backplane._subscribers


async def test_the_feed_ends_with_the_batch(scene: Scene, anna: Teacher) -> None:
    before = await scene.changed(anna)
    async with scene.join(anna) as socket:
        await hello(socket, before)
        batch_id = await anna.batch()
        await anna.until(batch_id, lambda found: bool(found["version"]))
        await anna.ask("DELETE", f"/batches/{batch_id}", 202)
        while (frame := await said(socket))["event"] != "batch_deleted":
            assert frame["event"] == "batch_updated"
        assert frame["data"] == {"batch_id": batch_id}
    async with scene.join(anna) as late:
        await hello(late, before)
        assert (await said(late))["event"] == "batch_deleted", "what was erased is told to nobody any more"


@pytest.mark.parametrize(
    ("headers", "code"),
    [({}, None), ({"origin": "http://evil.example"}, 4403), ({"origin": "null"}, 4403), ({"origin": ""}, 4403)],
)
async def test_a_page_connects_from_our_own_address_only(
    scene: Scene, anna: Teacher, headers: dict[str, str], code: int | None
) -> None:
    browser = await anna.browser(scene.origin)
    async with scene.visit(browser, **headers) as socket:
        if code:
            assert await closed(socket) == code
        else:
            assert (await hello(socket))["event"] == "welcome"


async def test_a_ticket_opens_one_connection(scene: Scene, anna: Teacher) -> None:
    before = await scene.changed(anna)
    ticket = (await anna.ask("POST", "/live/ticket", 201))["ticket"]
    frame = json.dumps({"event": "hello", "cursor": before, "ticket": ticket})
    async with scene.join(None) as socket, scene.join(None) as again:
        await socket.send(frame)
        assert (await said(socket))["cursor"] == before
        await again.send(frame)
        assert await closed(again) == 4401
        after = await scene.changed(anna)
        assert_whole(await up_to(socket, after), before, after)


SIGN_OUT = ("DELETE", "/v1/session", None)
EVERYWHERE = ("DELETE", "/v1/sessions", None)
NEW_PASSWORD = ("PUT", "/v1/me/password", {"password": "tre små grisar"})


@pytest.mark.parametrize(
    ("done", "ends"),
    [
        (SIGN_OUT, {"her page", "its ticket"}),
        (EVERYWHERE, {"her page", "its ticket", "her other page"}),
        (NEW_PASSWORD, {"her other page"}),
        ("sign in again", {"her page", "its ticket"}),
        ("/revoke", {"her program"}),
        ("/disable", {"her page", "its ticket", "her other page", "her program"}),
    ],
    ids=["sign out", "everywhere", "new password", "sign in again", "revoke", "disable"],
)
async def test_what_ends_a_credential_ends_its_connections_at_once(
    scene: Scene, done: str | tuple[str, str, dict[str, str] | None], ends: set[str]
) -> None:
    cilla, berit = await scene.house.teacher(), await scene.house.teacher()
    page, other = await cilla.browser(scene.origin), await cilla.browser(scene.origin)
    ticket = (await page.post("/v1/live/ticket")).json()["ticket"]
    async with (
        scene.visit(page) as first,
        scene.visit(other) as second,
        scene.join(None) as third,
        scene.join(cilla) as fourth,
        scene.join(berit) as fifth,
    ):
        sockets = {"her page": first, "her other page": second, "its ticket": third, "her program": fourth, "": fifth}
        for name, socket in sockets.items():
            await socket.send(json.dumps({"event": "hello", "ticket": ticket if name == "its ticket" else ""}))
            assert (await said(socket))["event"] == "welcome", name
        if isinstance(done, tuple):
            method, path, body = done
            assert (await page.request(method, path, json=body)).status_code == 204
        elif done == "sign in again":
            assert (await page.post("/v1/session", json={"link": await berit.link()})).status_code == 201
        else:
            await scene.house.operate(done, email=cilla.email)
        for name in ends:  # no heart beats: they are told
            assert await closed(sockets[name]) == 4401, name
        stay = set(sockets) - ends
        for name in stay - {""}:  # looked at, like hers that have ended
            assert (await said(sockets[name]))["event"] == "ping", name
        scene.clock.beat.set()
        for name in stay:
            assert (await said(sockets[name]))["event"] == "ping", name


async def test_a_connection_that_is_not_told_ends_by_the_next_beat(scene: Scene, anna: Teacher) -> None:
    page, other = await anna.browser(scene.origin), await anna.browser(scene.origin)

    def run_out(tx: Tx) -> None:
        mine = (store.credential.c.user_id == anna.user_id) & (store.credential.c.kind == "session")
        tx.execute(update(store.credential).where(mine).values(expires_at=tx.now))

    async with scene.visit(page) as first, scene.visit(other) as second:
        await hello(first)
        await hello(second)
        scene.backplane.copies = 0
        await page.delete("/v1/session")
        await scene.house.platform.db.write(run_out)
        scene.clock.beat.set()
        assert (await closed(first), await closed(second)) == (4401, 4401)


async def test_a_session_that_ends_while_its_connection_joins_ends_that_too(scene: Scene, anna: Teacher) -> None:
    page = await anna.browser(scene.origin)

    async def sign_out() -> None:
        scene.backplane.copies = 0
        await page.delete("/v1/session")

    scene.backplane.once_subscribed = sign_out
    async with scene.visit(page) as socket:
        await socket.send('{"event":"hello"}')
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert socket.close_code == 4401


async def test_a_session_that_ends_while_its_feed_is_read_gets_nothing_of_it(scene: Scene, anna: Teacher) -> None:
    page, before = await anna.browser(scene.origin), await scene.changed(anna)
    await scene.change(anna)

    async def sign_out() -> None:
        await page.delete("/v1/session")

    scene.once_read = sign_out
    async with scene.visit(page) as socket:
        await socket.send(json.dumps({"event": "hello", "cursor": before}))
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert socket.close_code == 4401


async def test_a_message_that_cannot_be_read_stops_nothing(scene: Scene, anna: Teacher) -> None:
    before = await scene.changed(anna)
    async with scene.join(anna) as socket:
        await hello(socket, before)
        place = '{"seq":1,"epoch":"1","at":"2026-01-01T00:00:00Z","data":'
        for message in (
            "",
            "half {",
            "1",
            "[]",
            '{"seq":1}',
            '{"seq":1,"epoch":"one","at":""}',
            f"{place}{'[' * 10_000}{']' * 10_000}}}",
            f'{place}"\ud800"}}',
            json.dumps(notice(before, 1) | {"at": "2026-01-01T00:00:00"}),
            json.dumps(notice(before, 1) | {"at": 1}),
        ):
            await scene.backplane.publish(scene.backplane.get_user_channel(anna.user_id), message)
            assert (await said(socket))["event"] == "ping", "it has looked whether it may go on"
        after = await scene.changed(anna)
        assert_whole(await up_to(socket, after), before, after)


async def test_too_many_frames_close_with_4429(scene: Scene, anna: Teacher) -> None:
    async with scene.join(anna) as socket:
        await hello(socket)
        counted = scene.kept(anna)[0]
        for _ in range(2):
            for _ in range(live.FRAMES - 1):
                await socket.send('{"event":"pong"}')
            while counted.frames < live.FRAMES - 1:
                await scene.head(anna)
            scene.clock.beat.set()
            assert (await said(socket))["event"] == "ping", "so many between two beats are all right"
        with suppress(ConnectionClosed):
            for _ in range(live.FRAMES):
                await socket.send('{"event":"pong"}')
        assert await closed(socket) == 4429
