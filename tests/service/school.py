"""Every service on one platform, stepped by hand: a service hears when a test says so, and the test is the worker.

What must hold after anything that happened is checked at the end of every test (`School.settle_and_check`).
"""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from uuid import UUID

from sqlalchemy import event, func, insert, select
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from typing_extensions import override

from huleedu.contracts.batch import (
    BatchPipelineCancelRequestedV1,
    BatchPipelineCompletedV1,
    ClientBatchPipelineRequestV1,
    ProcessingPipelineState,
)
from huleedu.contracts.envelope import Event, EventEnvelope
from huleedu.contracts.messages import TOPICS, decode
from huleedu.contracts.notice import FeedItem
from huleedu.contracts.phase import (
    ELSBatchPhaseOutcomeV1,
    EssayOutcome,
    PhaseWorkCompletedV1,
    PhaseWorkRequestedV1,
    WorkOutcome,
)
from huleedu.files.handlers import GROUP as FILES
from huleedu.files.handlers import Files, Reading
from huleedu.orchestrator.handlers import Orchestrator
from huleedu.phases import store as phases
from huleedu.platform.app import Platform, connect
from huleedu.platform.backplane.memory import MemoryBackplane
from huleedu.platform.blobs import store as garbage
from huleedu.platform.context import bound, new_id
from huleedu.platform.db import Db, ReadTx, Tx, metadata
from huleedu.platform.db.sqlite import SqliteDb
from huleedu.platform.log import store as log_store
from huleedu.platform.log.redrive import serve
from huleedu.platform.log.runner import Runner
from huleedu.platform.service import Service
from huleedu.platform.tasks import Tasks
from huleedu.platform.workers import Workers
from huleedu.services import ROSTER, build_all
from tests.given import ManualClock, RestlessClock, Stuck, opened
from tests.service.page import Page
from tests.service.stalled import stalled
from tests.service.world import Dry, DryLog

E = TypeVar("E", bound=Event)
TEACHER, COLLEAGUE = "teacher-1", "teacher-2"
Fate = Callable[[PhaseWorkRequestedV1], bool]
Change = Callable[[str, Any], Awaitable[Any]]
"""(path, JSON that is answered) -> JSON that is answered instead."""
FINE: Fate = lambda _request: True  # noqa: E731 -- a constant of a callable type


def hasty(db: Db) -> Db:
    """Do not wait for the disk: a power cut is not what is tested here."""
    if isinstance(db, SqliteDb):
        event.listen(db._engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=OFF"))
    return db


class Recorder(MemoryBackplane):
    """Notes what is pushed to whom."""

    def __init__(self) -> None:
        super().__init__("recorder")
        self.pushed: dict[str, list[FeedItem]] = defaultdict(list)

    @override
    async def publish_user_notifications(self, notifications: Sequence[tuple[str, str]]) -> None:
        for user_id, notification in notifications:
            self.pushed[user_id].append(FeedItem.model_validate_json(notification))
        await super().publish_user_notifications(notifications)


class School:
    """The services, and the teachers, pupils and workers that use them."""

    def __init__(self, platform: Platform, clock: ManualClock, directory: Path) -> None:
        self.backplane = Recorder()
        self.platform, self.clock, self.db = replace(platform, backplane=self.backplane), clock, platform.db
        wired = build_all(self.platform, ROSTER.keys() - {"gateway"})  # which hears nothing, and is the slowest to make
        self.apps = connect(self.platform, wired)
        self.services = {service.name: service for service in wired if service.hears}
        self.files = Files(platform, Workers(count=1))
        self.orchestrator = Orchestrator(platform.db, clock, self.platform.peer("files"))
        self.directory = directory
        self.page = Page(self.ask, TEACHER)

    # -- what people do

    async def ask(self, service: str, method: str, path: str, **sent: Any) -> Any:  # noqa: ANN401 -- JSON
        with bound(user_id=sent.pop("user_id", TEACHER), correlation_id=new_id()):
            return await self.platform.peer(service).ask(method, f"/internal/v1{path}", **sent)

    async def registered(self, user_id: str = TEACHER) -> str:
        """Register a batch, of which nobody has heard yet."""
        batch_id = str(new_id())
        registration = {
            "batch_id": batch_id,
            "teacher_name": "Anna",
            "essay_instructions": "A place",
            "user_id": user_id,
        }
        await self.ask("orchestrator", "POST", "/batches", json=registration)
        return batch_id

    async def batch(self, *texts: str, user_id: str = TEACHER) -> str:
        """Register a batch with these essays and have everybody hear of it."""
        batch_id = await self.registered(user_id)
        for text in texts:
            await self.hand_in(batch_id, text, user_id)
        await self.settle()
        return batch_id

    async def hand_in(self, batch_id: str, text: str, user_id: str = TEACHER) -> str | None:
        """Store an essay as an upload does, its text extracted; return its id, or None if it is refused."""
        with bound(service="files", user_id=user_id, correlation_id=new_id(), batch_id=batch_id):
            item = await self.files.store(batch_id, user_id, Reading(f"{text}.txt", text.encode(), text))
        return item.essay_id if item else None

    async def start(self, batch_id: str, requested: str = "all", user_id: str = TEACHER) -> str:
        """Say that a pipeline shall start; return the run's id."""
        run_id = new_id()
        command = ClientBatchPipelineRequestV1(
            batch_id=batch_id, requested_pipeline=requested, client_correlation_id=run_id, user_id=user_id
        )
        await self.say(command, event_id=run_id, user_id=user_id)
        return str(run_id)

    async def cancel(self, batch_id: str, run_id: str, user_id: str = TEACHER) -> None:
        await self.say(BatchPipelineCancelRequestedV1(batch_id=batch_id, run_id=run_id, user_id=user_id))

    async def say(self, *messages: Event, event_id: UUID | None = None, user_id: str = TEACHER) -> None:
        with bound(user_id=user_id, correlation_id=new_id()):
            await self.db.write(lambda tx: log_store.append(tx, messages, event_id=event_id))

    # -- what services do

    async def hear(self, name: str, *only: type[Event]) -> None:
        """Have a service hear all that has been said, or these messages of it; each time is a restart."""
        service = self.services[name]
        if only:
            on = {kind: handle for kind, handle in service.on.items() if kind in only}
            informed = {kind: handle for kind, handle in service.informed.items() if kind in only}
            service = replace(service, on=on, informed=informed, folds=service.folds & frozenset(only))
        try:
            with suppress(Dry):
                await self.runner(service).run()
        except Stuck as stuck:
            raise AssertionError(f"{name} never comes to rest") from stuck

    def runner(self, service: Service) -> Runner:
        return Runner(replace(self.platform, log=DryLog(self.db, self.platform.log)), service)

    async def settle(self, *but: str) -> None:
        """Have everybody, but these, hear until there is nothing left to hear."""
        while behind := [name for name in await self.db.read(self._behind) if name not in but]:
            for name in behind:
                await self.hear(name)

    def _behind(self, tx: ReadTx) -> list[str]:
        latest = select(log_store.outbox.c.topic, func.max(log_store.outbox.c.pos).label("pos"))
        said = {row.topic: row.pos for row in tx.all(latest.group_by(log_store.outbox.c.topic))}
        read = {(row.grp, row.topic): row.position for row in tx.all(select(log_store.position))}
        return [
            name
            for name, service in self.services.items()
            if any(
                read.get((service.group, topic), 0) <= said.get(topic, -1) for topic in map(TOPICS.get, service.hears)
            )
        ]

    @contextmanager
    def faulty(self, name: str, kind: type[Event]) -> Iterator[None]:
        """While the block runs, a service has a fault that this message brings out."""
        sound = self.services[name]
        table = {kind: _fail}
        self.services[name] = (
            replace(sound, fold=_fail) if kind in sound.folds else replace(sound, on={**sound.on, **table})
        )
        yield
        self.services[name] = sound

    @contextmanager
    def altered(self, name: str, change: Change) -> Iterator[None]:
        """While the block runs, a service's answers are changed on their way, or something happens before them."""
        peer = self.platform.peer(name)
        peer.connect(_altered(self.apps[name], change))
        yield
        peer.connect(self.apps[name])

    async def redrive(self, name: str) -> None:
        await self.ask(name, "POST", "/dead-letters")
        await serve(self.platform, self.services[name], self.runner(self.services[name]))

    async def work(self, fate: Fate = FINE, units: int = 1_000) -> int:
        """Do what waits in the queue, as workers would; return how much that was."""

        def until_done(tx: Tx) -> int:
            return next((done for done in range(units) if not self._do_one(tx, fate)), units)

        return await self.db.write(until_done)

    def _do_one(self, tx: Tx, fate: Fate) -> bool:
        for user_id, batches in phases.queued(tx).items():
            for batch_id in batches:
                work = phases.claim(tx, user_id, batch_id, str(new_id()), tx.now + timedelta(minutes=1))
                assert work is not None
                assert phases.finish(tx, work)
                with bound(service="phases", user_id=user_id, correlation_id=UUID(work.correlation_id)):
                    log_store.append(tx, [completed(work.request, fine=fate(work.request))])
                return True
        return False

    async def a_day_passes(self) -> None:
        """Let the watchdog of runs look after everybody's patience has ended."""
        self.clock.move(25 * 3600)
        with bound(service="orchestrator"):
            await self.db.write(self.orchestrator.end_overdue)

    async def watched(self, fate: Fate = FINE) -> None:
        """Go on until nothing is left to do, with a page that looks after every step of every service."""
        while True:
            while behind := await self.db.read(self._behind):
                await self.hear(behind[0])
                await self.hear("aggregator")
                await self.check_page()
            if not await self.work(fate, units=1):
                return

    async def finish(self, fate: Fate = FINE) -> None:
        """Go on until nothing is left to do for anybody."""
        await self.settle()
        while await self.work(fate):
            await self.settle()

    # -- what can be seen

    async def state(self, batch_id: str) -> ProcessingPipelineState:
        told = await self.ask("orchestrator", "GET", f"/batches/{batch_id}/pipeline-state")
        return ProcessingPipelineState.model_validate(told)

    async def status(self, batch_id: str) -> dict[str, Any]:
        found: dict[str, Any] = await self.ask("aggregator", "GET", f"/batches/{batch_id}/status")
        return found

    async def essays(self, batch_id: str) -> list[dict[str, Any]]:
        """Return the view of the essays, in the order in which they were handed in."""
        told = await self.ask("aggregator", "GET", f"/users/{TEACHER}/batches/{batch_id}/essays")
        return list(told["items"])

    async def envelopes(self, kind: type[E]) -> list[EventEnvelope[E]]:
        rows = await self.db.read(lambda tx: log_store.tail(tx, TOPICS[kind], 0, 100_000))
        found = {envelope.event_id: envelope for envelope in (decode(TOPICS[kind], row.envelope) for row in rows)}
        return list(found.values())

    async def said(self, kind: type[E]) -> list[E]:
        """Return all messages of this type, repetitions left out, in the order of the log."""
        return [envelope.data for envelope in await self.envelopes(kind)]

    async def repeat(self, kinds: Collection[type[Event]]) -> None:
        """Say everything of these types once more, as an at-least-once log may."""
        columns = ["topic", "key", "envelope", "at"]
        heard = log_store.outbox.c.topic.in_([TOPICS[kind] for kind in kinds])
        copied = select(*(log_store.outbox.c[name] for name in columns)).where(heard)
        await self.db.write(lambda tx: tx.execute(insert(log_store.outbox).from_select(columns, copied)))

    async def traces(self, *words: str) -> set[str]:
        """Return in which tables, and whether among the blobs, one of these words is found anywhere."""

        def search(tx: ReadTx) -> set[str]:
            return {
                table.name
                for table in metadata.sorted_tables
                for row in tx.all(select(table))
                if any(word in str(cell) for cell in row for word in words)
            }

        blobs = [str(path) for path in (self.directory / "blobs").rglob("*") if path.is_file()]
        files = {"blobs" for path in blobs if any(word in path for word in words)}
        return files | await self.db.read(search)

    async def sweep(self) -> None:
        """Have the services delete what nothing refers to."""
        tasks = Tasks(self.clock)
        for service in self.services.values():
            for loop in service.tasks:
                if loop.__name__ == "sweep":
                    tasks.start(service.name, loop)
        while await self.db.read(lambda tx: [*garbage.due(tx, FILES), *garbage.due(tx, "phase-service")]):
            await self.db.write(lambda _tx: None)
        await tasks.aclose()

    # -- what must hold

    async def stalled(self) -> list[str]:
        return await self.db.read(lambda tx: stalled(tx, timedelta(minutes=5)))

    async def settle_and_check(self) -> None:
        await self.settle()
        assert await self.stalled() == []
        outcomes = Counter((said.run_id, said.phase_name) for said in await self.said(ELSBatchPhaseOutcomeV1))
        ended = Counter(said.run_id for said in await self.said(BatchPipelineCompletedV1))
        assert set(outcomes.values()) | set(ended.values()) <= {1}
        for user_id, items in self.backplane.pushed.items():
            assert [item.seq for item in items] == list(range(1, len(items) + 1)), user_id
        await self._views_are_true()
        await self.check_page()

    async def check_page(self) -> None:
        """What a page made of the feed is what it would be shown anew."""
        await self.page.follow()
        fresh = await self.page.fresh()
        assert self.page.shown.keys() == fresh.keys()
        for batch_id, shown in self.page.shown.items():
            assert shown == fresh[batch_id], f"shown: {shown}\nfresh: {fresh[batch_id]}"

    async def _views_are_true(self) -> None:
        for item in (await self.ask("orchestrator", "GET", "/batches/pipeline-states"))["items"]:
            view = (await self.status(item["batch_id"]))["pipeline_state"]
            live = {"phases"} if item["status"] == "processing" else set()  # these are counted from essays meanwhile
            same = view.keys() & item.keys() - live
            assert {name: view[name] for name in same} == {name: item[name] for name in same}


def _altered(app: ASGIApp, change: Change) -> ASGIApp:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        sent: list[Message] = []

        async def keep(message: Message) -> None:
            sent.append(message)

        await app(scope, receive, keep)
        told = json.loads(b"".join(message.get("body", b"") for message in sent[1:]))
        headers = [(name, value) for name, value in sent[0]["headers"] if name != b"content-length"]
        body = json.dumps(await change(scope["path"], told)).encode()
        await send({**sent[0], "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return answer


def _fail(*_arguments: object) -> NoReturn:
    raise ValueError("a fault")


def completed(request: PhaseWorkRequestedV1, *, fine: bool = True) -> PhaseWorkCompletedV1:
    """Return what came of a unit of work."""
    outcomes = [
        EssayOutcome(
            essay_id=essay.essay_id,
            outcome=WorkOutcome.COMPLETED,
            result_id=f"{request.run_id}-{request.phase}",
            metrics={"words": 7.0},
        )
        if fine
        else EssayOutcome(essay_id=essay.essay_id, outcome=WorkOutcome.FAILED, code="PHASE_FAILED", detail="It broke.")
        for essay in request.essays
    ]
    known = {name: getattr(request, name) for name in ("batch_id", "work_id", "run_id", "phase")}
    return PhaseWorkCompletedV1(attempt=1, essays=tuple(outcomes), **known)


@asynccontextmanager
async def school_at(directory: Path, clock: ManualClock | None = None) -> AsyncIterator[School]:
    """Open a school on this directory; when the block ends well, what must hold is checked."""
    clock = clock or RestlessClock()
    async with opened(directory, clock, hasty) as platform:
        school = School(platform, clock, directory)
        await school.backplane.start()
        await school.page.follow()
        try:
            yield school
            await school.settle_and_check()
        finally:
            await asyncio.gather(*(peer.aclose() for peer in school.platform.peers.values()))
