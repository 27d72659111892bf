"""The services in processes of their own, on the second engine, as often as is wanted."""

import asyncio
import itertools
import json
import os
import signal
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import httpx2
from confluent_kafka import ConsumerGroupState
from confluent_kafka.admin import AdminClient
from sqlalchemy import select
from typing_extensions import override

from huleedu.contracts.batch import BatchStateChangedV1
from huleedu.contracts.essay import EssayStatus
from huleedu.contracts.messages import MESSAGES, TOPICS
from huleedu.orchestrator import store as orchestrator
from huleedu.platform.errors import Retry
from huleedu.platform.installation import opened
from huleedu.platform.log import Backlog
from huleedu.platform.log import store as log_store
from huleedu.platform.log.kafka_topics import Cluster
from huleedu.platform.settings import Settings
from huleedu.services import ROSTER, build_all
from scripts.servers import free_ports
from tests.acceptance.served import Served
from tests.engine.kafka import ends, everything
from tests.engine.whole import passwords
from tests.system.house import House, Teacher

NAMES = {said.topic: said.message.__name__ for said in MESSAGES}
Place = tuple[str, int]
"""A service, and which of its processes."""
STANDINGS = [EssayStatus.ACCEPTED, EssayStatus.PROCESSING, EssayStatus.COMPLETED]
KEYS = f"{'n' * 32} {'o' * 32}"


class Fleet:
    """Processes that know one another's places, whether they run or not; a service may have a database of its own."""

    def __init__(self, settings: dict[str, Any], directory: Path, copies: int, databases: dict[str, str]) -> None:
        self.places = list(itertools.product(ROSTER, range(copies)))
        ports = free_ports(2 * len(self.places))
        self.internal = dict(zip(self.places, ports[::2], strict=True))
        self.public = dict(zip(self.places, ports[1::2], strict=True))
        peers = " ".join(f"{name}=http://127.0.0.1:{port}" for (name, _), port in self.internal.items())
        given = {"workers": 1, "peers": peers, "service_keys": KEYS, **settings}
        self.settings = Settings(data_dir=directory / "nothing", **given)
        self._env = {f"HULEEDU_{name.upper()}": str(value) for name, value in given.items()}
        self.databases = databases
        self.running: dict[Place, Served] = {}
        self.started: list[Served] = []

    def start(self, places: Iterable[Place]) -> None:
        """Start these processes, some at once, and wait until all serve."""
        with ThreadPoolExecutor(4) as pool:
            for _ in pool.map(self._start, places):
                """It serves."""

    def _start(self, place: Place) -> None:
        env = self._env | {"HULEEDU_INTERNAL_PORT": str(self.internal[place])}
        if place[0] in self.databases:
            env["HULEEDU_DATABASE_URL"] = self.databases[place[0]]
        self.running[place] = Served(self.settings.data_dir, place[0], "--port", str(self.public[place]), **env)
        self.started.append(self.running[place])

    def stop(self, places: Iterable[Place], number: signal.Signals = signal.SIGTERM) -> list[int]:
        """Send these processes a signal that ends them; return their exit statuses."""
        ending = [self.running[place] for place in places]
        for served in ending:
            served.process.send_signal(number)
        return [served.ended() for served in ending]

    @property
    def lines(self) -> str:
        """What all processes have written to their logs, also those that were killed."""
        return json.dumps([served.lines for served in self.started])

    @property
    def secrets(self) -> set[str]:
        """What the processes were told and nobody may see."""
        known = passwords(self._env)
        assert len(known) == 3, "of PostgreSQL, Kafka and Redis"
        return known | {*KEYS.split(), os.environ["AWS_SECRET_ACCESS_KEY"]}

    def end(self) -> None:
        """Leave no process behind, also of those that are stopped or do not end."""
        alive = [place for place, served in self.running.items() if served.process.poll() is None]
        for place in alive:
            self.running[place].process.send_signal(signal.SIGCONT)
        try:
            self.stop(alive)
        finally:
            for place in alive:
                with suppress(ProcessLookupError):
                    os.killpg(self.running[place].process.pid, signal.SIGKILL)


@contextmanager
def fleet(
    settings: dict[str, Any], directory: Path, copies: int = 1, databases: dict[str, str] | None = None
) -> Iterator[Fleet]:
    """Have a fleet, of which nothing is left afterwards."""
    found = Fleet(settings, directory, copies, databases or {})
    try:
        yield found
    finally:
        found.end()


@dataclass(frozen=True)
class Town(House):
    """A house of many processes; each teacher goes to one of its gateways."""

    fleet: Fleet
    gateways: Iterator[int] = field(default_factory=itertools.count)

    @override
    def http(self, token: str | None = None) -> httpx2.AsyncClient:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        found = [port for (name, _), port in self.fleet.public.items() if name == "gateway"]
        url = f"http://127.0.0.1:{found[next(self.gateways) % len(found)]}"
        none_idle = httpx2.Limits(max_keepalive_connections=0)  # nobody closes a teacher's
        return httpx2.AsyncClient(base_url=url, headers=headers, timeout=30, trust_env=False, limits=none_idle)


@asynccontextmanager
async def town_of(found: Fleet) -> AsyncIterator[Town]:
    """Look at the fleet's data, and do what an operator does, from this process."""
    async with opened(found.settings) as platform:
        yield Town(platform, {}, {}, found)
    assert not found.settings.data_dir.exists(), "nothing is kept there"


async def in_work(town: Town, batch_id: str) -> bool:
    batch = await town.platform.db.read(lambda tx: orchestrator.load(tx, batch_id))
    return batch is not None and batch.processing


async def until_in_work(town: Town, batch_id: str) -> None:
    """Wait until the batch is in work: the orchestrator says so before any view does."""
    with town.platform.db.watch([log_store.topic_channel(TOPICS[BatchStateChangedV1])]) as watch:
        while not await in_work(town, batch_id):
            await watch.take()


async def check(town: Town, anna: Teacher, *batch_ids: str) -> set[str]:
    """Check what was said of classes that went well, and what their teacher was told; return the ids of the former."""
    while not set(batch_ids) <= (told := _ends(fed := await feed(town, anna))).keys():
        """The feed comes after what was said, though perhaps before Kafka has it."""
    while await town.platform.log.unsent() != Backlog():
        """The relay brings it there."""
    kept = await asyncio.to_thread(everything, town.platform.settings.log_url.get_secret_value())
    said = {one["event_id"]: one for one in map(json.loads, kept) if one["subject"] in batch_ids}
    for batch_id in batch_ids:
        _check_class([one for one in said.values() if one["subject"] == batch_id])
        _check_told([item for item in fed if item["batch_id"] == batch_id])
    assert all(after["seq"] == before["seq"] + 1 for before, after in pairwise(fed))
    assert [told[batch_id] for batch_id in batch_ids] == [1] * len(batch_ids)
    return set(said)


def _ends(fed: list[dict[str, Any]]) -> Counter[str]:
    """Count how often the end of each batch was told."""
    return Counter(item["batch_id"] for item in fed if item["event"] == "batch_pipeline_completed")


def _check_class(said: list[dict[str, Any]]) -> None:
    """Check that each thing was said once of one class, and in its order."""
    heard = Counter(NAMES[one["event_type"]] for one in said)
    essays = len({one["data"]["essay_id"] for one in said if "essay_id" in one["data"]})
    assert heard["ELSBatchPhaseOutcomeV1"] == 2
    assert heard["BatchPipelineCompletedV1"] == 1
    assert heard["EssayContentProvisionedV1"] == essays
    worked = Counter(
        (one["data"]["phase"], essay["essay_id"])
        for one in said
        if NAMES[one["event_type"]] == "PhaseWorkCompletedV1"
        for essay in one["data"]["essays"]
    )
    changes = [one["data"] for one in said if NAMES[one["event_type"]] == "EssayPhaseChangedV1"]
    completed = Counter((change["phase"], change["essay_id"]) for change in changes if change["status"] == "completed")
    assert worked == completed
    assert (len(completed), set(completed.values())) == (2 * essays, {1})
    batch = [one["version"] for one in said if NAMES[one["event_type"]] == "BatchStateChangedV1"]
    by_essay = [[it["version"] for it in changes if it["essay_id"] == essay_id] for _, essay_id in completed]
    for versions in (batch, *by_essay):
        assert versions == sorted(set(versions))


def _check_told(fed: list[dict[str, Any]]) -> None:
    """Check that what was told of one class never goes back: the versions of its view and its state, and each essay."""
    views = [item["version"] for item in fed]
    states = [item["data"]["pipeline_state"]["version"] for item in fed if item["event"] == "batch_updated"]
    assert (views, states) == (sorted(views), sorted(states))
    essays: dict[str, list[tuple[int, set[str]]]] = defaultdict(list)
    for told in (item["data"] for item in fed if item["event"] == "essay_updated"):
        essays[told["essay_id"]].append((STANDINGS.index(told["status"]), set(told["metrics"])))
    for before, after in chain.from_iterable(map(pairwise, essays.values())):
        assert before[0] <= after[0], essays
        assert before[1] <= after[1], essays


async def feed(town: Town, anna: Teacher) -> list[dict[str, Any]]:
    """Return everything that a teacher was told."""
    found: list[dict[str, Any]] = []
    path, after = f"/internal/v1/users/{anna.user_id}/feed", "1:0"
    while (page := await town.platform.peer("aggregator").ask("GET", path, params={"after": after}))["items"]:
        found, after = found + page["items"], page["cursor"]
    return found


async def fences(town: Town) -> dict[tuple[str, str, int], int]:
    """Return how often each partition was assigned, by group, topic and partition."""
    rows = await town.platform.db.read(lambda tx: tx.all(select(log_store.position)))
    return {(row.grp, row.topic, row.part): row.fence for row in rows}


async def until_shared(town: Town, copies: int) -> None:
    """Wait until each group has so many consumers with partitions of their own, and none is about to move."""
    cluster = Cluster.of(town.platform.settings.log_url.get_secret_value())
    admin = AdminClient(cluster.config)
    for service in build_all(town.platform):
        name, shares = f"{cluster.prefix}{service.group}", [0]
        while service.hears and not (len(shares) == copies and all(shares)):
            group = await asyncio.to_thread(admin.describe_consumer_groups([name])[name].result)
            stable = group.state is ConsumerGroupState.STABLE
            shares = [len(member.assignment.topic_partitions) for member in group.members] if stable else [0]


async def behind(town: Town, there: dict[tuple[str, int], int]) -> dict[tuple[str, str, int], int]:
    """Return by how many records each group has not come to these ends of the partitions that it hears."""
    rows = await town.platform.db.read(lambda tx: tx.all(select(log_store.position)))
    read = {(row.grp, row.topic, row.part): row.position for row in rows}
    return {
        (service.group, topic, part): end - read.get((service.group, topic, part), 0)
        for service in build_all(town.platform)
        for (topic, part), end in there.items()
        if topic in map(TOPICS.get, service.hears) and end != read.get((service.group, topic, part), 0)
    }


async def until_nothing_is_left_to_do(town: Town) -> None:
    """Wait until the outbox is empty and each group has come to the end of all that it hears."""
    with town.platform.db.watch(map(log_store.topic_channel, TOPICS.values())) as watch:
        while not await _is_quiet(town):
            await watch.take()


async def _is_quiet(town: Town) -> bool:
    with suppress(Retry):  # connections to a server that was killed
        there = await _ends_now(town)
        at_the_ends = not await behind(town, there) and await town.platform.log.unsent() == Backlog()
        return at_the_ends and await _ends_now(town) == there  # so nothing was said in between
    return False


async def _ends_now(town: Town) -> dict[tuple[str, int], int]:
    return await asyncio.to_thread(ends, town.platform.settings.log_url.get_secret_value())
