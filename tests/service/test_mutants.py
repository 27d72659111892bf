"""The laws can fail: each mutant is the real code with one change, and the law that it breaks says so.

A mutant names what it replaces and is given the original; everything else is the code that runs in production. That
no law fails on the code as it is, is `test_runner.py`.
"""

# ruff: noqa: ANN401 -- what is replaced may be anything

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from huleedu.platform.context import new_id
from huleedu.platform.db import Tx
from huleedu.platform.db.sqlite import SqliteDb
from huleedu.platform.errors import Retry
from huleedu.platform.log import parking, runner, store
from huleedu.platform.log.delivery import Delivery
from huleedu.platform.log.runner import Runner
from tests.service import laws
from tests.service.world import world_at

Mutant = Callable[[Any], Any]
MUTANTS: dict[str, tuple[Any, str, Mutant, laws.Law]] = {}


@pytest.fixture(scope="module")
def engine() -> str:
    """The laws fail on one engine as on the other; what replaces the transaction is written for SQLite."""
    return "sqlite"


def instead_of(owner: Any, attribute: str, breaks: laws.Law) -> Callable[[Mutant], Mutant]:
    def register(mutant: Mutant) -> Mutant:
        MUTANTS[mutant.__name__] = (owner, attribute, mutant, breaks)
        return mutant

    return register


@instead_of(Runner, "_handle", breaks=laws.a_lost_commit_is_as_if_nothing_had_happened)
def a_handler_commits(real: Any) -> Any:
    def handle(self: Runner, tx: Tx, envelope: Any, fact: object) -> Any:
        said = real(self, tx, envelope, fact)
        for statement in ("COMMIT", "BEGIN IMMEDIATE", "SAVEPOINT job"):
            tx.execute(text(statement))
        return said

    return handle


@instead_of(Runner, "_apply", breaks=laws.an_older_assignment_changes_nothing)
def the_position_goes_in_a_transaction_of_its_own_after_the_effects(_real: Any) -> Any:
    def apply(self: Runner, deliveries: list[Delivery], facts: Mapping[str, object], tx: Tx) -> Any:
        notices = self.effects(tx, parking.divert(tx, self._group, deliveries), facts)
        for statement in ("RELEASE job", "COMMIT", "BEGIN IMMEDIATE", "SAVEPOINT job"):
            tx.execute(text(statement))
        store.advance(tx, self._group, [delivery.record for delivery in deliveries])
        return notices

    return apply


@instead_of(Runner, "commit", breaks=laws.death_at_any_write_loses_and_doubles_nothing)
def the_position_goes_in_a_transaction_of_its_own_before_the_effects(real: Any) -> Any:
    async def commit(self: Runner, deliveries: list[Delivery], apply: Any) -> None:
        records = [delivery.record for delivery in deliveries]
        await self._platform.db.write(lambda tx: store.advance(tx, self._group, records))
        await real(self, deliveries, apply)

    return commit


@instead_of(store, "unseen", breaks=laws.repeated_records_have_their_effects_once)
def the_inbox_is_left_out(_real: Any) -> Any:
    def unseen(_tx: Tx, _group: str, event_ids: Sequence[str]) -> set[str]:
        return set(event_ids)

    return unseen


@instead_of(store, "advance", breaks=laws.an_older_assignment_changes_nothing)
def the_fence_is_ignored(real: Any) -> Any:
    def advance(tx: Tx, group: str, records: Sequence[Any]) -> None:
        with suppress(store.Fenced):
            real(tx, group, records)

    return advance


@instead_of(Delivery, "of", breaks=laws.repeated_records_have_their_effects_once)
def an_event_gets_a_new_id_each_time_it_is_read(real: Any) -> Any:
    def of(record: Any) -> Delivery:
        delivery: Delivery = real(record)
        return delivery._replace(event_id=str(new_id()))

    return staticmethod(of)


@instead_of(parking, "give_up", breaks=laws.a_poison_record_holds_up_its_own_key_and_topic_only)
def poison_is_skipped(_real: Any) -> Any:
    def give_up(tx: Tx, group: str, delivery: Delivery, _cause: str, _attempts: int) -> None:
        store.advance(tx, group, [delivery.record])

    return give_up


@instead_of(parking, "parked_lanes", breaks=laws.a_poison_record_holds_up_its_own_key_and_topic_only)
def poison_parks_its_whole_topic(real: Any) -> Any:
    def parked_lanes(tx: Tx, group: str) -> Any:
        topics = {topic for topic, _ in real(tx, group)}
        return type("Everywhere", (), {"__contains__": lambda _self, lane: lane[0] in topics})()

    return parked_lanes


@instead_of(parking, "parked_lanes", breaks=laws.a_poison_record_holds_up_its_own_key_and_topic_only)
def poison_parks_its_key_on_every_topic(real: Any) -> Any:
    def parked_lanes(tx: Tx, group: str) -> Any:
        keys = {key for _, key in real(tx, group)}
        return type("Everywhere", (), {"__contains__": lambda _self, lane: lane[1] in keys})()

    return parked_lanes


@instead_of(parking, "parked_lanes", breaks=laws.a_poison_record_holds_up_its_own_key_and_topic_only)
def what_follows_a_parked_record_is_handled(_real: Any) -> Any:
    return lambda _tx, _group: set()


@instead_of(parking, "due", breaks=laws.parked_records_come_back_in_order_and_stop_at_the_next_poison)
def a_redrive_begins_at_the_end(_real: Any) -> Any:
    def due(tx: Tx, group: str) -> Any:
        wanted = [row for row in parking.letters(tx, group) if row.redrive]
        return wanted[-1] if wanted else None

    return due


@instead_of(parking, "keep", breaks=laws.parked_records_come_back_in_order_and_stop_at_the_next_poison)
def a_redrive_goes_on_past_a_failure(real: Any) -> Any:
    def keep(tx: Tx, letter: Any, cause: str) -> None:
        real(tx, letter, cause)
        for row in parking.letters(tx, letter.grp):
            if row.id > letter.id:
                tx.execute(parking.dead_letter.update().where(parking.dead_letter.c.id == row.id).values(redrive=1))

    return keep


@instead_of(parking, "unpark", breaks=laws.parked_records_come_back_in_order_and_stop_at_the_next_poison)
def a_dead_letter_is_forgotten_before_it_is_handled(real: Any) -> Any:
    def unpark(tx: Tx, group: str, letter_id: int, delivery: Delivery) -> None:
        real(tx, group, letter_id, delivery)
        for statement in ("RELEASE job", "COMMIT", "BEGIN IMMEDIATE", "SAVEPOINT job"):
            tx.execute(text(statement))

    return unpark


@instead_of(runner, "Retry", breaks=laws.a_passing_fault_is_waited_out_however_long)
def a_passing_fault_is_taken_for_poison(_real: Any) -> Any:
    return type("Never", (Exception,), {})


@instead_of(Runner, "commit", breaks=laws.a_passing_fault_is_waited_out_however_long)
def a_passing_fault_is_skipped(_real: Any) -> Any:
    async def commit(self: Runner, deliveries: list[Delivery], apply: Any) -> None:
        records = [delivery.record for delivery in deliveries]
        try:
            facts = await self._gather(deliveries)
            await self._push(await self._platform.db.write(partial(apply, deliveries, facts)))
        except Retry:
            await self._platform.db.write(lambda tx: store.advance(tx, self._group, records))

    return commit


@instead_of(Runner, "_apply", breaks=laws.what_is_pushed_has_happened)
def notices_go_out_before_the_commit(real: Any) -> Any:
    def apply(self: Runner, deliveries: list[Delivery], facts: Mapping[str, object], tx: Tx) -> Any:
        notices = real(self, deliveries, facts, tx)
        loop = self._platform.db._mortal._loop  # type: ignore[attr-defined]
        assert loop is not None
        asyncio.run_coroutine_threadsafe(self._push(notices), loop).result()
        return ()

    return apply


@instead_of(store, "buried", breaks=laws.nothing_is_heard_after_the_end)
def what_is_erased_is_heard_again(_real: Any) -> Any:
    return lambda _tx, _group, _keys: set()


@instead_of(Runner, "_gather", breaks=laws.what_cannot_be_answered_parks_its_key_and_is_asked_again)
def questions_are_asked_once_and_for_all(real: Any) -> Any:
    answers: dict[str, object] = {}

    async def gather(self: Runner, deliveries: list[Delivery]) -> Mapping[str, object]:
        answers.update({key: fact for key, fact in (await real(self, deliveries)).items() if key not in answers})
        return answers

    return gather


@instead_of(SqliteDb, "_run", breaks=laws.a_passing_fault_is_waited_out_however_long)
def a_failed_body_leaves_its_half(_real: Any) -> Any:
    def run(self: SqliteDb, connection: Any, job: Any, announced: set[str]) -> None:
        tx = Tx(connection, self._clock.now())
        try:
            job.result = job.context.run(job.body, tx)
        except Exception as error:  # noqa: BLE001 -- handed to the caller
            job.error = error
        announced |= tx.announced

    return run


@pytest.mark.parametrize("name", MUTANTS)
async def test_a_mutant_breaks_its_law(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, attribute, mutant, law = MUTANTS[name]
    monkeypatch.setattr(owner, attribute, mutant(getattr(owner, attribute)))
    async with world_at(tmp_path) as world:
        with pytest.raises(AssertionError):
            await law(world)


def test_every_law_can_be_broken() -> None:
    assert {law for *_, law in MUTANTS.values()} == set(laws.LAWS)
