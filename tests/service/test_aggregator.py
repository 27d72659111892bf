import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, event, func, select

from huleedu.aggregator import feed, handlers, store, views
from huleedu.aggregator.handlers import FEED_KEPT, Aggregator
from huleedu.contracts.batch import (
    BatchClientStatus,
    BatchPipelineCancelRequestedV1,
    BatchPipelineCompletedV1,
    BatchStateChangedV1,
)
from huleedu.contracts.essay import EssayContentProvisionedV1, EssayPhaseChangedV1, EssayRemovedV1
from huleedu.contracts.messages import MESSAGES
from huleedu.contracts.notice import FEEDS, FeedEvent
from huleedu.contracts.phase import BatchPhaseInitiateCommandV1, ELSBatchPhaseOutcomeV1
from huleedu.orchestrator.store import erasure
from huleedu.platform.context import new_id
from huleedu.platform.db import ReadTx
from huleedu.platform.errors import NotFound, Problem
from tests.given import DATABASES, ManualClock
from tests.service.page import REDUCERS
from tests.service.school import COLLEAGUE, FINE, TEACHER, School, school_at

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
    *[HEAR] * 6,
    *[WORK] * 2,
    *[START] * 2,
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


@pytest.mark.timeout(180)
@settings(max_examples=20, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(steps=st.lists(STEPS, min_size=10, max_size=40))
def test_whatever_happens_it_adds_up_and_every_page_shows_it(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Step]
) -> None:
    async def live() -> None:
        async with school_at(tmp_path_factory.mktemp("school")) as school:
            history = History(school, [await school.batch("one", "two"), await school.batch("three")])
            for step in steps:
                await history.play(step)
                if isinstance(step, Hear | Settle):
                    await school.db.read(filter_and_view_agree)
            await school.finish()
            await school.sweep()
            await all_is_decided(school)
        await DATABASES.clear()

    asyncio.run(live())


def filter_and_view_agree(tx: ReadTx) -> None:
    views_of = {batch_id: views.status(tx, batch_id) for batch_id in store.batch_ids(tx, TEACHER, None, None, 100)}
    for status in BatchClientStatus:
        shown = {batch_id for batch_id, view in views_of.items() if view and view.status is status}
        assert set(store.batch_ids(tx, TEACHER, status, None, 100)) == shown, status


async def all_is_decided(school: School) -> None:
    gone = await school.db.read(lambda tx: tx.scalars(select(erasure.c.batch_id)))
    traces = await school.traces(*gone) if gone else set()
    assert traces <= {"erasure", "erasure_report", "tombstone", "feed", "outbox"}
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


@contextmanager
def executed() -> Iterator[list[str]]:
    """Note the statements that are executed while the block runs, but for those that open a connection."""
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_with: object) -> None:
        if not statement.startswith("PRAGMA"):
            statements.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    yield statements
    event.remove(Engine, "before_cursor_execute", note)


async def test_a_batch_is_listed_under_the_status_that_it_shows(school: School) -> None:
    batch_id = await school.batch("one")
    await school.start(batch_id)
    await school.settle("aggregator")
    while await school.work():
        await school.settle("aggregator")
    await school.hear("aggregator", BatchStateChangedV1)
    view = (await school.status(batch_id))["status"]
    assert (view, (await school.state(batch_id)).status.terminal) == ("processing", True), "its essays are not heard of"
    await school.db.read(filter_and_view_agree)
    await school.settle()
    assert (await school.status(batch_id))["status"] == "completed_successfully"
    await school.db.read(filter_and_view_agree)


async def test_the_end_of_a_run_tells_again_only_the_essays_that_waited_for_it(school: School) -> None:
    async def standing() -> list[str]:
        return [essay["status"] for essay in await school.essays(batch_id)]

    def told() -> list[FeedEvent]:
        events = [item.event for item in school.backplane.pushed[TEACHER]]
        school.backplane.pushed[TEACHER].clear()
        return events

    batch_id = await school.batch("one", "two")
    await school.start(batch_id)
    await school.settle()
    for _phase in ("spellcheck", "nlp"):
        await school.settle()
        await school.work()
        await school.settle("orchestrator")
    assert (await standing(), FeedEvent.ESSAY_UPDATED in told()) == (["completed", "completed"], True)
    await school.settle()
    assert set(told()) == {FeedEvent.BATCH_UPDATED, FeedEvent.BATCH_PIPELINE_COMPLETED}
    cut = await school.start(batch_id)
    await school.settle()
    await school.work()
    await school.settle("orchestrator")
    assert (await standing(), FeedEvent.ESSAY_UPDATED in told()) == (["processing", "processing"], True), (
        "nlp is to come"
    )
    await school.cancel(batch_id, cut)
    await school.hear("orchestrator", BatchPipelineCancelRequestedV1)
    await school.settle()
    assert (await standing(), told().count(FeedEvent.ESSAY_UPDATED)) == (["completed", "completed"], 2), "it never will"


async def test_every_event_of_the_feed_is_said_and_keeps_a_page_live(school: School) -> None:
    assert set(REDUCERS) == set(FeedEvent)
    batch_id, another = await school.batch("one", "two"), await school.batch("three")
    await school.hand_in(batch_id, "one")
    await school.start(batch_id)
    await school.start(batch_id)
    await school.watched(lambda request: request.essays[0].text_storage_id.startswith(batch_id))
    listed = await school.essays(another)
    await school.ask("files", "DELETE", f"/batches/{another}/essays/{listed[0]['essay_id']}")
    await school.watched()
    await school.ask("orchestrator", "DELETE", f"/batches/{another}")
    await school.watched()
    assert {item.event for item in school.page.heard} == set(FeedEvent)
    ends = [item.data["status"] for item in school.page.heard if item.event is FeedEvent.BATCH_PIPELINE_COMPLETED]
    assert ends == ["completed_successfully"]


async def test_a_running_phase_is_counted_from_its_essays(school: School) -> None:
    batch_id = await school.batch("one", "two", "three")
    await school.start(batch_id)
    await school.settle()
    fates = iter([True, False, True])
    seen = []
    for _ in range(3):
        await school.work(lambda _request: next(fates), units=1)
        await school.hear("lifecycle")
        await school.hear("aggregator")
        phase = (await school.status(batch_id))["pipeline_state"]["phases"]["spellcheck"]
        counts = phase["essay_counts"]
        seen.append((phase["status"], counts["successful"], counts["failed"], phase["progress_percentage"]))
        assert counts["pending_dispatch_or_processing"] == 3 - counts["successful"] - counts["failed"]
    assert seen == [("in_progress", 1, 0, 33.3), ("in_progress", 1, 1, 66.7), ("in_progress", 2, 1, 100.0)]
    await school.finish()


async def test_a_run_is_shown_as_ended_when_all_of_its_essays_have_been_heard_of(school: School) -> None:
    batch_id = await school.batch("one")
    await school.start(batch_id, "spellcheck")
    await school.settle()
    await school.work()
    await school.settle("aggregator")
    await school.hear("aggregator", BatchStateChangedV1, BatchPipelineCompletedV1, ELSBatchPhaseOutcomeV1)
    assert (await school.status(batch_id))["status"] == "processing"
    await school.hear("aggregator")
    assert (await school.status(batch_id))["status"] == "completed_successfully"


async def test_a_result_stays_until_a_newer_one_takes_its_place(school: School) -> None:
    batch_id = await school.batch("one")
    runs = []
    for fine in (True, False, True):
        runs.append(await school.start(batch_id, "spellcheck"))
        await school.finish(FINE if fine else lambda _request: False)
        (essay,) = await school.essays(batch_id)
        kept = runs[-1] if fine else runs[0]
        assert essay["result_ids"] == {"spellcheck": f"{kept}-spellcheck"}
        assert essay["metrics"] == {"spellcheck": {"words": 7.0}}
        assert (essay["status"], essay["error"] is None) == ("completed" if fine else "failed", fine)


async def test_what_is_heard_late_of_a_removed_essay_is_not_kept(school: School) -> None:
    batch_id = await school.batch("one", "two")
    await school.start(batch_id, "spellcheck")
    await school.settle()
    await school.work()
    await school.settle("aggregator")
    essay_id = (await school.essays(batch_id))[0]["essay_id"]
    await school.ask("files", "DELETE", f"/batches/{batch_id}/essays/{essay_id}")
    await school.hear("aggregator", EssayRemovedV1)
    await school.settle()
    view = store.essay_phase_view.c
    rows = await school.db.read(lambda tx: tx.all(select(view.essay_id, view.result_id)))
    assert {row.essay_id for row in rows if not row.result_id} == {essay_id}
    assert (await school.status(batch_id))["status"] == "completed_successfully"


async def test_of_a_removed_essay_the_feed_says_only_that_it_is_gone(school: School) -> None:
    batch_id = await school.batch("one", "two")
    await school.start(batch_id)
    await school.finish()
    essay_id = (await school.essays(batch_id))[0]["essay_id"]
    told = select(feed.feed.c.event).where(feed.feed.c.subject == essay_id)
    assert await school.db.read(lambda tx: tx.scalars(told))
    await school.ask("files", "DELETE", f"/batches/{batch_id}/essays/{essay_id}")
    await school.settle()
    assert await school.db.read(lambda tx: tx.scalars(told)) == ["essay_removed"]


async def test_many_places_of_many_feeds_are_answered_together(school: School, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = [await school.batch() for _ in range(5)]
    theirs = await school.batch(user_id=COLLEAGUE)
    await school.ask("orchestrator", "DELETE", f"/batches/{mine[1]}")
    await school.settle()

    async def ask(*places: tuple[str, str | None]) -> list[tuple[list[int], str, bool, bool]]:
        query = [{"user_id": user_id, "after": after} for user_id, after in places]
        pages = await school.ask("aggregator", "POST", "/feeds:query", json=query)
        for (user_id, _), page in zip(places, pages, strict=True):
            assert {item["batch_id"] for item in page["items"]} <= set(mine if user_id == TEACHER else [theirs])
        return [([i["seq"] for i in page["items"]], page["cursor"], page["resync"], page["more"]) for page in pages]

    monkeypatch.setattr(handlers, "FEED_ANSWER", 9)
    asked = (TEACHER, "1:3"), (COLLEAGUE, "1:0"), (TEACHER, "1:0"), (TEACHER, "1:6"), ("nobody", "1:0")
    assert await ask(*asked) == [
        ([4, 5, 6], "1:6", False, False),
        ([1], "1:1", False, False),
        ([1, 3], "1:3", False, True),
        ([], "1:6", False, False),
        ([], "1:0", False, False),
    ]
    unknown = [(TEACHER, cursor) for cursor in ("2:1", "1:7", "x", "1:05", "01:5", "1:\u0665")]
    assert await ask((TEACHER, None), *unknown, ("nobody", "1:1")) == [
        ([], "1:6", False, False),
        *[([], "1:6", True, False)] * len(unknown),
        ([], "1:0", True, False),
    ]
    assert await ask() == []
    with pytest.raises(Problem):
        await ask(*[(TEACHER, None)] * (FEEDS + 1))


async def test_many_feeds_take_no_more_statements_than_one(school: School) -> None:
    teachers = [f"teacher-{number}" for number in range(FEEDS)]
    await school.db.write(lambda tx: feed.take_seqs(tx, dict.fromkeys(teachers, 9)))

    async def statements(count: int) -> int:
        query = [{"user_id": user_id, "after": "1:0"} for user_id in teachers[:count]]
        with executed() as statements:
            await school.ask("aggregator", "POST", "/feeds:query", json=query)
        return len(statements)

    assert await statements(1) == await statements(FEEDS) > 0


async def test_what_was_told_a_month_ago_is_forgotten(tmp_path: Path) -> None:
    clock, oldest = ManualClock(), select(func.min(feed.feed.c.at))

    def something_is_old(tx: ReadTx) -> bool:
        return bool(tx.scalar(oldest) < tx.now - FEED_KEPT)

    async with school_at(tmp_path, clock) as school:
        await school.batch("one")
        clock.move(FEED_KEPT.total_seconds() + 1)
        await school.batch("two")
        assert await school.db.read(something_is_old)
        (trim,) = school.services["aggregator"].tasks
        trimming = asyncio.ensure_future(trim())
        while not clock._sleepers and not trimming.done():  # noqa: ASYNC110 -- nobody tells
            await asyncio.sleep(0)
        assert not trimming.done(), "it has looked and will look again"
        assert not await school.db.read(something_is_old)
        trimming.cancel()
        assert len(await school.db.read(lambda tx: tx.all(select(feed.feed)))) > 0


async def test_essays_added_to_a_finished_batch_are_unassessed_and_change_nothing_else(school: School) -> None:
    batch_id = await school.batch("one")
    await school.start(batch_id)
    await school.finish()
    await school.hand_in(batch_id, "two")
    await school.settle()
    status = await school.status(batch_id)
    assert (status["status"], status["essays"], status["unassessed"]) == ("completed_successfully", 2, 1)
    assert [essay["status"] for essay in await school.essays(batch_id)] == ["completed", "accepted"]
    await school.start(batch_id)
    await school.finish()
    assert (await school.status(batch_id))["unassessed"] == 0


async def test_what_is_parked_asks_for_attention_until_it_is_redriven(school: School) -> None:
    batch_id = await school.batch("one")
    with school.faulty("lifecycle", BatchPhaseInitiateCommandV1):
        await school.start(batch_id)
        await school.settle()
    attention = (await school.status(batch_id))["attention"]
    assert attention["parked"] == 1
    assert "ValueError" in attention["cause"]
    await school.check_page()
    await school.redrive("lifecycle")
    await school.settle()
    assert (await school.status(batch_id))["attention"] is None
    await school.finish()


@pytest.mark.parametrize("instead", [[], [{}], [{"user_id": None}], [{"user_id": ""}]])
async def test_an_answer_that_cannot_be_is_never_stored(school: School, instead: list[dict[str, Any]]) -> None:
    """Such as: the orchestrator does not know the batch, or does not say whose it is."""
    strange, sound = await school.batch("one"), await school.batch("two")

    async def change(_path: str, told: Any) -> Any:  # noqa: ANN401 -- JSON
        right = [item for item in told["items"] if item["batch_id"] != strange]
        wrong = [item for item in told["items"] if item["batch_id"] == strange and item.pop("user_id")]
        return {**told, "items": [*right, *({**item, **owner} for item in wrong for owner in instead)]}

    await school.db.write(lambda tx: [tx.execute(delete(view)) for view in store.VIEWS])
    with school.altered("orchestrator", change):
        for batch_id in (strange, sound):
            await school.hand_in(batch_id, "three")
        await school.hear("aggregator", EssayContentProvisionedV1)
    shown = {row.batch_id for row in await school.db.read(lambda tx: tx.all(select(store.batch_status_view)))}
    assert shown == {sound}
    letters = (await school.ask("aggregator", "GET", "/dead-letters"))["items"]
    assert [(letter["key"], letter["attempts"]) for letter in letters] == [(strange, 3)]
    await school.redrive("aggregator")
    assert (await school.status(strange))["version"] > 0
    await school.ask("aggregator", "POST", "/rebuild")


async def test_a_stale_answer_does_not_overwrite_a_newer_one(school: School) -> None:
    batch_id = await school.batch("one")
    old = await school.ask("orchestrator", "POST", "/batches/pipeline-states:query", json={"batch_ids": [batch_id]})
    run_id = await school.start(batch_id)
    await school.finish()

    async def stale(_path: str, _told: Any) -> Any:  # noqa: ANN401 -- JSON
        return old

    with school.altered("orchestrator", stale):
        await school.hand_in(batch_id, "two")
        await school.hear("aggregator")
        status = await school.status(batch_id)
    assert (status["pipeline_state"]["run_id"], status["essays"]) == (run_id, 2)


def handing_in(school: School, batch_id: str) -> Callable[[str, Any], Awaitable[Any]]:
    """Have an essay come to the batch, and everybody hear of it, while its owner is asked."""

    async def meanwhile(path: str, told: Any) -> Any:  # noqa: ANN401 -- JSON
        if path.endswith("pipeline-state"):
            await school.hand_in(batch_id, "an essay")
            await school.settle()
        return told

    return meanwhile


async def test_a_batch_that_has_no_view_yet_is_answered_from_its_owner_without_a_gap(school: School) -> None:
    await school.batch("one")
    await school.page.follow()
    batch_id = await school.registered()

    with school.altered("orchestrator", handing_in(school, batch_id)):
        status = await school.status(batch_id)
    assert (status["version"], status["status"], status["essays"]) == (0, "pending_content", 0)
    school.page.cursor = status["live_cursor"]
    school.page.shown[batch_id] = {"status": status, "essays": {}}
    await school.check_page()
    settings = school.platform.settings.model_copy(update={"handle_missing_batches": "return_404"})
    with pytest.raises(NotFound):
        await Aggregator(replace(school.platform, settings=settings)).status(str(new_id()))
    with pytest.raises(NotFound):
        await school.status(str(new_id()))


async def test_essays_that_come_while_the_owner_is_asked_are_not_in_the_answer_but_follow_it(school: School) -> None:
    batch_id = await school.registered()

    mine, hers = (f"/users/{user_id}/batches/{batch_id}/essays" for user_id in (TEACHER, COLLEAGUE))
    with pytest.raises(NotFound):
        await school.ask("aggregator", "GET", hers)
    with school.altered("orchestrator", handing_in(school, batch_id)):
        listed = await school.ask("aggregator", "GET", mine)
    assert (listed["items"], listed["version"]) == ([], 0)
    school.page.cursor = listed["live_cursor"]
    school.page.shown[batch_id] = {"essays": {}}
    await school.check_page()
    with pytest.raises(NotFound):
        await school.ask("aggregator", "GET", hers)


async def test_a_batch_that_has_no_view_yet_is_not_shown_as_ended_before_its_essays_are(school: School) -> None:
    """Who waits for the end asks for the essays then: a terminal would print an empty table."""
    batch_id = await school.registered()
    await school.hand_in(batch_id, "one")
    await school.start(batch_id)
    await school.settle("aggregator")
    while await school.work():
        await school.settle("aggregator")
    assert (await school.state(batch_id)).status == "completed_successfully"
    unseen = await school.status(batch_id)
    assert (unseen["version"], unseen["status"], unseen["pipeline_state"]["status"]) == (0, "processing", "processing")
    await school.settle()
    assert (await school.status(batch_id))["status"] == "completed_successfully"


async def test_batches_are_listed_page_by_page_newest_first_to_their_teacher_only(school: School) -> None:
    mine = [await school.batch("one"), await school.batch(), await school.batch("two")]
    other = await school.batch("three", user_id=COLLEAGUE)
    found, cursor = [], None
    while True:
        params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = await school.ask("aggregator", "GET", f"/users/{TEACHER}/batches", params=params)
        found += [item["batch_id"] for item in page["items"]]
        if not (cursor := page["next_cursor"]):
            break
    assert found == mine[::-1]
    ready = await school.ask("aggregator", "GET", f"/users/{TEACHER}/batches", params={"status": "ready"})
    assert [item["batch_id"] for item in ready["items"]] == [mine[2], mine[0]]
    with pytest.raises(NotFound):
        await school.essays(other)


async def test_a_stretch_about_many_batches_takes_no_more_statements_than_one_about_a_single_batch(
    school: School,
) -> None:
    async def statements(batches: int) -> int:
        for _ in range(batches):
            await school.start(await school.batch("one", "two"))
        await school.settle("aggregator")
        await school.work()
        await school.settle("aggregator")
        with executed() as statements:
            await school.hear("aggregator", EssayPhaseChangedV1)
        await school.finish()
        return len(statements)

    assert await statements(1) == await statements(6) > 0
