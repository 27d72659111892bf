"""What is asked for when somebody looks at the metrics, and what is told when something does not answer."""

import asyncio
import socket
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import insert
from typing_extensions import override

from huleedu.aggregator.rebuild import GROUP as VIEWS
from huleedu.aggregator.service import build as aggregator
from huleedu.contracts.batch import BatchStateChangedV1
from huleedu.contracts.messages import TOPICS
from huleedu.contracts.phase import EssayRef, Language, PhaseContext, PhaseName, PhaseWorkRequestedV1
from huleedu.phases import store as phases
from huleedu.phases.service import build as workers
from huleedu.phases.work import PATIENCE
from huleedu.platform import metrics
from huleedu.platform.app import Platform
from huleedu.platform.clock import Clock
from huleedu.platform.context import new_id
from huleedu.platform.db import Tx
from huleedu.platform.errors import Unavailable
from huleedu.platform.log import Backlog, Record, parking, store
from huleedu.platform.log.delivery import Delivery
from huleedu.platform.log.embedded import LOG, EmbeddedLog
from huleedu.platform.log.kafka import KafkaLog
from tests.given import RestlessClock
from tests.seeing import Samples, samples, value

TOPIC = TOPICS[BatchStateChangedV1]


async def scraped(platform: Platform) -> Samples:
    services = [build(platform) for build in (workers, aggregator)]
    return samples((await metrics.scraped(platform, services)).decode())


def enqueue(tx: Tx, phase: PhaseName) -> None:
    request = PhaseWorkRequestedV1(
        batch_id="batch",
        work_id=str(new_id()),
        run_id="run",
        phase=phase,
        essays=(EssayRef(essay_id="essay", text_storage_id="text"),),
        context=PhaseContext(language=Language.EN),
        inputs={},
    )
    asked_by = {"user_id": "anna", "correlation_id": "c", "traceparent": None}
    phases.enqueue(tx, request, asked_by, tx.now + PATIENCE)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "ANSWER_SECONDS", 30)


async def test_what_waits_for_a_worker_is_told_by_phase_with_the_age_of_the_oldest(
    platform: Platform, clock: RestlessClock
) -> None:
    for _ in range(2):
        await platform.db.write(lambda tx: enqueue(tx, PhaseName.NLP))
        clock.move(60)
    found = await scraped(platform)
    assert (value(found, "work_units", "nlp"), value(found, "work_seconds", "nlp")) == (2, 120)
    assert (value(found, "work_units", "spellcheck"), value(found, "work_seconds", "spellcheck")) == (0, 0)


async def test_what_a_group_has_not_handled_grows_old_and_what_is_in_the_view_too(
    platform: Platform, clock: RestlessClock
) -> None:
    def say(tx: Tx) -> None:
        store.take(tx, VIEWS, TOPIC, 0, LOG)
        row = {"topic": TOPIC, "key": "batch", "envelope": "{}", "at": tx.now}
        tx.put(insert(store.outbox), [row] * 3)
        said = f"{int((tx.now.timestamp() - 30) * 1000):012x}70008000000000000000"
        store.unseen(tx, VIEWS, [said, "f81d4fae7dec41d0a76500a0c91e6bf6", f"{TOPIC}/0/1"])

    await platform.db.write(say)
    clock.move(60)
    found = await scraped(platform)
    assert (value(found, "lag_events", VIEWS, TOPIC), value(found, "lag_seconds", VIEWS, TOPIC)) == (3, 60)
    assert value(found, "view_seconds", VIEWS) == pytest.approx(90, abs=0.01)


async def test_parked_records_are_counted_and_their_keys(platform: Platform) -> None:
    def park(tx: Tx) -> None:
        for place, key in enumerate(("x", "x", "y")):
            parking.park(tx, VIEWS, Delivery.of(Record(TOPIC, 0, place, key, b"?", 1)), "cause")

    await platform.db.write(park)
    found = await scraped(platform)
    assert (value(found, "dead_letters", VIEWS), value(found, "parked_keys", VIEWS)) == (3, 2)
    assert (value(found, "dead_letters", phases.GROUP), value(found, "parked_keys", phases.GROUP)) == (0, 0)


class Waiting(EmbeddedLog):
    @override
    async def unsent(self) -> Backlog:
        return Backlog(3, Clock().now() - timedelta(minutes=1))


async def test_what_waits_in_the_outbox_is_counted_and_how_old_it_is(platform: Platform) -> None:
    found = await scraped(replace(platform, log=Waiting(platform.db), clock=Clock()))
    assert value(found, "outbox_events") == 3
    assert 60 <= value(found, "outbox_seconds") < 3600


class Hanging(EmbeddedLog):
    @override
    async def lag(self, group: str, topics: Collection[str]) -> Mapping[str, Backlog]:
        await asyncio.Event().wait()
        return {}


class Away(EmbeddedLog):
    @override
    async def lag(self, group: str, topics: Collection[str]) -> Mapping[str, Backlog]:
        raise Unavailable("The broker is away.")


async def test_a_broker_that_says_nothing_is_told_and_not_taken_for_one_that_has_nothing(platform: Platform) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        log = KafkaLog(platform.db, f"kafka://127.0.0.1:{mute.getsockname()[1]}?security.protocol=PLAINTEXT")
        found = await scraped(replace(platform, log=log))
    assert (value(found, "measured", "log"), value(found, "measured", "database")) == (0, 1)


@pytest.mark.parametrize("log", [Hanging, Away])
async def test_what_does_not_answer_is_told_and_the_rest_is_told_without_it(
    platform: Platform, log: type[EmbeddedLog], monkeypatch: pytest.MonkeyPatch
) -> None:
    if log is Hanging:
        monkeypatch.setattr(metrics, "ANSWER_SECONDS", 3)
    found = await scraped(replace(platform, log=log(platform.db)))
    assert [value(found, "measured", source) for source in ("database", "outbox", "log")] == [1, 1, 0]
    assert (value(found, "dead_letters", VIEWS), value(found, "outbox_events")) == (0, 0)
    assert not [name for name, _ in found if name.startswith("huleedu_lag")]


async def test_who_has_nothing_to_tell_has_been_asked_all_the_same(platform: Platform) -> None:
    found = samples((await metrics.scraped(platform, [])).decode())
    assert [value(found, "measured", source) for source in ("database", "outbox", "log")] == [1, 1, 1]
