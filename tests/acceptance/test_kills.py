"""The server is killed again and again while classes are uploaded and assessed; in the end nothing shows it."""

import asyncio
import json
import random
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

from huleedu.contracts.batch import ProcessingPipelineState
from huleedu.contracts.messages import TOPICS
from huleedu.contracts.phase import ELSBatchPhaseOutcomeV1, PhaseName, PhaseWorkCompletedV1
from huleedu.platform.clock import Clock
from tests.acceptance.classes import ESSAYS, Class
from tests.acceptance.served import Served, client, rows, served, teacher
from tests.given import database
from tests.service.stalled import stalled

KILLS = 10
LONGEST = 30
"""A server is killed at the latest when it has logged so many lines."""
PATIENCE_SECONDS = 60


class Gone(Exception):
    """The server was killed."""


class Term:
    """A school term: classes come, and the server is killed while it works on them."""

    def __init__(self, data_dir: Path, token: str, seed: int) -> None:
        self.data_dir, self.token = data_dir, token
        self.random = random.Random(seed)
        self.classes = [Class(number) for number in range(KILLS)]
        self.in_work: list[int] = []

    def killed_while_working(self, until: int) -> None:
        """Take the first classes as far as a server goes that is killed at a random line of its log."""
        with served(self.data_dir) as server:
            last = len(server.lines) + self.random.randint(1, LONGEST)
            killed = threading.Event()

            def kill(lines: int) -> None:
                if lines >= last and not killed.is_set():
                    server.process.kill()
                    killed.set()

            server.on_line = kill
            with suppress(Gone):
                self._work(server, self.classes[:until])
                killed.wait(self.random.random())  # everything is asked for: the server works on by itself
            kill(last)
            assert server.ended() == -signal.SIGKILL
        states = rows(self.data_dir, "SELECT status FROM batch")
        self.in_work.append(sum(status == "processing" for (status,) in states))

    def _work(self, server: Served, classes: list[Class]) -> None:
        with client(server.url, self.token) as http:

            def ask(method: str, path: str, **sent: Any) -> Any:  # noqa: ANN401 -- JSON
                try:
                    response = http.request(method, path, **sent)
                except httpx2.HTTPError as error:
                    raise Gone from error
                assert response.is_success, response.text
                return response.json()

            for each in classes:
                each.go_on(ask)

    def finish(self, server: Served) -> list[dict[str, Any]]:
        """Let every class come to its end, and return all batches as their teacher sees them."""
        self._work(server, self.classes)
        with client(server.url, self.token) as http:
            found: list[dict[str, Any]] = []
            settled = threading.Event()
            for _ in range(PATIENCE_SECONDS * 5):
                found = http.get("/v1/batches").json()["items"]
                if len(found) == KILLS and all(batch["status"] not in {"ready", "processing"} for batch in found):
                    return found
                settled.wait(0.2)
        troubles = [line for line in server.lines if line["level"] in {"warning", "error"}]
        raise AssertionError([batch["status"] for batch in found], troubles[-3:])


@pytest.mark.timeout(240)
def test_nothing_is_lost_or_doubled_however_often_the_server_is_killed(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")  # noqa: T201 -- shown when the test fails, to have it again
    term = Term(tmp_path, teacher(tmp_path), seed)
    for kill in range(KILLS):
        term.killed_while_working(kill + 1)
    assert sum(map(bool, term.in_work)) >= KILLS // 2, term.in_work
    with served(tmp_path) as server:
        batches = term.finish(server)
        assert_uploads_are_there(term, server, batches)
        assert server.stop() == 0
    assert_once(tmp_path)
    assert_views_are_true(tmp_path)
    assert asyncio.run(stalled_in(tmp_path)) == []


def assert_uploads_are_there(term: Term, server: Served, batches: list[dict[str, Any]]) -> None:
    by_id = {batch["batch_id"]: batch for batch in batches}
    assert sorted(by_id) == sorted(str(each.batch_id) for each in term.classes)
    with client(server.url, term.token) as http:
        for each in term.classes:
            batch = by_id[str(each.batch_id)]
            assert (batch["status"], batch["pipeline_state"]["run_id"]) == ("completed_successfully", each.run_id)
            assert (batch["essays"], batch["unassessed"], batch["attention"]) == (ESSAYS, 0, None)
            essays = http.get(f"/v1/batches/{each.batch_id}/essays").json()["items"]
            assert sorted(essay["file_name"] for essay in essays) == sorted(each.stored)
            assert {essay_id for essay_id in each.stored.values() if essay_id} <= {one["essay_id"] for one in essays}
            assert all(set(essay["metrics"]) == set(PhaseName) for essay in essays)


def events(data_dir: Path, topic: str) -> Iterator[dict[str, Any]]:
    for (envelope,) in rows(data_dir, f"SELECT envelope FROM outbox WHERE topic = '{topic}'"):
        yield json.loads(envelope)["data"]


def assert_once(data_dir: Path) -> None:
    """Each essay has one result per phase, each phase one outcome, and the counts add up."""
    works = Counter(
        (work["run_id"], work["phase"], essay["essay_id"])
        for work in events(data_dir, TOPICS[PhaseWorkCompletedV1])
        for essay in work["essays"]
    )
    assert len(works) == KILLS * ESSAYS * len(PhaseName)
    assert set(works.values()) == {1}
    outcomes = list(events(data_dir, TOPICS[ELSBatchPhaseOutcomeV1]))
    assert len({(outcome["run_id"], outcome["phase_name"]) for outcome in outcomes}) == len(outcomes)
    assert [len(outcome["processed_essays"]) for outcome in outcomes] == [ESSAYS] * KILLS * len(PhaseName)
    for table in ("work", "dead_letter", "late_result", "garbage"):
        assert rows(data_dir, f"SELECT * FROM {table}") == [], table


def assert_views_are_true(data_dir: Path) -> None:
    """The view is the orchestrator's state, the feed has no gap, and its last word is the view."""
    truth = {
        batch_id: json.loads(body)["state"] for batch_id, body in rows(data_dir, "SELECT batch_id, body FROM batch")
    }
    seen = dict(rows(data_dir, "SELECT batch_id, pipeline_state FROM batch_status_view"))
    assert {batch_id: json.loads(state) for batch_id, state in seen.items()} == truth
    for state in map(ProcessingPipelineState.model_validate, truth.values()):
        for phase in state.phases.values():  # that they add up is checked by the model
            assert (phase.essay_counts.total, phase.essay_counts.successful) == (ESSAYS, ESSAYS)
    ((head,),) = rows(data_dir, "SELECT seq FROM feed_head")
    feed = rows(data_dir, "SELECT seq, event, batch_id, payload FROM feed ORDER BY seq")
    assert [seq for seq, *_ in feed] == list(range(1, head + 1))
    last = {batch_id: json.loads(payload) for _, event, batch_id, payload in feed if event == "batch_updated"}
    assert {batch_id: status["pipeline_state"]["version"] for batch_id, status in last.items()} == {
        batch_id: state["version"] for batch_id, state in truth.items()
    }


async def stalled_in(data_dir: Path) -> list[str]:
    async with database(data_dir, Clock()) as db:
        return await db.read(stalled)
