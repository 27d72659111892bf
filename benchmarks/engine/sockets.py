"""CPU for each frame that comes through Redis, with a thousand teachers who have two sockets each.

It is the server's and Redis's together, less what both need in the same time while nothing is said. There are three
controls. Two have a connection to Redis for each socket: a server as is usually written, of a dozen lines, which passes
on what it hears, with all libraries as they come but without compression, as ours; and ours, all else being equal. The
third is the least that can be done with these libraries: it has one connection, and writes what it reads at once,
without a look at it.
"""

import asyncio
import resource
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import uvicorn
from _clients import Client, heard_of, listen, seqs
from _figures import duration, told
from _server import Server, stopping
from fastapi import FastAPI, WebSocket
from push import silently
from pydantic import SecretStr
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.client import PubSub
from typing_extensions import override

from huleedu.cli import serve
from huleedu.contracts.notice import FeedEvent, FeedItem
from huleedu.gateway.connection import Connection, framed, writing
from huleedu.platform import installation
from huleedu.platform.app import connect, spare_collector
from huleedu.platform.backplane.redis import RedisClient
from huleedu.platform.clock import SystemClock
from huleedu.platform.installation import opened
from huleedu.platform.settings import Settings
from huleedu.services import build_all
from tests.servers import servers_of_ones_own
from tests.system.house import House

TEACHERS, SOCKETS, FRAMES = 1_000, 2, 40
RATES = 2_000, 5_000  # notices in a second, each for both of a teacher's sockets
TOGETHER = 50
BEAT = 20  # seconds, of a connection's heart
STILL = 0.1  # of a processor: nothing more is on its way
DATA = {
    "essay_id": "01a213e8-b832-732b-b414-5d3910fef3aa",
    "file_name": "A pupil's essay.docx",
    "status": "processing",
    "error": None,
    "metrics": {"spellcheck": {"words": 350.0, "misspelled": 9.0, "per_100_words": 2.6}},
}


class EachItsOwn(RedisClient):
    """Has a connection for each subscriber."""

    def __init__(self, client_id: str, redis_url: str) -> None:
        super().__init__(client_id, redis_url)
        self._url = redis_url

    @override
    @asynccontextmanager
    async def subscribe(self, channel: str, hear: Callable[[str], None]) -> AsyncIterator[None]:
        async with Redis.from_url(self._url, decode_responses=True) as own, own.pubsub() as heard:
            await heard.subscribe(channel)
            await heard.get_message(timeout=None)
            listening = asyncio.create_task(_listen(heard, hear))
            try:
                yield
            finally:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)


async def _listen(heard: PubSub, hear: Callable[[str], None]) -> None:
    async for message in heard.listen():
        hear(message["data"])


def usual(url: str) -> FastAPI:
    """Return a server as is usually written."""
    app = FastAPI()

    @app.get("/readyz")
    async def ready() -> None: ...

    @app.websocket("/ws")
    async def ws(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.receive_text()
        async with Redis.from_url(url, decode_responses=True) as own, own.pubsub() as heard:
            await heard.subscribe(f"ws:{websocket.headers['authorization'].removeprefix('Bearer ')}")
            await heard.get_message(timeout=None)
            await websocket.send_text('{"event":"welcome","cursor":"1:0"}')
            async for message in heard.listen():
                await websocket.send_text(message["data"])

    return app


async def _pass_on(connection: Any, writes: Mapping[str, Sequence[Callable[[bytes], bool]]]) -> None:  # noqa: ANN401 -- untyped
    while True:
        kind, channel, content = await connection.read_response()
        if kind == "message":
            frame = framed(content)
            for write in writes[channel]:
                write(frame)


def least(url: str) -> FastAPI:
    """Return a server that passes on everything it reads, and knows nothing of it."""
    options: dict[str, Any] = {"decode_responses": True, "protocol": 2, "socket_timeout": None}
    connection: Any = ConnectionPool.from_url(url, **options).make_connection()  # type: ignore[no-untyped-call]
    writes: dict[str, list[Callable[[bytes], bool]]] = defaultdict(list)

    @asynccontextmanager
    async def reading(_: FastAPI) -> AsyncIterator[None]:
        spare_collector()
        await connection.connect()
        task = asyncio.create_task(_pass_on(connection, writes))
        yield
        task.cancel()

    app = FastAPI(lifespan=reading)

    @app.get("/readyz")
    async def ready() -> None: ...

    @app.websocket("/ws")
    async def ws(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.receive_text()
        channel = f"ws:{websocket.headers['authorization'].removeprefix('Bearer ')}"
        writes[channel].append(writing(websocket.scope))
        await connection.send_command("SUBSCRIBE", channel)
        await websocket.send_text('{"event":"welcome","cursor":"1:0"}')
        async for _ in websocket.iter_text():
            pass

    return app


OURS, OWN, USUAL, LEAST = "ours", "a connection per socket", "as usually written", "passed on unread"


def run_server(way: str, url: str, port: str, directory: str) -> None:
    """Be the server, in a process that was started for it."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    if way == USUAL:
        return uvicorn.run(usual(url), port=int(port), log_level="error", ws_per_message_deflate=False)
    if way == LEAST:
        return uvicorn.run(least(url), port=int(port), log_level="error", ws_per_message_deflate=False, ws=Connection)
    installation._backplane = partial(RedisClient if way == OURS else EachItsOwn, "huleedu")  # noqa: SLF001 -- what is compared
    return asyncio.run(serve.run(Settings(data_dir=Path(directory), port=int(port), backplane_url=SecretStr(url))))


async def enrolled(directory: Path) -> list[Client]:
    """Give so many teachers an account and a token, and return what their sockets need."""
    async with opened(Settings(data_dir=directory)) as whole:
        services = build_all(whole)
        house = House(whole, {service.name: service for service in services}, connect(whole, services))
        teachers = [await house.teacher() for _ in range(TEACHERS)]
    return [Client(teacher.user_id, teacher.token, "") for teacher in teachers for _ in range(SOCKETS)]


async def publish(backplane: RedisClient, clients: Sequence[Client], rate: int) -> None:
    """Tell each teacher as many things, at an even pace."""
    users = [client.user_id for client in clients[::SOCKETS]]
    started = time.perf_counter()
    for number in range(0, FRAMES * TEACHERS, TOGETHER):
        await asyncio.sleep(max(0.0, started + number / rate - time.perf_counter()))
        seq, first = divmod(number, TEACHERS)
        notices = [(user, notice(user, seq + 1)) for user in users[first : first + TOGETHER]]
        await backplane.publish_user_notifications(notices)


def notice(user: str, seq: int) -> str:
    """Return what is said of an essay of this teacher's class."""
    item = FeedItem(
        event=FeedEvent.ESSAY_UPDATED,
        seq=seq,
        epoch="1",
        batch_id=user,
        version=seq,
        data=DATA,
        at=SystemClock().now(),
    )
    return item.model_dump_json()


async def cpu(process: psutil.Process, redis: Redis) -> float:
    """Return the seconds that the server and Redis have had."""
    used, theirs = process.cpu_times(), await redis.info("cpu")
    return used.user + used.system + float(theirs["used_cpu_user"]) + float(theirs["used_cpu_sys"])


async def measured(way: str, directory: Path, url: str, clients: Sequence[Client], rate: int) -> float:
    """Return the seconds of CPU that each frame took."""
    if way in {USUAL, LEAST}:
        clients = [client._replace(token=client.user_id) for client in clients]
    backplane = RedisClient("benchmark", url)
    await backplane.start()
    with stopping(Server(directory, [sys.executable, __file__, way, url])) as server:
        redis = Redis.from_url(url)
        used, spent = partial(cpu, psutil.Process(server.process.pid), redis), [0.0]

        async def happens() -> None:
            before = await used()
            await asyncio.sleep(BEAT)
            now, started = await used(), time.perf_counter()
            at_rest = (now - before) / BEAT
            await publish(backplane, clients, rate)
            last, before = now, now
            while (now := await used()) - last > at_rest + STILL:
                last = now
                await asyncio.sleep(1)
            spent[0] = now - before - (time.perf_counter() - started) * at_rest

        heard = await heard_of(listen, server.url, clients, happens, seqs)
        server.process.kill()  # it has nothing that anybody needs
        await redis.aclose()
    await backplane.aclose()
    frames = sum(len({place for numbers, _ in answers for place in numbers if place}) for answers in heard)
    if frames != len(clients) * FRAMES:
        raise RuntimeError(f"{frames} frames came of {len(clients) * FRAMES}")
    return spent[0] / frames


async def main() -> None:
    silently()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with servers_of_ones_own() as servers, tempfile.TemporaryDirectory() as directory:
        url = servers.env("redis")["HULEEDU_BACKPLANE_URL"]
        clients = await enrolled(Path(directory))
        for rate in RATES:
            spent = {way: await measured(way, Path(directory), url, clients, rate) for way in (USUAL, OWN, LEAST, OURS)}
            told(f"{rate:,} notices/s", f"{rate * SOCKETS:,} frames/s", f"{TEACHERS:,} teachers x {SOCKETS} sockets")
            for way, target in ((USUAL, ("target: x0.25",)), (OWN, ()), (LEAST, ())):
                duration("CPU per frame", spent[OURS], (way, spent[way]), *target)


if __name__ == "__main__":
    if words := sys.argv[1:]:
        run_server(words[0], words[1], words[3], words[5])
    else:
        asyncio.run(main())
