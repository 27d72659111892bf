"""The live connection when the feed is made again under it, when a token is revoked, when the view is broken."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocket
from typing_extensions import override

from huleedu.aggregator import feed, handlers
from huleedu.contracts.notice import FeedEvent, FeedItem
from huleedu.gateway import live
from huleedu.gateway.accounts import Kind
from huleedu.platform.backplane.memory import MemoryBackplane
from huleedu.platform.backplane.redis import RedisClient
from huleedu.platform.clock import Clock
from huleedu.platform.db import Tx
from huleedu.platform.errors import Unavailable
from tests.given import described, patient_with_redis
from tests.servers import ENGINE, Servers
from tests.system.house import House, Teacher, inhabited


class Paced(Clock):
    """The heart beats when the test says so."""

    def __init__(self) -> None:
        self.beat = asyncio.Event()

    @override
    async def sleep(self, seconds: float) -> None:
        if seconds != live.HEARTBEAT_SECONDS:
            return await super().sleep(seconds)
        await self.beat.wait()
        return self.beat.clear()


class Client:
    """A page, joined in this process."""

    def __init__(self, token: str) -> None:
        self._to_server: asyncio.Queue[Message] = asyncio.Queue()
        self._from_server: asyncio.Queue[Message] = asyncio.Queue()
        scope = {"type": "websocket", "path": "/ws", "headers": [(b"authorization", f"Bearer {token}".encode())]}
        self.asgi = (scope, self._to_server.get, self._from_server.put)

    async def say(self, kind: str, **message: object) -> None:
        await self._to_server.put({"type": f"websocket.{kind}", **message})

    async def hears(self) -> Any:  # noqa: ANN401 -- JSON
        """Return the next frame, or the code that the connection is closed with."""
        message = await self._from_server.get()
        if message["type"] == "websocket.accept":
            return await self.hears()
        return described(json.loads(message["text"])) if "text" in message else message["code"]


@dataclass
class Scene:
    house: House
    anna: Teacher
    clock: Paced

    @property
    def live(self) -> live.Live:
        stopping: Any = self.house.services["gateway"].stopping
        found: live.Live = stopping.__self__
        return found

    @asynccontextmanager
    async def joined(self, cursor: str | None = None) -> AsyncIterator[Client]:
        client = Client(self.anna.token)
        serving = asyncio.create_task(self.live(*client.asgi))
        await client.say("connect")
        await client.say("receive", text=json.dumps({"event": "hello", "cursor": cursor}))
        yield client
        await client.say("disconnect", code=1000)
        await serving

    async def changed(self) -> str:
        """Make a batch and return the feed's head when its view has come."""
        batch_id = await self.anna.batch()
        await self.anna.until(batch_id, lambda found: bool(found["version"]))
        return str((await self.anna.ask("GET", "/batches", 200))["live_cursor"])

    async def unheard(self) -> str:
        """Do the same when nobody can be told: only the view tells."""
        batch_id = await self.anna.batch()
        while not (await self.anna.ask("GET", f"/batches/{batch_id}/status", 200))["version"]:
            """Ask again."""
        return str((await self.anna.ask("GET", "/batches", 200))["live_cursor"])

    def restored(self) -> None:
        """Have messages come again after some were lost."""
        backplane: Any = self.live._backplane
        backplane._restored.set()

    async def rebuilt(self) -> None:
        await self.house.platform.peer("aggregator").ask("POST", "/internal/v1/rebuild", timeout=30)

    def once_read(self, deed: Callable[[], Awaitable[object]]) -> None:
        """Have something happen after the feed has been read once."""
        aggregator, pending = self.house.apps["aggregator"], [deed]

        async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
            await aggregator(scope, receive, send)
            if scope["path"].endswith("/feed") and pending:
                await pending.pop()()

        self.house.platform.peer("aggregator").connect(wrapped)


@pytest_asyncio.fixture(params=["in process", pytest.param("redis", marks=ENGINE)])
async def backplane(request: pytest.FixtureRequest) -> AsyncIterator[MemoryBackplane]:
    if request.param == "in process":
        yield MemoryBackplane("test")
        return
    with patient_with_redis() if request.param == "redis" else nullcontext():
        backplane = RedisClient("test", request.getfixturevalue("servers").env("redis")["HULEEDU_BACKPLANE_URL"])
        yield backplane
        await backplane.aclose()


@pytest_asyncio.fixture
async def scene(tmp_path: Path, backplane: MemoryBackplane) -> AsyncIterator[Scene]:
    clock = Paced()
    async with inhabited(tmp_path, without=["phases"], clock=clock, backplane=backplane) as house:
        yield Scene(house, await house.teacher(), clock)


async def test_what_comes_late_of_an_earlier_epoch_is_not_heard(scene: Scene) -> None:
    before = await scene.changed()
    await scene.rebuilt()
    async with scene.joined() as client:
        now = (await client.hears())["cursor"]
        epoch, _, seq = before.partition(":")
        late = {"epoch": epoch, "seq": int(seq) + 1, "at": "2026-01-01T00:00:00Z"}
        await scene.house.platform.backplane.publish_user_notification(scene.anna.user_id, late)
        for socket in scene.live._sockets[scene.live._backplane.get_user_channel(scene.anna.user_id)]:
            socket.put(live.Waiting((int(epoch), 99)))
        assert await client.hears() == {"event": "ping", "cursor": now}
        await scene.changed()
        assert (await client.hears())["seq"] == int(now.partition(":")[2]) + 1


async def test_a_feed_of_which_more_is_forgotten_while_it_is_read_is_told(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers, "FEED_PAGE", 1)
    before, _, _, last = [await scene.changed() for _ in range(4)]

    async def forgotten() -> None:
        later = scene.house.platform.clock.now() + timedelta(days=1)
        await scene.house.platform.db.write(lambda tx: feed.trim(tx, scene.anna.user_id, later, seq(last) - 1))

    scene.once_read(forgotten)
    async with scene.joined(before) as client:
        assert (await client.hears())["cursor"] == before
        assert (await client.hears())["seq"] == seq(before) + 1
        assert (await client.hears())["event"] == "resync"
        after = await scene.changed()
        assert (await client.hears())["seq"] == seq(last) + 1 == seq(after)


async def test_a_feed_made_again_while_it_is_read_is_told(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "FEED_PAGE", 1)
    before = await scene.changed()
    for _ in range(2):
        await scene.changed()
    scene.once_read(scene.rebuilt)
    async with scene.joined(before) as client:
        assert (await client.hears())["cursor"] == before
        assert (await client.hears())["seq"] == seq(before) + 1
        assert (await client.hears())["event"] == "resync", "there is no second page"
        after = await scene.changed()
        frame = await client.hears()
        assert frame["seq"] <= int(after.partition(":")[2])
        assert frame["event"] == "batch_updated"


async def test_a_revoked_token_closes_its_connection(scene: Scene) -> None:
    async with scene.joined() as client:
        await client.hears()
        address = {"email": scene.anna.email}
        await scene.house.platform.peer("gateway").ask("POST", "/internal/v1/users/revoke", json=address)
        assert await client.hears() == live.UNAUTHENTICATED


async def test_each_socket_too_many_sends_another_away(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "SOCKETS", 2)
    teacher = await scene.live._accounts.verify(scene.anna.token, Kind.TOKEN)
    sockets = [live.Socket(WebSocket(*Client("").asgi), teacher, lambda _: False) for _ in range(4)]
    async with (
        scene.live._joined(sockets[0]),
        scene.live._joined(sockets[1]),
        scene.live._joined(sockets[2]),
        scene.live._joined(sockets[3]),
    ):
        assert [socket.close_code for socket in sockets] == [live.TOO_MANY, live.TOO_MANY, None, None]


async def test_while_credentials_cannot_be_looked_at_the_client_is_asked_to_come_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_websocket: object) -> None:
        raise Unavailable("The database does not answer.")

    monkeypatch.setattr(scene.live._access, "asking", away)
    async with scene.joined() as client:
        assert await client.hears() == live.GOING_DOWN


async def test_a_broken_view_asks_the_clients_to_come_again_not_all_at_once(scene: Scene) -> None:
    scene.house.platform.peer("aggregator").connect(Response(status_code=500))
    apart = set[int]()
    for _ in range(9):
        async with scene.joined() as client:
            told = await client.hears()
            assert told["event"] == "reconnect"
            apart.add(told["after_ms"])
            assert await client.hears() == live.GOING_DOWN
    assert len(apart) > 1
    assert apart < set(range(live.SPREAD_MS))
    scene.house.platform.peer("aggregator").connect(scene.house.apps["aggregator"])


@pytest.mark.parametrize("backplane", ["in process"], indirect=True)
async def test_what_many_sockets_miss_is_asked_for_together(scene: Scene) -> None:
    db, backplane, aggregator = scene.house.platform.db, scene.house.platform.backplane, scene.house.apps["aggregator"]
    teachers = [await scene.house.teacher() for _ in range(100)]
    missed = {teacher.user_id: place % 30 for place, teacher in enumerate(teachers)} | {teachers[-1].user_id: 200}
    asked, on_her_way, late = Counter[str](), teachers[30].user_id, teachers[20].user_id

    async def tell(user_id: str, count: int) -> None:
        """Tell her so much more, and publish the first of it."""
        first, *_ = await db.write(partial(told, counts={user_id: count}))
        await backplane.publish_user_notifications([(user_id, first.model_dump_json())])
        missed[user_id] += count

    async def counted(scope: Scope, receive: Receive, send: Send) -> None:
        asked[path := scope["path"].rpartition("/")[2]] += 1
        meanwhile = path == "feeds:query" and asked[path] == 1
        if meanwhile:
            await tell(on_her_way, 2)
        await aggregator(scope, receive, send)
        if meanwhile:
            await tell(late, 1)

    async with AsyncExitStack() as stack:
        clients = []
        for teacher in [*teachers] * 3:
            client = await stack.enter_async_context(replace(scene, anna=teacher).joined())
            assert (await client.hears())["cursor"] == "1:0"
            clients.append((client, teacher.user_id))
        await db.write(partial(told, counts=missed))
        scene.house.platform.peer("aggregator").connect(counted)
        scene.restored()
        for client, user_id in clients:
            frames = [await client.hears() for _ in range(missed[user_id])]
            assert [frame["seq"] for frame in frames] == list(range(1, missed[user_id] + 1))
            assert await client.hears() == {"event": "ping", "cursor": f"1:{missed[user_id]}"}
        assert asked == {"feeds:query": 2, "feed": 3 * 3}, "and those who are told meanwhile, or miss too much"
    scene.house.platform.peer("aggregator").connect(aggregator)


async def test_what_was_lost_is_found_though_the_aggregator_was_away_when_messages_came_again(scene: Scene) -> None:
    broken, asked = Response(status_code=500), asyncio.Event()

    async def away(scope: Scope, receive: Receive, send: Send) -> None:
        await broken(scope, receive, send)
        asked.set()

    async with scene.joined() as client:
        await client.hears()
        await scene.house.platform.db.write(partial(told, counts={scene.anna.user_id: 1}))
        scene.house.platform.peer("aggregator").connect(away)
        scene.restored()
        await asked.wait()
        scene.house.platform.peer("aggregator").connect(scene.house.apps["aggregator"])
        assert (await client.hears())["seq"] == 1
        assert (await client.hears())["event"] == "ping"


@pytest.mark.parametrize("backplane", [pytest.param("redis that goes away", marks=ENGINE)], indirect=True)
async def test_when_redis_is_back_every_teacher_is_brought_up_to_date(scene: Scene, servers: Servers) -> None:
    colleague = replace(scene, anna=await scene.house.teacher())
    async with scene.joined() as client, scene.joined() as second, colleague.joined() as other:
        starts = [(await one.hears())["cursor"] for one in (client, second, other)]
        for _ in range(3):
            servers.kill("redis")
            ends = [await scene.unheard(), await colleague.unheard()]
            async with scene.joined() as late:
                assert (await late.hears())["cursor"] == ends[0], "who comes while it is away is let in"
                await asyncio.to_thread(servers.up, "redis")
                assert await late.hears() == {"event": "ping", "cursor": ends[0]}
            for one, start, end in zip((client, second, other), starts, (ends[0], *ends), strict=True):
                assert [await one.hears() for _ in range(seq(start), seq(end))][-1]["seq"] == seq(end)
                assert await one.hears() == {"event": "ping", "cursor": end}
            starts = [ends[0], *ends]
        after = await scene.changed()
        assert (await client.hears())["seq"] == seq(starts[0]) + 1 <= seq(after), "and messages come as ever"


def seq(cursor: str) -> int:
    return int(cursor.partition(":")[2])


def told(tx: Tx, counts: dict[str, int]) -> list[FeedItem]:
    """Have so much in each teacher's feed, and publish nothing of it."""
    counts = {user_id: count for user_id, count in counts.items() if count}
    gone = FeedItem(
        event=FeedEvent.BATCH_DELETED, seq=0, epoch="1", batch_id="b", version=1, at=tx.now, data={"batch_id": "b"}
    )
    entries = [
        (user_id, gone.model_copy(update={"seq": first + place}))
        for user_id, first in feed.take_seqs(tx, counts).items()
        for place in range(counts[user_id])
    ]
    feed.add(tx, entries)
    return [item for _, item in entries]
