"""Every service and every server is killed again and again while classes are assessed; in the end nothing shows it."""

import asyncio
import itertools
import random
import signal
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from sqlalchemy import func, select, text

from huleedu.contracts.batch import BatchClientStatus, BatchStateChangedV1
from huleedu.contracts.messages import TOPICS
from huleedu.contracts.phase import PhaseName
from huleedu.orchestrator import store as orchestrator
from huleedu.platform.db import ReadTx
from huleedu.platform.errors import Retry
from huleedu.platform.log.store import topic_channel
from huleedu.services import ROSTER
from tests.acceptance.classes import ESSAYS, Class
from tests.acceptance.served import client
from tests.engine.apart import Town, check, fleet, town_of, until_nothing_is_left_to_do
from tests.engine.listener import Listener
from tests.engine.whole import second_engine
from tests.servers import ENGINE, Servers
from tests.service.page import Shown
from tests.service.stalled import stalled
from tests.service.views import DECIDING, views
from tests.system.house import Teacher

pytestmark = [pytest.mark.asyncio(loop_scope="module"), *ENGINE]
KILLS = dict.fromkeys(ROSTER, 3) | {"redis": 4, "postgres": 4, "kafka": 4}
MOMENT_SECONDS = (0.0, 2.0)
"""After one kill comes the next, at a moment between these; it does not wait until everything stands again."""
AT_WORK = 0.7
"""Of the kills so many wait until a batch is in work; the others hit whatever is done then."""
TEACHERS = 3
UNDER_WAY = {"ready", "processing"}
PATIENCE_SECONDS = 120
REST_SECONDS = 0.2
_numbers = itertools.count()


class Course:
    """A teacher's classes, one after another, asked for by a client that repeats what was not answered."""

    def __init__(self, town: Town, teacher: Teacher) -> None:
        self.url = f"http://127.0.0.1:{town.fleet.public['gateway', 0]}"
        self.teacher = teacher
        self.listener = Listener(town, teacher, itertools.repeat(self.url))
        self.classes: list[Class] = []
        self.given_up = threading.Event()

    async def teach(self, storm: "Storm") -> None:
        """Have one class after another assessed, until the storm is over and the last class has its results."""
        while not storm.over:
            self.classes.append(each := Class(next(_numbers)))
            await asyncio.to_thread(self._with_client, each.go_on)
            await self.listener.until(partial(_ended, each))

    async def ask(self, method: str, path: str) -> Any:  # noqa: ANN401 -- JSON
        """Return the answer, however often it has to be asked for."""
        return await asyncio.to_thread(self._with_client, lambda ask: ask(method, path))

    def _with_client(self, use: Callable[[Callable[..., Any]], Any]) -> Any:  # noqa: ANN401 -- whatever it returns
        with client(self.url, self.teacher.token) as http:
            return use(partial(self._ask, http))

    def _ask(self, http: httpx2.Client, method: str, path: str, **sent: Any) -> Any:  # noqa: ANN401 -- JSON
        while not self.given_up.wait(REST_SECONDS):
            with suppress(httpx2.TransportError):
                response = http.request(method, path, **sent)
                if response.status_code != httpx2.codes.SERVICE_UNAVAILABLE:
                    assert response.is_success, (method, path, response.status_code, response.text)
                    return response.json()
        raise TimeoutError(path)


def _ended(each: Class, shown: Shown) -> bool:
    status = shown.get(each.batch_id or "", {}).get("status", {})
    return bool(status) and status["pipeline_state"]["run_id"] == each.run_id and status["status"] not in UNDER_WAY


class Storm:
    """Kills at random moments, and what the product said of its work in each of them."""

    def __init__(self, town: Town, servers: Servers, seed: int) -> None:
        self.over = False
        self.killed: list[str] = []
        self.in_work: list[bool] = []
        self._town, self._servers, self._random = town, servers, random.Random(seed)
        self._back: dict[str, asyncio.Future[None]] = {}

    async def blow(self) -> None:
        """Kill each as often as it is its share; whatever was killed is started again at once."""
        victims = list(Counter(KILLS).elements())
        self._random.shuffle(victims)
        with ThreadPoolExecutor(len(KILLS)) as hands:  # which let go of nothing that they have begun to start
            for name in victims:
                # A moment at random: it waits for nothing.
                await asyncio.sleep(self._random.uniform(*MOMENT_SECONDS))
                if name in self._back:
                    await self._back[name]
                if self._random.random() < AT_WORK:
                    await self._work()
                self.in_work.append(await self._is_in_work())
                await asyncio.to_thread(self._kill, name)
                self.killed.append(name)
                self._back[name] = asyncio.wrap_future(hands.submit(self._start, name))
            await asyncio.gather(*self._back.values())
        self.over = True

    async def _work(self) -> None:
        """Wait until a batch is in work."""
        with self._town.platform.db.watch([topic_channel(TOPICS[BatchStateChangedV1])]) as watch:
            while not await self._is_in_work():
                await watch.take()

    async def _is_in_work(self) -> bool:
        """Whether the product says that a batch is in work; what cannot be asked at this moment does not count."""
        count = select(func.count()).where(orchestrator.batch.c.status == BatchClientStatus.PROCESSING.value)
        with suppress(Retry):
            return bool(await self._town.platform.db.read(lambda tx: tx.scalar(count)))
        return False

    def _kill(self, name: str) -> None:
        if name in ROSTER:
            assert self._town.fleet.stop([(name, 0)], signal.SIGKILL) == [-signal.SIGKILL]
        else:
            self._servers.kill(name)

    def _start(self, name: str) -> None:
        if name in ROSTER:
            self._town.fleet.start([(name, 0)])
        else:
            self._servers.up(name)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def town(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    async with second_engine(servers) as settings:
        with fleet(settings, tmp_path_factory.mktemp("kills")) as found:
            await asyncio.to_thread(found.start, found.places)
            async with town_of(found) as here:
                yield here


@pytest.mark.timeout(480)
async def test_nothing_is_lost_or_doubled_whatever_is_killed(town: Town, servers: Servers) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")  # noqa: T201 -- shown when the test fails, to have it again
    storm = Storm(town, servers, seed)
    courses = [Course(town, await town.teacher()) for _ in range(TEACHERS)]
    try:
        async with asyncio.TaskGroup() as tasks:
            staying = [tasks.create_task(course.listener.stay()) for course in courses]
            teaching = [tasks.create_task(course.teach(storm)) for course in courses]
            await storm.blow()
            async with asyncio.timeout(PATIENCE_SECONDS):
                await asyncio.gather(*teaching)
                await until_nothing_is_left_to_do(town)
                for course in courses:
                    fresh = await course.listener.page.fresh()
                    await course.listener.until(lambda shown: shown == fresh)  # noqa: B023 -- awaited at once
            for stay in staying:
                stay.cancel()
        assert Counter(storm.killed) == KILLS
        assert sum(storm.in_work) >= len(storm.killed) / 2, list(zip(storm.killed, storm.in_work, strict=True))
        for course in courses:
            assert course.listener.connections > 1
            await assert_results_are_there(town, course)
            await check(town, course.teacher, *(str(each.batch_id) for each in course.classes))
        await assert_views_are_the_owners_word(town)
        await assert_nothing_secret_was_written(town, courses)
    finally:
        for course in courses:
            course.given_up.set()


async def assert_results_are_there(town: Town, course: Course) -> None:
    """Each class has ended well, and each of its essays has its results."""
    for each in course.classes:
        batch_id = str(each.batch_id)
        batch = await course.ask("GET", f"/v1/batches/{batch_id}/status")
        assert (batch["status"], batch["pipeline_state"]["run_id"]) == ("completed_successfully", each.run_id)
        assert (batch["essays"], batch["unassessed"], batch["attention"]) == (ESSAYS, 0, None)
        essays = (await course.ask("GET", f"/v1/batches/{batch_id}/essays"))["items"]
        assert sorted(essay["file_name"] for essay in essays) == sorted(each.stored)
        assert {essay_id for essay_id in each.stored.values() if essay_id} <= {one["essay_id"] for one in essays}
        assert all(set(essay["metrics"]) == set(PhaseName) for essay in essays)
    left = await town.platform.db.read(leftovers)
    assert not any(left.values()), left


async def assert_views_are_the_owners_word(town: Town) -> None:
    """What was heard is what the owners say when all of them are asked."""
    heard = await views(town.platform.db, but=DECIDING)
    await town.platform.peer("aggregator").ask("POST", "/internal/v1/rebuild", retry=False, timeout=60)
    assert await views(town.platform.db, but=DECIDING) == heard


async def assert_nothing_secret_was_written(town: Town, courses: Iterable[Course]) -> None:
    """No process has quoted an address, a key, a token or a text, also while what it asks was away."""
    await asyncio.to_thread(town.fleet.stop, town.fleet.places)
    lines = town.fleet.lines
    assert '"event": "backplane.lost"' in lines, "nothing was away"
    texts = {"bleu", "wass", "hapy", "sommer", "pupil"}
    secrets = town.fleet.secrets | {course.teacher.token for course in courses} | texts
    assert not [secret for secret in secrets if secret in lines]


def leftovers(tx: ReadTx) -> dict[str, list[str]]:
    """Return what should not be there when everything has been done."""
    tables = ("work", "dead_letter", "late_result")
    found = {table: list(map(repr, tx.all(text(f"SELECT * FROM {table}")))) for table in tables}
    return found | {"stalled": stalled(tx)}
