"""All of the second engine: Kafka, PostgreSQL, Redis and S3, each with a place of its own and a password."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.engine.kafka import topics_at
from tests.given import Databases
from tests.servers import Servers


@asynccontextmanager
async def second_engine(servers: Servers) -> AsyncIterator[dict[str, Any]]:
    """Have the servers run, and return the settings that name places which nobody else uses."""
    found = {
        name: value for server in ("postgres", "redis", "s3", "kafka") for name, value in servers.env(server).items()
    }
    databases = Databases()
    databases.server = found.pop("HULEEDU_DATABASE_URL")
    with pytest.MonkeyPatch.context() as environment:
        for name, value in found.items():
            if name.startswith("AWS_"):
                environment.setenv(name, value)
        async with topics_at(found["SERVERS_KAFKA_SASL_URL"]) as log_url:
            yield {
                "log_url": log_url,
                "database_url": await databases.create(),
                "backplane_url": found["HULEEDU_BACKPLANE_URL"],
                "blobs_url": found["HULEEDU_BLOBS_URL"],
            }


def passwords(settings: dict[str, Any]) -> set[str]:
    """Return the passwords in these addresses."""
    return set(filter(None, (urlsplit(str(value)).password for value in settings.values())))
