"""Every setting, with its default; none is required on a laptop. Each is read from `HULEEDU_<NAME>`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, AliasChoices, Field, HttpUrl, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict


def _origin(text: str) -> str:
    """Return an address as browsers name it: small letters, no standard port, nothing after the host."""
    try:
        url = HttpUrl(text) if text else None
    except ValidationError as error:
        raise ValueError("write it like https://huleedu.school.se") from error
    if url and (url.path != "/" or url.query or url.fragment or url.username):
        raise ValueError("it has no path of its own: write it like https://huleedu.school.se")
    return str(url or "").rstrip("/")


def _keys(given: SecretStr) -> SecretStr:
    """Return the keys; one that could be guessed is refused."""
    keys = given.get_secret_value().split()
    if any(len(key) < KEY_LENGTH for key in keys):
        raise ValueError(f"a key has at least {KEY_LENGTH} characters, as `openssl rand -hex 32` makes them")
    return SecretStr(" ".join(keys))


def _places(given: str) -> str:
    """Return where the services are, if each place is written as it must be."""
    for place in given.split():
        name, _, url = place.partition("=")
        if not name or not url.startswith(("http://", "https://")):
            raise ValueError("write it like orchestrator=http://HOST:PORT files=http://HOST:PORT")
    return given


def _like(example: str, *schemes: str) -> AfterValidator:
    """Return a check that an address has one of these schemes, if there is one."""

    def check(url: SecretStr) -> SecretStr:
        if url.get_secret_value() and not url.get_secret_value().startswith(schemes):
            raise ValueError(f"write it like {example}")
        return url

    return AfterValidator(check)


def http_url(host: str, port: int) -> str:
    """Return the address of a listener."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


KEY_LENGTH = 32


class Settings(BaseSettings):
    """What an operator may change. The seed's names are accepted beside ours."""

    model_config = SettingsConfigDict(env_prefix="HULEEDU_", frozen=True, populate_by_name=True)

    data_dir: Path = Field(default=Path("huleedu-data"), description="Where everything is kept.")
    host: str = Field(default="127.0.0.1", description="The address to listen on.")
    port: int = Field(default=4001, ge=0, le=65535, description="The port to listen on; 0 takes a free one.")
    public_url: Annotated[str, AfterValidator(_origin)] = Field(
        default="", description="The address at which teachers open the page, if it is another than host and port."
    )
    log_url: Annotated[SecretStr, _like("kafka://USER:PASSWORD@HOST:9092", "kafka://")] = Field(
        default=SecretStr(""), description="Kafka, kafka://HOST:9092; without it, the log is kept in the database."
    )
    database_url: Annotated[SecretStr, _like("postgresql://USER:PASSWORD@HOST/NAME", "postgresql://")] = Field(
        default=SecretStr(""),
        description="A PostgreSQL database, postgresql://USER:PASSWORD@HOST/NAME; without it, a file beside the data.",
    )
    backplane_url: Annotated[
        SecretStr, _like("redis://:PASSWORD@HOST:6379/0, or rediss:// with TLS", "redis://", "rediss://")
    ] = Field(
        default=SecretStr(""),
        description="A Redis that processes share, redis://HOST:6379/0; without it, they share nothing.",
    )
    blobs_url: Annotated[SecretStr, _like("s3://BUCKET", "s3://")] = Field(
        default=SecretStr(""),
        description="A bucket for texts and results, s3://BUCKET; without it, they are files in the data directory.",
    )
    service_keys: Annotated[SecretStr, AfterValidator(_keys)] = Field(
        default=SecretStr(""),
        description="What services show one another: the first, and any of them, parted by spaces, lets in; without it,"
        " one is made and kept in the data directory.",
    )
    peers: Annotated[str, AfterValidator(_places)] = Field(
        default="",
        description="Where the services are that do not run in this process, parted by spaces: NAME=http://HOST:PORT;"
        " a name may come several times.",
    )
    internal_host: str = Field(default="127.0.0.1", description="The address to listen on for the other services.")
    internal_port: int = Field(
        default=0, ge=0, le=65535, description="The port to listen on for the other services; 0 takes a free one."
    )
    workers: int = Field(default=2, ge=1, le=64, description="Worker processes that run the phases.")
    work_timeout_seconds: int = Field(default=60, ge=1, description="Seconds that one attempt at one essay may take.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="The least to log.")
    bos_query_timeout_seconds: float = Field(
        default=5,
        gt=0,
        description="Seconds to wait for another service's answer, all tries together.",
        validation_alias=AliasChoices("HULEEDU_BOS_QUERY_TIMEOUT_SECONDS", "BOS_QUERY_TIMEOUT_SECONDS"),
    )
    bos_query_retry_attempts: int = Field(
        default=3,
        ge=1,
        description="How often another service is asked before it counts as away.",
        validation_alias=AliasChoices("HULEEDU_BOS_QUERY_RETRY_ATTEMPTS", "BOS_QUERY_RETRY_ATTEMPTS"),
    )
    handle_missing_batches: Literal["query_bos", "return_404"] = Field(
        default="query_bos",
        description="Whether a batch that has no view yet is asked of the orchestrator, or does not exist yet.",
        validation_alias=AliasChoices("HULEEDU_HANDLE_MISSING_BATCHES", "HANDLE_MISSING_BATCHES"),
    )

    @property
    def alone(self) -> bool:
        """Whether something is kept in the data directory, which is then this process's alone."""
        return not (self.database_url and self.blobs_url and self.service_keys)

    def addresses(self, name: str) -> list[str]:
        """Return where a service is."""
        places = (place.partition("=") for place in self.peers.split())
        return [url for told, _, url in places if told == name]


def collector() -> bool:
    """Whether the environment names a collector of spans, by the variables that are OpenTelemetry's own."""
    return any(os.environ.get(f"OTEL_EXPORTER_OTLP_{name}ENDPOINT") for name in ("", "TRACES_"))


def unread() -> list[str]:
    """Return the variables of the environment that look like settings and are none."""
    fields = Settings.model_fields
    known = {f"HULEEDU_{name.upper()}" for name in fields} | {"HULEEDU_TOKEN"}
    return sorted(name for name in os.environ if name.startswith("HULEEDU_") and name not in known)
