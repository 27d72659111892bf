"""What a user may not do on Kafka is told with what to give, holds up nothing else, and goes on once it is given."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from confluent_kafka.admin._acl import AclOperation
from confluent_kafka.admin._resource import ResourceType
from structlog.testing import capture_logs

from huleedu.contracts.messages import MESSAGES, TOPICS
from huleedu.platform.clock import Clock
from huleedu.platform.errors import Unavailable, Usage
from huleedu.platform.log import Backlog, kafka_lag
from huleedu.platform.log.kafka_topics import Cluster, create_topics, examine_topics
from tests.engine.kafka import relaying, topics_at
from tests.engine.rights import MINIMUM, Right, allow, denied, guests
from tests.engine.test_kafka import MIXED, TOPIC, all_sent, happened, left, log_of, member, say_round, world_on
from tests.servers import ENGINE, Servers
from tests.service.world import CHANGED, GROUP, KINDS

pytestmark = [*ENGINE]
READ, WRITE, DESCRIBE = AclOperation.READ, AclOperation.WRITE, AclOperation.DESCRIBE
CONFIGURATION, ALL = AclOperation.DESCRIBE_CONFIGS, AclOperation.ALL
OTHER = "other-service"
"""A group that nobody has read in."""


def on_topic(operation: AclOperation) -> Right:
    return Right(ResourceType.TOPIC, TOPIC, operation)


def on_group(operation: AclOperation, group: str = GROUP) -> Right:
    return Right(ResourceType.GROUP, group, operation)


@pytest.fixture
async def url(servers: Servers) -> AsyncIterator[str]:
    async with topics_at(servers.env("kafka")["HULEEDU_LOG_URL"]) as url:
        yield url


@pytest.fixture
async def guest(servers: Servers, url: str) -> str:
    """Where the guest finds what it has the rights to that the documentation asks for."""
    await allow(url, *MINIMUM)
    return guests(servers, url)


async def lacking(guest: str, groups: tuple[str, ...] = (GROUP, OTHER)) -> str:
    """Return what is to be given, with the names as they are without their prefix."""
    with pytest.raises(Usage) as told:
        await asyncio.to_thread(examine_topics, guest, groups)
    return str(told.value).replace(Cluster.of(guest).prefix, "")


async def test_what_the_documentation_asks_for_is_enough(
    guest: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_lag, "ANSWER_SECONDS", 30.0)
    async with world_on(tmp_path, guest) as world, relaying(log_of(world)), member(world):
        await say_round(world, 0, MIXED)
        await happened(world, 1, MIXED)
        await log_of(world).ready()
        await log_of(world).lag(GROUP, [TOPICS[kind] for kind in KINDS])
        assert await asyncio.to_thread(examine_topics, guest, (GROUP, OTHER)) == "17 topics"
    await asyncio.to_thread(create_topics, guest)  # all are there


@pytest.mark.parametrize(
    ("without", "to_give"),
    [
        (on_topic(READ), f"READ on the topics {TOPIC}"),
        (on_topic(WRITE), f"WRITE on the topics {TOPIC}"),
        (on_topic(CONFIGURATION), f"DESCRIBE_CONFIGS on the topics {TOPIC}"),
        (on_topic(DESCRIBE), f"READ, WRITE, DESCRIBE_CONFIGS on the topics {TOPIC}"),
        (on_topic(ALL), f"READ, WRITE, DESCRIBE_CONFIGS on the topics {TOPIC}"),
        (on_group(READ), f"READ on the groups {GROUP}"),
        (on_group(ALL), f"READ on the groups {GROUP}"),
        (on_group(READ, OTHER), f"READ on the groups {OTHER}"),
        (on_group(ALL, OTHER), f"READ on the groups {OTHER}"),
    ],
)
async def test_a_right_that_is_missing_is_told_by_itself(
    url: str, guest: str, tmp_path: Path, without: Right, to_give: str
) -> None:
    async with world_on(tmp_path, url) as world, relaying(log_of(world)), member(world):
        await say_round(world, 0)  # the group is there, and reads this topic
        await happened(world, 1)
        async with denied(url, without):
            assert await lacking(guest) == f"Give HULEEDU_LOG_URL's user {to_give}."


async def test_who_has_no_rights_at_all_is_told_all_of_them(servers: Servers, url: str) -> None:
    topics = ", ".join(said.topic for said in MESSAGES)
    assert await lacking(guests(servers, url)) == (
        f"Give HULEEDU_LOG_URL's user READ, WRITE, DESCRIBE_CONFIGS on the topics {topics};"
        f" READ on the groups {GROUP}, {OTHER}."
    )


@pytest.mark.parametrize(
    ("without", "reason"),
    [(on_topic(READ), "Topic authorization failed"), (on_group(READ), "Group authorization failed")],
)
async def test_who_may_not_read_says_so_and_goes_on_by_itself_once_it_may(
    url: str, guest: str, tmp_path: Path, without: Right, reason: str
) -> None:
    async with world_on(tmp_path, guest) as world, relaying(log_of(world)):
        with capture_logs() as logs:
            async with member(world):
                await say_round(world, 0)
                await happened(world, 1)
                async with denied(url, without):
                    await say_round(world, 1)
                    # It fails while it reads, and when it begins anew.
                    while len(told := [line for line in logs if line["event"] == "task.failed"]) < 2:  # noqa: ASYNC110
                        await asyncio.sleep(0)
                await happened(world, 2)
    assert all(reason in line["cause"] for line in told), told


async def test_a_topic_that_may_not_be_written_keeps_back_no_other(url: str, guest: str, tmp_path: Path) -> None:
    async with world_on(tmp_path, guest) as world:
        await say_round(world, 0, MIXED)
        async with denied(url, on_topic(WRITE)):
            with pytest.raises(Unavailable, match=r"of 8 keys.*Topic authorization failed"):
                await log_of(world).tend(Clock())
            assert [key for key, _ in await left(world)] == [key for kind, key in MIXED if kind is CHANGED]
        await all_sent(world)
        assert await log_of(world).unsent() == Backlog()


async def test_who_may_not_make_topics_is_told(servers: Servers, url: str) -> None:
    with pytest.raises(Usage, match=r"uthorization failed\. Mend that and run `huleedu migrate`, as a user"):
        await asyncio.to_thread(create_topics, guests(servers, url))
