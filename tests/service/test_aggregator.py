import asyncio
from contextlib import suppress
from itertools import cycle
from typing import NamedTuple

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from huleedu.contracts.messages import MESSAGES
from huleedu.contracts.phase import BatchPhaseInitiateCommandV1, ELSBatchPhaseOutcomeV1
from huleedu.platform.errors import Problem
from tests.service.school import School, school_at

STEPPED = ("files", "orchestrator", "lifecycle", "phases", "aggregator")
KINDS = [said.message for said in MESSAGES]


class HandIn(NamedTuple):
    batch: int


class Remove(NamedTuple):
    batch: int


class Start(NamedTuple):
    batch: int
    requested: str


class Cancel(NamedTuple):
    """The latest run that was asked for is cancelled, whether anybody has heard of it or not."""

    batch: int


class Erase(NamedTuple):
    batch: int


class Work(NamedTuple):
    """Workers do so much, well or not."""

    units: int
    fine: list[bool]


class Hear(NamedTuple):
    """A service hears everything, or one type of message: the order between topics is nobody's promise."""

    service: str
    kind: int | None


class Repeat(NamedTuple):
    kind: int


class Settle(NamedTuple):
    pass


class Look(NamedTuple):
    """Another page is opened."""


class GiveUp(NamedTuple):
    """A day passes, and the watchdog looks."""


Step = HandIn | Remove | Start | Cancel | Erase | Work | Hear | Repeat | Settle | Look | GiveUp
BATCH = st.sampled_from([0, 0, 1])
HEAR = st.builds(Hear, st.sampled_from(STEPPED), st.none() | st.integers(0, len(KINDS) - 1))
WORK = st.builds(Work, st.integers(1, 3), st.lists(st.booleans(), min_size=1, max_size=3))
START = st.builds(Start, BATCH, st.sampled_from(["all", "nlp", "spellcheck"]))
STEPS = st.one_of(
    HEAR,
    HEAR,
    WORK,
    START,
    st.builds(HandIn, BATCH),
    st.builds(Remove, BATCH),
    st.builds(Cancel, BATCH),
    st.builds(Erase, BATCH),
    st.builds(Repeat, st.integers(0, len(KINDS) - 1)),
    st.builds(Settle),
    st.builds(Look),
    st.builds(GiveUp),
)


class History:
    """A school in which things happen in any order."""

    def __init__(self, school: School, batches: list[str]) -> None:
        self.school, self.batches = school, batches
        self.runs: dict[str, str] = {}
        self.texts = 0

    async def play(self, step: Step) -> None:  # noqa: C901 -- one line for each step
        school = self.school
        match step:
            case HandIn(batch):
                self.texts += 1
                with suppress(Problem):
                    await school.hand_in(self.batches[batch], f"text {self.texts}")
            case Remove(batch):
                await self.remove(self.batches[batch])
            case Start(batch, requested):
                self.runs[self.batches[batch]] = await school.start(self.batches[batch], requested)
            case Cancel(batch) if self.batches[batch] in self.runs:
                await school.cancel(self.batches[batch], self.runs[self.batches[batch]])
            case Erase(batch):
                with suppress(Problem):
                    await school.ask("orchestrator", "DELETE", f"/batches/{self.batches[batch]}")
            case Work(units, fine):
                fates = cycle(fine)
                await school.work(lambda _request: next(fates), units)
            case Hear(service, kind):
                await self.hear(service, kind)
            case Repeat(kind):
                await school.repeat([KINDS[kind]])
            case Settle():
                await school.settle()
            case Look():
                school.page.cursor = None
                await school.page.follow()
            case GiveUp():
                await school.a_day_passes()

    async def hear(self, service: str, kind: int | None) -> None:
        hears = self.school.services[service].hears
        if kind is None:
            await self.school.hear(service)
        elif KINDS[kind] in hears:
            await self.school.hear(service, KINDS[kind])

    async def remove(self, batch_id: str) -> None:
        listed = (await self.school.ask("files", "POST", "/essays:query", json={"batch_ids": [batch_id]}))["items"]
        if listed:
            with suppress(Problem):
                await self.school.ask("files", "DELETE", f"/batches/{batch_id}/essays/{listed[0]['essay_id']}")


@settings(max_examples=25, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(steps=st.lists(STEPS, max_size=30))
def test_whatever_happens_it_adds_up_and_every_page_shows_it(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Step]
) -> None:
    async def live() -> None:
        async with school_at(tmp_path_factory.mktemp("school")) as school:
            history = History(school, [await school.batch("one", "two"), await school.batch("three")])
            for step in steps:
                await history.play(step)
            await school.finish()
            await all_is_decided(school)

    asyncio.run(live())


async def all_is_decided(school: School) -> None:
    handed = {(said.run_id, said.phase): said.essays for said in await school.said(BatchPhaseInitiateCommandV1)}
    for outcome in await school.said(ELSBatchPhaseOutcomeV1):
        decided = [
            *(essay.essay_id for essay in outcome.processed_essays),
            *(essay.essay_id for essay in outcome.failed_essays),
            *outcome.cancelled_essays,
        ]
        essays = handed[outcome.run_id, outcome.phase_name]
        assert sorted(decided) == sorted(essay.essay_id for essay in essays)
    for state in (await school.ask("orchestrator", "GET", "/batches/pipeline-states"))["items"]:
        assert state["status"] != "processing"
        ran = [phase["status"] for phase in state["phases"].values() if phase["status"] != "skipped_by_user_config"]
        full = bool(ran) and set(ran) == {"completed_successfully"}
        assert (state["status"] == "completed_successfully") == full
