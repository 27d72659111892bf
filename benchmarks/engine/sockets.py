"""CPU for each frame that comes through Redis, with a thousand teachers who have two sockets each.

It is the server's and Redis's together, less what both need in the same time while nothing is said. The baseline is a
server as is usually written, of a dozen lines, which has a connection to Redis for each socket and passes on what it
hears, with all libraries as they come but without compression, as ours. They take turns, as machines have moods.
"""

import asyncio
import itertools
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import psutil
import uvicorn
from _clients import Client, heard_of, listen, seqs
from _figures import duration, told
from _server import Server, stopping
from fastapi import FastAPI, WebSocket
from push import silently
from pydantic import SecretStr
from redis.asyncio import Redis

from huleedu.cli import serve
from huleedu.contracts.notice import FeedEvent, FeedItem
from huleedu.platform.app import connect
from huleedu.platform.backplane.redis import RedisClient
from huleedu.platform.clock import SystemClock
from huleedu.platform.installation import opened
from huleedu.platform.settings import Settings
from huleedu.services import build_all
from tests.servers import servers_of_ones_own
from tests.system.house import House

TEACHERS, SOCKETS, FRAMES, ROUNDS = 1_000, 2, 36, 3
RATES = 2_000, 5_000  # notices in a second, each for both of a teacher's sockets
APART_S = 0.05  # between two portions; the aggregator tells what a transaction brought, which is 0.1 s when it is busy
BEAT = 20  # seconds, of a connection's heart: what is measured takes as long, or it would hold a beat more or less
DATA = {
    "essay_id": "01a213e8-b832-732b-b414-5d3910fef3aa",
    "file_name": "A pupil's essay.docx",
    "status": "processing",
    "error": None,
    "metrics": {"spellcheck": {"words": 350.0, "misspelled": 9.0, "per_100_words": 2.6}},
}


def usually(url: str) -> FastAPI:
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


OURS, USUAL = "ours", "as usually written"


def run_server(way: str, url: str, port: str, directory: str) -> None:
    """Be the server, in a process that was started for it."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    if way == USUAL:
        return uvicorn.run(usually(url), port=int(port), log_level="error", ws_per_message_deflate=False)
    return asyncio.run(serve.run(Settings(data_dir=Path(directory), port=int(port), backplane_url=SecretStr(url))))


async def enrolled(directory: Path) -> list[Client]:
    """Give so many teachers an account and a token, and return what their sockets need."""
    async with opened(Settings(data_dir=directory)) as whole:
        services = build_all(whole)
        house = House(whole, {service.name: service for service in services}, connect(whole, services))
        teachers = [await house.teacher() for _ in range(TEACHERS)]
    return [Client(teacher.user_id, teacher.token, "") for teacher in teachers for _ in range(SOCKETS)]


async def publish(backplane: RedisClient, clients: Sequence[Client], rate: int, numbers: Iterator[int]) -> None:
    """Tell each teacher as many things, at an even pace."""
    users = [client.user_id for client in clients[::SOCKETS]]
    together, due = int(rate * APART_S), time.perf_counter()
    for seq in itertools.islice(numbers, FRAMES):
        for first in range(0, TEACHERS, together):
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            due += APART_S
            notices = [(user, notice(user, seq)) for user in users[first : first + together]]
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


async def measured(way: str, directory: Path, url: str, clients: Sequence[Client]) -> dict[int, float]:
    """Return the seconds of CPU that each frame took, at each of the rates."""
    if way == USUAL:
        clients = [client._replace(token=client.user_id) for client in clients]
    backplane, spent, numbers = RedisClient("benchmark", url), dict[int, float](), itertools.count(1)
    await backplane.start()
    with stopping(Server(directory, [sys.executable, __file__, way, url])) as server:
        redis = Redis.from_url(url)
        used = partial(cpu, psutil.Process(server.process.pid), redis)

        async def happens() -> None:
            before = await used()
            await asyncio.sleep(BEAT)
            at_rest = await used() - before
            for rate in RATES:
                before, over = await used(), time.perf_counter() + BEAT
                await publish(backplane, clients, rate, numbers)
                if (left := over - time.perf_counter()) < 0:
                    raise RuntimeError("this machine is too slow for so many notices")
                await asyncio.sleep(left)
                spent[rate] = (await used() - before - at_rest) / FRAMES / len(clients)

        heard = await heard_of(listen, server.url, clients, happens, seqs)
        server.process.kill()  # it has nothing that anybody needs
        await redis.aclose()
    await backplane.aclose()
    frames = sum(len({place for places, _ in answers for place in places if place}) for answers in heard)
    if frames != (all_of_them := len(clients) * FRAMES * len(RATES)):
        raise RuntimeError(f"{frames} frames came of {all_of_them}")
    return spent


async def main() -> None:
    silently()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with servers_of_ones_own() as servers, tempfile.TemporaryDirectory() as directory:
        url = servers.env("redis")["HULEEDU_BACKPLANE_URL"]
        clients = await enrolled(Path(directory))
        turns = [[await measured(way, Path(directory), url, clients) for way in (OURS, USUAL)] for _ in range(ROUNDS)]
    for rate in RATES:
        told(f"{rate:,} notices/s", f"{rate * SOCKETS:,} frames/s", f"{TEACHERS:,} teachers x {SOCKETS} sockets")
        for ours, usual in turns:
            duration("CPU per frame", ours[rate], (USUAL, usual[rate]), "target: x0.25")


if __name__ == "__main__":
    if words := sys.argv[1:]:
        run_server(words[0], words[1], words[3], words[5])
    else:
        asyncio.run(main())
