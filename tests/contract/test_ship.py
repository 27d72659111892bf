"""What is shipped in containers says nothing that the code does not know: as far as can be seen without an engine."""

import re
import shlex
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
import yaml

from huleedu.platform.errors import NotYet
from huleedu.platform.migrate import examine_postgres, migrate_postgres
from huleedu.platform.settings import Settings
from huleedu.services import ROSTER
from tests.servers import ENGINE, Servers

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
DOCKERFILE = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text())
PAGE = (ROOT / "docs/how-to/run-on-kafka.md").read_text()
SETTINGS = {f"HULEEDU_{name.upper()}" for name in Settings.model_fields}
SECRET = re.compile(r"password|secret|keys|auth$|jaas", re.IGNORECASE)
REQUIRED = re.compile(r"\$\{(\w+):\?\}")


def told(name: str) -> dict[str, str]:
    """Return the environment of one container."""
    return {key: str(value) for key, value in SERVICES[name].get("environment", {}).items()}


def steps(word: str) -> Iterator[list[str]]:
    """Return the words after this one, for each line of the Dockerfile that begins with it."""
    for line in DOCKERFILE.splitlines():
        if line.startswith(f"{word} "):
            yield shlex.split(line)[1:]


def test_each_service_has_a_container_of_its_own() -> None:
    serving = {
        name: service["command"] for name, service in SERVICES.items() if service.get("command", [""])[0] == "serve"
    }
    assert serving == {name: ["serve", name] for name in ROSTER}
    assert SERVICES["migrate"]["command"] == ["migrate"]
    for name in ROSTER:
        assert SERVICES[name]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"


def test_all_containers_of_ours_are_of_one_image_that_is_built_here_and_never_fetched() -> None:
    ours = [SERVICES[name] for name in (*ROSTER, "migrate")]
    assert {(service["image"], service["pull_policy"]) for service in ours} == {("huleedu", "never")}
    assert [service["build"] for service in ours if "build" in service] == ["."]


@pytest.mark.parametrize("name", [*ROSTER, "migrate"])
def test_a_container_is_told_only_what_there_is_to_set_and_where_all_the_others_are(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = {
        key: re.sub(r"\$\{\w+:(\?|-(.*?))\}", lambda found: found[2] or "0" * 64, value)
        for key, value in told(name).items()
        if key.startswith("HULEEDU_")
    }
    assert set(ours) <= SETTINGS
    for key, value in ours.items():
        monkeypatch.setenv(key, value)
    settings = Settings()
    assert not settings.alone
    assert {each: settings.addresses(each) for each in ROSTER} == {each: [f"http://{each}:4002"] for each in ROSTER}


def test_nothing_but_the_gateway_can_be_reached_and_that_from_this_machine_only() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"gateway": ["127.0.0.1:4001:4001"]}
    assert COMPOSE["networks"]["inside"]["internal"] is True
    assert {name: service["networks"] for name, service in SERVICES.items() if service["networks"] != ["inside"]} == {
        "gateway": ["inside", "outside"]
    }
    assert not any("network_mode" in service for service in SERVICES.values())


def test_no_password_is_written_down_or_has_a_default() -> None:
    secrets = [value for name in SERVICES for key, value in told(name).items() if SECRET.search(key) or "@" in value]
    secrets = [value for value in secrets if value != told("kafka")["KAFKA_CONTROLLER_QUORUM_VOTERS"]]
    secrets += [config["content"] for config in COMPOSE["configs"].values()]
    assert len(secrets) > 2 * len(ROSTER)
    for value in secrets:
        given = REQUIRED.sub("$", value)
        assert "$" in given
        assert not re.search(r":[^/@$]+@|PASSWORD '[^$]|requirepass [^$]|=\"[^$]|\$\{", given)


def test_the_documented_command_makes_every_secret() -> None:
    (made,) = re.findall(r"for name in ([A-Z_ ]+); do", PAGE)
    assert set(made.split()) == set(REQUIRED.findall((ROOT / "compose.yaml").read_text()))
    assert "/.env" in (ROOT / ".gitignore").read_text().splitlines()


@ENGINE[0]
@ENGINE[1]
async def test_the_roles_of_the_containers_are_enough_and_no_more(servers: Servers) -> None:
    admin = servers.env("postgres")["HULEEDU_DATABASE_URL"]
    name = f"ship_{uuid4().hex[:8]}"
    roles = REQUIRED.sub("known", COMPOSE["configs"]["roles"]["content"]).replace("huleedu", name)
    of_server, of_database = roles.split(f"\\connect {name}\n")
    url = admin.rpartition("/")[0] + f"/{name}"
    owner, user = (re.sub(r"//.*@", f"//{role}:known@", url) for role in (f"{name}_owner", name))
    try:
        await _execute(admin, of_server)
        await _execute(url, of_database)
        with pytest.raises(NotYet, match="as their owner"):
            await migrate_postgres(user)
        await migrate_postgres(owner)
        assert await examine_postgres(user)
        for refused in (
            "CREATE TABLE mine (id int)",
            "DROP TABLE essay",
            "ALTER TABLE essay ADD COLUMN grade text",
            "TRUNCATE essay",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await _execute(user, refused)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await _execute(owner, "CREATE ROLE another")
    finally:
        await _execute(admin, f"DROP DATABASE IF EXISTS {name}; DROP ROLE IF EXISTS {name}, {name}_owner")


async def _execute(url: str, statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in filter(str.strip, statements.split(";")):
            await connection.execute(statement)
    finally:
        await connection.close()


def test_what_must_outlast_a_container_is_on_a_volume() -> None:
    used = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", ())}
    assert used == set(COMPOSE["volumes"]) == {"postgres", "kafka", "texts"}
    probed = {name for name, service in SERVICES.items() if "test" in service.get("healthcheck", {})}
    assert probed == set(SERVICES["migrate"]["depends_on"])


def test_the_image_is_built_from_what_is_there() -> None:
    ignored = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    allowed = [line[1:] for line in ignored if line.startswith("!")]
    assert ignored[0] == "*"
    assert not [name for name in allowed if not (ROOT / name).exists()]
    for words in steps("COPY"):
        if not words[0].startswith("--from"):
            assert not [path for path in words[:-1] if not (ROOT / path).exists()]
            assert not [path for path in words[:-1] if path != "." and not _sent(path, allowed)]
    makefile = (ROOT / "Makefile").read_text().replace("$(ENVIRONMENT)", ".venv/.environment")
    targets = [
        target for target in re.findall(r"\bmake (\S+)", "\n".join(map(" ".join, steps("RUN")))) if target != "&&"
    ]
    assert targets == [".venv/.environment", "dist"]
    assert not [target for target in targets if not re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE)]


def _sent(path: str, allowed: list[str]) -> bool:
    return any(path == name or path.startswith(f"{name}/") or fnmatch(path, name) for name in allowed)


def test_the_image_has_every_extra_and_no_tools_and_runs_as_nobody_in_particular() -> None:
    (extras,) = re.findall(r"\.whl\)\[([\w,]+)\]", DOCKERFILE)
    assert set(extras.split(",")) == set(
        re.findall(r"^(\w+) = \[", _section("project.optional-dependencies"), re.MULTILINE)
    )
    _, *built, shipped = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)
    assert any("make dist" in stage for stage in built)
    assert not re.search(r"apt-get|\bmake\b|\bnpm\b|\bpip\b", shipped)
    assert re.findall(r"^USER (.+)", shipped, re.MULTILINE) == ["10001:10001"]
    environment = dict(word.split("=", 1) for words in steps("ENV") for word in words)
    assert {key for key in environment if key.startswith("HULEEDU_")} <= SETTINGS
    (probe,) = re.findall(r"^HEALTHCHECK .+ CMD (.+)", shipped, re.MULTILINE)
    assert f"127.0.0.1:{environment['HULEEDU_INTERNAL_PORT']}/healthz" in probe


def _section(name: str) -> str:
    return (ROOT / "pyproject.toml").read_text().partition(f"[{name}]")[2].partition("\n[")[0]
