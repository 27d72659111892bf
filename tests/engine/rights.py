"""What Kafka's guest may do: nothing but what a test allows, of the topics and groups of one prefix."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple
from urllib.parse import urlsplit

from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclBinding, AclBindingFilter, AclOperation, AclPermissionType
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType

from huleedu.platform.log.kafka_topics import Cluster
from tests.servers import Servers


class Right(NamedTuple):
    """What may be done with the topics or groups whose names begin so."""

    kind: ResourceType
    name: str
    operation: AclOperation


MINIMUM = (
    Right(ResourceType.TOPIC, "huleedu.", AclOperation.READ),
    Right(ResourceType.TOPIC, "huleedu.", AclOperation.WRITE),
    Right(ResourceType.TOPIC, "huleedu.", AclOperation.DESCRIBE_CONFIGS),
    Right(ResourceType.GROUP, "", AclOperation.READ),
)
"""As docs/how-to/run-on-kafka.md has it."""


def guests(servers: Servers, url: str) -> str:
    """Return the address by which the guest reaches the topics of this one."""
    server, _, secured = servers.env("kafka")["SERVERS_KAFKA_GUEST_URL"].partition("?")
    return f"{server}{urlsplit(url).path}?{secured}"


async def allow(url: str, *rights: Right) -> None:
    for right in rights:
        await _create(url, right, AclPermissionType.ALLOW)


@asynccontextmanager
async def denied(url: str, *rights: Right) -> AsyncIterator[None]:
    """Deny the guest what it may do otherwise, while the block runs."""
    for right in rights:
        await _create(url, right, AclPermissionType.DENY)
    yield
    admin = AdminClient(Cluster.of(url).config)
    for right in rights:
        rule = AclBindingFilter(*_rule(url, right, AclPermissionType.DENY))
        await asyncio.to_thread(admin.delete_acls([rule])[rule].result)
        while await asyncio.to_thread(admin.describe_acls(rule).result):
            """The broker does not know it yet."""


async def _create(url: str, right: Right, permission: AclPermissionType) -> None:
    admin, rule = AdminClient(Cluster.of(url).config), _rule(url, right, permission)
    binding = AclBinding(*rule)
    await asyncio.to_thread(admin.create_acls([binding])[binding].result)
    while not await asyncio.to_thread(admin.describe_acls(AclBindingFilter(*rule)).result):
        """The broker does not know it yet."""


def _rule(
    url: str, right: Right, permission: AclPermissionType
) -> tuple[ResourceType, str, ResourcePatternType, str, str, AclOperation, AclPermissionType]:
    name = f"{Cluster.of(url).prefix}{right.name}"
    return right.kind, name, ResourcePatternType.PREFIXED, "User:guest", "*", right.operation, permission
