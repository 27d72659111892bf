"""Clients of teachers' feeds, in a process of their own, so that they take none of the server's time."""

import asyncio
import json
import multiprocessing
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from multiprocessing.connection import Connection
from typing import NamedTuple

import httpx2
from websockets.asyncio.client import connect

POLL_S = 0.25
LOOK_S = 0.01
APART_S = 0.003  # as they would come again: not all at once


class Client(NamedTuple):
    """Somebody who wants to know of one teacher's feed; who asks and does not listen, asks for one batch."""

    user_id: str
    token: str
    batch_id: str


Answers = list[tuple[float, str]]
Way = Callable[[str, Client, Answers], Awaitable[None]]
Deed = Callable[[], Awaitable[None]]
Heard = list[tuple[list[int], float]]
"""What an answer told, in numbers, each with the moment from which on the client knew."""
Numbers = Callable[[str], list[int]]


async def listen(url: str, client: Client, answers: Answers) -> None:
    """Read from a socket whatever comes."""
    headers = {"authorization": f"Bearer {client.token}"}
    address = f"{url.replace('http', 'ws', 1)}/ws"
    async with connect(address, additional_headers=headers, proxy=None, open_timeout=None) as socket:
        await socket.send('{"event":"hello","cursor":null}')
        async for frame in socket:
            answers.append((time.perf_counter(), str(frame)))


async def ask(url: str, client: Client, answers: Answers, what: str = "status") -> None:
    """Ask for the batch's status, or something else of it, again and again."""
    headers = {"authorization": f"Bearer {client.token}"}
    async with httpx2.AsyncClient(base_url=url, headers=headers, trust_env=False) as http:
        await asyncio.sleep(random.uniform(0, POLL_S))
        while True:
            answer = await http.get(f"/v1/batches/{client.batch_id}/{what}")
            answers.append((time.perf_counter(), answer.raise_for_status().text))
            await asyncio.sleep(POLL_S)


async def heard_of(
    way: Way, url: str, clients: Sequence[Client], happens: Callable[[], Awaitable[None]], numbers: Numbers
) -> list[Heard]:
    """Return what each of the clients heard while something happened; `numbers` reads an answer."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_run, args=(theirs, way, url, clients, numbers), daemon=True)
    process.start()
    theirs.close()
    await asyncio.to_thread(ours.recv)
    await happens()
    ours.send(None)
    heard: list[Heard] = await asyncio.to_thread(ours.recv)
    process.join()
    return heard


def _run(pipe: Connection, way: Way, url: str, clients: Sequence[Client], numbers: Numbers) -> None:
    all_answers = asyncio.run(_hear(pipe, way, url, clients))
    pipe.send([[(numbers(text), moment) for moment, text in answers] for answers in all_answers])


async def _hear(pipe: Connection, way: Way, url: str, clients: Sequence[Client]) -> list[Answers]:
    """Say when each has had an answer; go on until told; return what each has heard."""
    all_answers: list[Answers] = [[] for _ in clients]
    over = asyncio.Event()
    asyncio.get_running_loop().add_reader(pipe.fileno(), over.set)
    async with asyncio.TaskGroup() as group:
        tasks = []
        for client, answers in zip(clients, all_answers, strict=True):
            tasks.append(group.create_task(_for_ever(way(url, client, answers))))
            await asyncio.sleep(APART_S)
        while not all(all_answers):  # noqa: ASYNC110 -- whoever listens need not tell
            await asyncio.sleep(LOOK_S)
        pipe.send(None)
        await over.wait()
        asyncio.get_running_loop().remove_reader(pipe.fileno())
        for task in tasks:
            task.cancel()
    return all_answers


async def _for_ever(hearing: Awaitable[None]) -> None:
    await hearing
    raise ConnectionError("The server has closed a connection.")


def seqs(text: str) -> list[int]:
    """Return the place in the feed that an answer is valid at."""
    answer = json.loads(text)
    cursor: str = answer.get("live_cursor") or answer.get("cursor") or f":{answer['seq']}"
    return [int(cursor.partition(":")[2])]
