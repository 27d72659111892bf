"""CPU for each frame that comes through Redis, with a thousand teachers who have two sockets each.

What is said is what the aggregator says of an essay that has come further: of it, and then of its class. It is the
server's and Redis's CPU together, less what both need in the same time while nothing is said. The baseline is a server
as is usually written, of a dozen lines, which has a connection to Redis for each socket and passes on what it hears,
with all libraries as they come but without compression, as ours. They take turns, as machines have moods.
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
from huleedu.contracts.batch import BatchClientStatus, BatchStatus, EssayCounts, PipelineState, PipelineStateDetail
from huleedu.contracts.essay import EssayStatus, EssayView
from huleedu.contracts.notice import FeedEvent, FeedItem
from huleedu.contracts.phase import PhaseName, PipelineExecutionStatus
from huleedu.platform.app import connect
from huleedu.platform.backplane.redis import RedisClient
from huleedu.platform.clock import Clock
from huleedu.platform.context import new_id
from huleedu.platform.installation import opened
from huleedu.platform.settings import Settings
from huleedu.services import build_all
from tests.servers import servers_of_ones_own
from tests.system.house import House

TEACHERS, SOCKETS, FRAMES, ROUNDS = 1_000, 2, 36, 3
PAIR = 2  # notices of one teacher together: an essay is never told without its class
RATES = 2_000, 5_000  # notices in a second, each for both of a teacher's sockets
APART_S = 0.05  # between two portions; the aggregator tells what a transaction brought, which is 0.1 s when it is busy
BEAT = 20  # seconds, of a connection's heart: what is measured takes as long, or it would hold a beat more or less
NOW = Clock().now()
TRACE = "00-a86992c515bb0779f6165ba5836e4bf1-e8c352f8a15f4975-01"
ESSAY = EssayView(
    essay_id=str(new_id()),
    file_name="A pupil's essay.docx",
    status=EssayStatus.PROCESSING,
    metrics={PhaseName.SPELLCHECK: {"word_count": 350.0, "total_corrections": 25.0, "correction_density": 7.14}},
)
IN_WORK = PipelineStateDetail(
    status=PipelineExecutionStatus.IN_PROGRESS,
    essay_counts=EssayCounts(total=30, pending_dispatch_or_processing=20, successful=10),
    started_at=NOW,
    progress_percentage=33.3,
)


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
    portion, due = int(rate * APART_S) // PAIR, time.perf_counter()
    for seq in itertools.islice(numbers, 0, FRAMES, PAIR):
        for first in range(0, TEACHERS, portion):
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            due += APART_S
            told_now = users[first : first + portion]
            notices = [(user, item.model_dump_json()) for user in told_now for item in pair(user, seq)]
            await backplane.publish_user_notifications(notices)
    if time.perf_counter() > due + 0.1 * TEACHERS * FRAMES / rate:
        raise RuntimeError("this machine is too slow for so many notices")


def pair(batch_id: str, seq: int) -> list[FeedItem]:
    """Return what the aggregator says of an essay that has come further: of it, then of its class."""
    state = PipelineState(
        batch_id=batch_id,
        version=seq,
        run_id=ESSAY.essay_id,
        status=BatchClientStatus.PROCESSING,
        requested_pipelines=(PhaseName.SPELLCHECK, PhaseName.NLP),
        phases=dict.fromkeys((PhaseName.SPELLCHECK, PhaseName.NLP), IN_WORK),
        last_updated=NOW,
    )
    batch = BatchStatus(
        batch_id=batch_id,
        title="A class",
        status=BatchClientStatus.PROCESSING,
        pipeline_state=state,
        essays=30,
        version=seq,
        live_cursor=f"1:{seq + 1}",
        created_at=NOW,
        last_updated=NOW,
    )
    entry = partial(FeedItem, epoch="1", batch_id=batch_id, version=seq, at=Clock().now(), traceparent=TRACE)
    return [
        entry(event=FeedEvent.ESSAY_UPDATED, seq=seq, data=ESSAY.model_dump(mode="json")),
        entry(event=FeedEvent.BATCH_UPDATED, seq=seq + 1, data=batch.model_dump(mode="json")),
    ]


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
                await asyncio.sleep(over - time.perf_counter())
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
