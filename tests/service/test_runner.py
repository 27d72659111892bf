import asyncio
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select, update

from huleedu.contracts.batch import BatchErasureReportedV1
from huleedu.contracts.envelope import Event, EventEnvelope
from huleedu.contracts.messages import TOPICS
from huleedu.platform.app import Platform
from huleedu.platform.db import Tx
from huleedu.platform.log import runner, store
from huleedu.platform.log.embedded import LOG
from huleedu.platform.log.runner import Runner
from tests.given import DATABASES, RestlessClock
from tests.service.laws import LAWS, Law
from tests.service.world import (
    CHANGED,
    COMPLETED,
    EFFECT,
    GROUP,
    LANES,
    Killed,
    Lane,
    World,
    X,
    event,
    events,
    world_at,
)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
async def test_law(law: Law, tmp_path: Path) -> None:
    async with world_at(tmp_path) as world:
        await law(world)


@pytest.mark.parametrize(
    ("seconds", "shared", "stretches"),
    [
        (0.0, False, [64, 128, 256, 512, 40]),
        (0.001, False, [64, 32, *[16] * 56, 8]),
        (0.001, True, [64, *[128] * 7, 40]),
        (0.1, False, [64, 32, 16, 8, 4, 2, *[1] * 874]),
    ],
)
async def test_a_stretch_is_as_long_as_the_work_on_it_is_short_and_longer_where_nobody_waits_for_it(
    seconds: float, stretches: list[int], tmp_path: Path, *, shared: bool
) -> None:
    clock, asked = RestlessClock(), []
    async with world_at(tmp_path, clock) as world:
        world.db.shared = shared

        async def gather(envelopes: Sequence[EventEnvelope[Any]]) -> dict[str, object]:
            asked.append(len(envelopes))
            return {}

        def work(_tx: Tx, _message: object) -> list[Event]:
            clock.move(seconds)
            return []

        world.service = replace(world.service, on={CHANGED: work}, gather=gather)
        await world.say(*events((CHANGED, X), range(1_000)))
        await world.drain()
    assert asked == stretches


class Say(NamedTuple):
    """A record is said; it may be poison, or fail for a while."""

    lane: Lane
    poison: bool
    hiccups: int


class Heal(NamedTuple):
    """The code is mended for this lane."""

    lane: Lane


class Drain(NamedTuple):
    """The runner starts and reads to the end, or dies at a write on its way."""

    dies: str = ""
    write: int = 0


class Redrive(NamedTuple):
    """An operator asks for a redrive, which may die on its way."""

    dies: str = ""
    write: int = 0


class Repeat(NamedTuple):
    """All that was ever said comes again."""


Step = Say | Heal | Drain | Redrive | Repeat
DEATHS = (st.sampled_from(["", "dies_before", "dies_after"]), st.integers(1, 6))
STEPS = st.one_of(
    st.builds(Say, st.sampled_from(LANES), st.sampled_from([False, False, True]), st.sampled_from([0, 0, 2])),
    st.builds(Heal, st.sampled_from(LANES)),
    st.builds(Drain, *DEATHS),
    st.builds(Redrive, *DEATHS),
    st.builds(Repeat),
)


class Model:
    """What must have happened: on each lane everything up to its first poison record, and beyond it once redriven."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.said: dict[Lane, int] = defaultdict(int)
        self.done: dict[Lane, int] = defaultdict(int)
        self.parked: set[Lane] = set()

    async def play(self, step: Step) -> None:
        match step:
            case Say(lane, poison, hiccups):
                place = (lane, self.said[lane])
                self.world.hiccups[place] = hiccups
                if poison:
                    self.world.broken.add(place)
                self.said[lane] += 1
                await self.world.say(event(*place))
            case Heal(lane):
                self.world.broken = {place for place in self.world.broken if place[0] != lane}
            case Repeat():
                await self.world.repeat_everything()
            case Drain() | Redrive():
                await self.run(step)

    async def run(self, step: Drain | Redrive) -> None:
        """Let it die once and then live."""
        for dies in (step.dies, ""):
            if dies:
                setattr(self.world.db, dies, step.write + isinstance(step, Redrive))
            with suppress(Killed):
                await (self.world.drain() if isinstance(step, Drain) else self.world.redrive())
            self.world.db.dies_before = self.world.db.dies_after = 0
        await self.world.drain()
        for lane in self.said:
            self.go_on(lane, redriven=isinstance(step, Redrive))
            assert await self.world.effects(lane) == list(range(self.done[lane])), lane

    def go_on(self, lane: Lane, *, redriven: bool) -> None:
        if lane in self.parked and not redriven:
            return
        while self.done[lane] < self.said[lane] and (lane, self.done[lane]) not in self.world.broken:
            self.done[lane] += 1
        self.parked.discard(lane)
        if self.done[lane] < self.said[lane]:
            self.parked.add(lane)


@settings(max_examples=40)
@given(steps=st.lists(STEPS, max_size=25))
def test_whatever_happens_each_effect_comes_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Step]
) -> None:
    async def live() -> None:
        async with world_at(tmp_path_factory.mktemp("world")) as world:
            model = Model(world)
            for step in [*steps, Drain(), *map(Heal, LANES), Redrive()]:
                await model.play(step)
            assert model.done == model.said
            for lane in model.said:
                assert await world.letters(lane) == []
            handled = sum(said for lane, said in model.said.items() if lane[0] is not COMPLETED)
            assert len(await world.said(BatchErasureReportedV1)) == handled
        await DATABASES.clear()

    asyncio.run(live())


TALKING = """
import asyncio, pathlib, sys
from tests.service.world import talk
asyncio.run(talk(pathlib.Path(sys.argv[1]), sys.argv[2]))
"""


def test_a_killed_process_loses_and_doubles_nothing(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    url = asyncio.run(DATABASES.url(tmp_path))
    command = [sys.executable, "-c", TALKING, str(tmp_path), url]
    for lines in (7, 40, 90):
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert [process.stdout.readline() for _ in range(lines)] == ["said\n"] * lines
            process.kill()

    async def settle() -> None:
        async with world_at(tmp_path) as world:
            await world.drain()
            said = len(await world.said(CHANGED)) // 2
            assert said >= 137
            for lane in LANES:
                assert await world.effects(lane) == list(range(said))

    asyncio.run(settle())


async def test_questions_are_asked_once_for_a_stretch_and_not_again_for_what_is_well(tmp_path: Path) -> None:
    async with world_at(tmp_path) as world:
        asked: list[int] = []
        gather = world.service.gather
        assert gather is not None

        async def counted(envelopes):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            asked.append(len(envelopes))
            return await gather(envelopes)

        world.service = replace(world.service, gather=counted)
        for lane in LANES:
            await world.say(*events(lane, range(10)))
        await world.drain()
        assert asked == [60]


async def test_a_runner_whose_partitions_were_taken_takes_them_again_and_goes_on(tmp_path: Path) -> None:
    async with world_at(tmp_path) as world:
        running = asyncio.create_task(Runner(world.live, world.service).run())
        with world.db.watch([EFFECT]) as watch:
            for numbered in range(3):
                await world.say(event((CHANGED, X), numbered))
                while await world.effects((CHANGED, X)) != list(range(numbered + 1)):
                    await watch.take()
                await world.db.write(lambda tx: store.take(tx, GROUP, TOPICS[CHANGED], 0, LOG))
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


@pytest.mark.parametrize(("noted", "next_to_read"), [("here", 7), (None, 7), ("elsewhere", 0)])
async def test_a_position_counts_in_its_own_log_only(platform: Platform, noted: str | None, next_to_read: int) -> None:
    def taken(tx: Tx) -> list[tuple[int, int]]:
        first = [store.take(tx, group, "topic", part, "here") for group, part in (("g", 0), ("g", 1), ("h", 0))]
        tx.execute(update(store.position).values(position=7))
        one = (store.position.c.grp == "g") & (store.position.c.part == 0)
        tx.execute(update(store.position).where(one).values(log=noted))
        return [*first, *(store.take(tx, "g", "topic", part, "here") for part in (0, 0, 1))]

    taken_first = [(1, 0)] * 3
    assert await platform.db.write(taken) == [*taken_first, (2, next_to_read), (3, next_to_read), (2, 7)]
    found = await platform.db.read(lambda tx: tx.all(select(store.position)))
    assert {(row.grp, row.part, row.position, row.log) for row in found} == {
        ("g", 0, next_to_read, "here"),
        ("g", 1, 7, "here"),
        ("h", 0, 7, "here"),
    }


@pytest.mark.parametrize("hangs", [False, True])
async def test_a_runner_that_is_told_to_stop_finishes_what_it_has_fetched_unless_it_does_not_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, hangs: bool
) -> None:
    monkeypatch.setattr(runner, "STOP_SECONDS", 0.01 if hangs else 60)
    async with world_at(tmp_path) as world:
        begun = asyncio.Event()

        async def gather(_envelopes: Sequence[EventEnvelope[Any]]) -> dict[str, object]:
            begun.set()
            await (asyncio.Event().wait() if hangs else asyncio.sleep(0))
            return {}

        world.service = replace(world.service, gather=gather)
        await world.say(*events((COMPLETED, X), range(300)))
        running = asyncio.create_task(world.runner.run())
        await begun.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        done = [] if hangs else list(range(300))
        assert await world.effects((COMPLETED, X)) == done
        assert world.witness.seen == [(X, numbered, 1) for numbered in done]
