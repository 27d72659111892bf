"""What an installation is set to, what it ships, and the secret that it keeps."""

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from huleedu.cli import backup_command
from huleedu.gateway.access import loopback
from huleedu.gateway.page import FOLDER
from huleedu.platform.errors import Usage
from huleedu.platform.installation import require_shared, wire
from huleedu.platform.keys import Keys
from huleedu.platform.migrate import examine_postgres
from huleedu.platform.settings import Settings


async def test_a_password_that_cannot_stand_in_an_address_is_told_and_not_quoted() -> None:
    with pytest.raises(Usage, match="%2F") as told:
        await examine_postgres("postgresql://huleedu:secret/half@host/huleedu")
    assert "secret" not in str(told.value)


@pytest.mark.parametrize(
    ("given", "origin"),
    [
        ("", ""),
        ("https://HuleEdu.School.se/", "https://huleedu.school.se"),
        ("https://huleedu.school.se:443", "https://huleedu.school.se"),
        ("http://10.0.0.5:80/", "http://10.0.0.5"),
        ("http://huleedu:4001", "http://huleedu:4001"),
        ("https://högskolan.se", "https://xn--hgskolan-n4a.se"),
    ],
)
def test_the_public_address_is_kept_as_browsers_name_it(
    given: str, origin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HULEEDU_PUBLIC_URL", given)
    assert Settings().public_url == origin


@pytest.mark.parametrize(
    "given", ["huleedu.school.se", "ftp://x", "https://x/huleedu", "https://x/?a", "https://a@x", " "]
)
def test_what_is_no_address_is_refused_in_one_sentence(given: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings(public_url=given)
    (error,) = refused.value.errors()
    assert error["msg"].endswith("write it like https://huleedu.school.se")


@pytest.mark.parametrize(
    "given",
    [
        {"backplane_url": "http://x"},
        {"backplane_url": "redis"},
        {"blobs_url": "bucket"},
        {"log_url": "x:9092"},
        {"database_url": "sqlite:///x"},
    ],
)
def test_an_address_of_another_kind_is_refused_and_a_password_in_it_not_told(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"write it like (redis|s3|kafka|postgresql)://"):
        Settings(**given)
    assert "secret" not in repr(Settings(backplane_url=SecretStr("rediss://:secret@x")))


@pytest.mark.parametrize(
    ("given", "library", "module"),
    [
        ({"backplane_url": "redis://x"}, "redis.asyncio", "backplane.redis"),
        ({"blobs_url": "s3://x"}, "botocore.session", "blobs.s3"),
        ({"log_url": "kafka://x", "database_url": "postgresql://x"}, "confluent_kafka", "log.kafka"),
    ],
)
def test_a_library_that_is_not_installed_is_named(
    given: dict[str, Any], library: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, f"huleedu.platform.{module}", raising=False)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(
        Usage, match=rf"^{library} is not installed. Install it by: pip install 'huleedu\[(redis|s3|kafka)\]'"
    ):
        wire(Settings(data_dir=tmp_path, **given))


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"log_url": "kafka://x"}, "HULEEDU_DATABASE_URL=postgresql://"),
        ({"database_url": "postgresql://x"}, "HULEEDU_LOG_URL=kafka://"),
    ],
)
def test_kafka_and_postgresql_go_together(given: dict[str, Any], missing: str, tmp_path: Path) -> None:
    with pytest.raises(Usage, match=f"set {missing}"):
        wire(Settings(data_dir=tmp_path, **given))


def test_a_copy_without_the_texts_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HULEEDU_BLOBS_URL", "s3://x")
    with pytest.raises(Usage, match="then the bucket"):
        backup_command(tmp_path / "copy")


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.2", False),
        ("localhost.evil.example", False),
        ("", False),
    ],
)
def test_which_names_lead_to_this_machine_only(host: str, *, here: bool) -> None:
    assert loopback(host) is here


def test_keys_of_an_earlier_version_are_read(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text(json.dumps({"service": "x", "signing": "y"}))
    assert Keys.of(tmp_path) == Keys(service="x")


NEW, OLD = "n" * 32, "o" * 32


def test_keys_that_are_given_need_no_directory() -> None:
    assert Keys.of(Path("/nowhere"), f"{NEW} {OLD}") == Keys(NEW, (OLD,))


@pytest.mark.parametrize("keys", ["short", f"{NEW} short"])
def test_a_key_that_could_be_guessed_is_refused_and_not_told(keys: str) -> None:
    with pytest.raises(ValidationError, match="at least 32 characters") as refused:
        Settings(service_keys=SecretStr(keys))
    assert "short" not in str(refused.value)


def test_a_service_may_be_in_several_places() -> None:
    settings = Settings(peers="files=http://a:1 phases=https://b  files=http://c:2")
    assert (settings.addresses("files"), settings.addresses("gateway")) == (["http://a:1", "http://c:2"], [])
    for wrong in ("http://a:1", "files=a:1", "=http://a"):
        with pytest.raises(ValidationError, match="write it like orchestrator=http"):
            Settings(peers=wrong)


def test_a_service_by_itself_is_told_what_it_shares_with_the_others() -> None:
    kafka, bucket = SecretStr("kafka://x"), SecretStr("s3://x")
    with pytest.raises(Usage, match="set HULEEDU_DATABASE_URL, HULEEDU_BACKPLANE_URL, HULEEDU_SERVICE_KEYS, HULEEDU_P"):
        require_shared(Settings(log_url=kafka, blobs_url=bucket))


def test_the_page_ships_no_more_scripts_than_a_slow_line_can_bear() -> None:
    scripts = [len(gzip.compress(path.read_bytes())) for path in FOLDER.rglob("*.js")]
    assert 0 < sum(scripts) <= 250_000
