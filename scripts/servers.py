#!/usr/bin/env python3
"""Real servers for the tests and for trying things out: PostgreSQL, Redis, S3 and Apache Kafka, on loopback.

    scripts/servers up [NAME ...]     start them (all, or those named); one that runs already is left alone
    scripts/servers env               print `export HULEEDU_...` for those that were started
    scripts/servers down [NAME ...]   stop exactly what was started here, and delete its data

A server that was killed comes back by `up` with its data, on its ports. Each one's process id, log and data are in
`DIR/NAME/` (`--dir`; build/servers of this tree). Needs nothing but the standard library and the servers themselves.
"""

from __future__ import annotations

import argparse
import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
HOST = "127.0.0.1"
START_SECONDS, STOP_SECONDS = 60, 15
KAFKA = {
    "org.apache.kafka:kafka_2.13": "4.3.1",
    "org.slf4j:slf4j-api": "2.0.20",
    "org.apache.logging.log4j:log4j-slf4j2-impl": "2.26.1",
    "org.apache.logging.log4j:log4j-core": "2.26.1",
}
COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"


class Missing(SystemExit):
    """A server that is not on this machine. The text says how to get it."""


def program(name: str, remedy: str, *places: Path) -> str:
    """Return where a program is: on the PATH, or in one of these places."""
    found = shutil.which(name) or next((str(place / name) for place in places if (place / name).exists()), None)
    if found is None:
        raise Missing(f"There is no {name} on this machine. Get it by: {remedy}.")
    return found


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on, of those that the machine gives to no client either.

    A server that was killed finds them free when it is started again.
    """
    found: dict[int, socket.socket] = {}
    with ExitStack() as held:
        while len(found) < count:
            port = 10_000 + secrets.randbelow(20_000)
            with suppress(OSError):
                found[port] = held.enter_context(closing(socket.create_server((HOST, port))))
        return list(found)


def answers(port: int, question: bytes) -> bool:
    """Whether a server says anything to this."""
    try:
        with socket.create_connection((HOST, port), timeout=1) as connection:
            connection.settimeout(2)
            connection.sendall(question)
            return bool(connection.recv(1))
    except OSError:
        return False


class Server:
    """One server in a directory of its own. What must be known of it again is in its `server.json`."""

    name: str
    ports = 1
    stop_by = signal.SIGKILL  # what it would put in order is deleted
    user: str | None = None

    def __init__(self, directory: Path) -> None:
        self.home = directory / self.name
        self.known: dict[str, Any] = {}
        if (self.home / "server.json").exists():
            self.known = json.loads((self.home / "server.json").read_text())

    def prepare(self) -> None:
        """Make what the server needs before it can be started for the first time."""

    def command(self) -> list[str]:
        """Return what runs the server in the foreground."""
        raise NotImplementedError

    def ready(self) -> bool:
        """Whether it serves."""
        raise NotImplementedError

    def settle(self) -> None:
        """Make what needs a running server; harmless when it is there already."""

    def env(self) -> dict[str, str]:
        """Return the environment by which HuleEdu finds it."""
        raise NotImplementedError

    @property
    def port(self) -> int:
        return int(self.known["ports"][0])

    @property
    def password(self) -> str:
        return str(self.known["password"])

    def up(self) -> None:
        """Start it and wait until it serves."""
        if self.runs():
            return
        if not self.known:
            shutil.rmtree(self.home, ignore_errors=True)  # of a start that was broken off
            self.home.mkdir(parents=True)
            self.known = {"ports": free_ports(self.ports), "password": secrets.token_hex(8)}
            if self.user:
                shutil.chown(self.home, self.user)
                self._require_reachable()
            self.prepare()
        for _ in range(3):  # what a killed PostgreSQL leaves behind is in the way for a moment
            if self._start():
                self.settle()
                return
            time.sleep(1)
        tail = "\n".join((self.home / "log").read_text(errors="replace").splitlines()[-15:])
        raise SystemExit(f"{self.name} does not start; the end of {self.home / 'log'}:\n{tail}")

    def _start(self) -> bool:
        with (self.home / "log").open("ab") as log:
            process = subprocess.Popen(
                self.command(),
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self._as_user(),
            )
        self.known |= {"pid": process.pid, "born": born(process.pid)}
        (self.home / "server.json").write_text(json.dumps(self.known))
        deadline = time.monotonic() + START_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            if self.ready():
                return True
            time.sleep(0.05)
        self._end()
        return False

    def runs(self) -> bool:
        """Whether the process that was started here is still there: a process id alone may be somebody else's now."""
        return bool(self.known.get("pid")) and born(self.known["pid"]) == self.known["born"] != ""

    def _end(self) -> None:
        for number in (self.stop_by, signal.SIGKILL):
            deadline = time.monotonic() + STOP_SECONDS
            if self.runs():
                os.kill(self.known["pid"], number)
            while self.runs() and time.monotonic() < deadline:
                time.sleep(0.05)

    def down(self) -> None:
        """Stop it and delete its data."""
        self._end()
        shutil.rmtree(self.home, ignore_errors=True)

    def run(self, *command: str | Path, **env: str) -> str:
        """Run a command of the server's to its end."""
        done: subprocess.CompletedProcess[str] = subprocess.run(
            [str(word) for word in command],
            cwd=self.home if self.home.exists() else None,
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            check=False,
            **self._as_user(),
        )
        if done.returncode:
            raise SystemExit(f"{command[0]} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def _require_reachable(self) -> None:
        """Raise if its user does not get there: a directory that was not made here is not opened to others either."""
        if subprocess.run(["test", "-x", self.home], check=False, **self._as_user()).returncode:
            raise SystemExit(
                f"{self.name} runs as the user {self.user}, who does not get to {self.home}."
                " Let others pass through the directories above it (chmod o+x), or name another place by --dir."
            )

    def _as_user(self) -> dict[str, Any]:
        return {"user": self.user, "group": pwd.getpwnam(self.user).pw_gid, "extra_groups": []} if self.user else {}


def born(pid: int) -> str:
    """Return when a process began, or nothing if it has ended."""
    told = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, began = told.stdout.strip().partition(" ")
    return "" if state.startswith("Z") else began.strip()


class Postgres(Server):
    """PostgreSQL. It refuses to run as root, and is then run as the user that its package made."""

    name = "postgres"
    stop_by = signal.SIGQUIT  # "immediate": its processes and its shared memory go
    user = "postgres" if os.geteuid() == 0 else None

    def prepare(self) -> None:
        secret = self.home / "password"
        secret.write_text(self.password)
        if self.user:
            shutil.chown(secret, self.user)
        self.run(
            self._program("initdb"), "-D", self.home / "data", "-U", "huleedu", "-A", "scram-sha-256",
            f"--pwfile={secret}", "-E", "UTF8", "--locale=C",
        )  # fmt: skip

    def command(self) -> list[str]:
        settings = {
            "listen_addresses": HOST,
            "port": self.port,
            "unix_socket_directories": "",
            "shared_buffers": "32MB",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [self._program("postgres"), "-D", str(self.home / "data"), *options]

    def ready(self) -> bool:
        probe = [self._program("pg_isready"), "-q", "-h", HOST, "-p", str(self.port), "-t", "2"]
        return subprocess.run(probe, check=False).returncode == 0

    def settle(self) -> None:
        psql = (self._program("psql"), "-h", HOST, "-p", str(self.port), "-U", "huleedu", "-d", "postgres", "-Atqc")
        if not self.run(*psql, "SELECT 1 FROM pg_database WHERE datname = 'huleedu'", PGPASSWORD=self.password):
            self.run(*psql, "CREATE DATABASE huleedu", PGPASSWORD=self.password)

    def env(self) -> dict[str, str]:
        return {"HULEEDU_DATABASE_URL": f"postgresql://huleedu:{self.password}@{HOST}:{self.port}/huleedu"}

    def _program(self, name: str) -> str:
        newest = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda bin_: float(bin_.parent.name))[::-1]
        return program(name, "apt-get install postgresql, or brew install postgresql", *newest)


class Redis(Server):
    """Redis, without any data on disk."""

    name = "redis"

    def prepare(self) -> None:
        settings = {"bind": HOST, "port": self.port, "requirepass": self.password, "save": '""', "appendonly": "no"}
        self._settings.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))

    def command(self) -> list[str]:
        return [program("redis-server", "apt-get install redis-server, or brew install redis"), str(self._settings)]

    def ready(self) -> bool:
        return answers(self.port, b"PING\r\n")

    def env(self) -> dict[str, str]:
        return {"HULEEDU_BACKPLANE_URL": f"redis://:{self.password}@{HOST}:{self.port}/0"}

    @property
    def _settings(self) -> Path:
        return self.home / "redis.conf"


class S3(Server):
    """An S3 server that keeps everything in memory: moto, of the development environment."""

    name = "s3"

    def command(self) -> list[str]:
        ours = ROOT / ".venv" / "bin" / "moto_server"
        found = str(ours) if ours.exists() else program("moto_server", "make setup")
        return [found, "-H", HOST, "-p", str(self.port)]

    def ready(self) -> bool:
        return answers(self.port, b"GET /moto-api/ HTTP/1.1\r\nHost: localhost\r\n\r\n")

    def settle(self) -> None:
        with urllib.request.urlopen(urllib.request.Request(f"http://{HOST}:{self.port}/huleedu", method="PUT")):
            """The bucket is there."""

    def env(self) -> dict[str, str]:
        return {
            "HULEEDU_BLOBS_URL": "s3://huleedu",
            "AWS_ENDPOINT_URL": f"http://{HOST}:{self.port}",
            "AWS_ACCESS_KEY_ID": "huleedu",
            "AWS_SECRET_ACCESS_KEY": self.password,
            "AWS_REGION": "us-east-1",
        }


class Kafka(Server):
    """Apache Kafka: one node, broker and controller in one (KRaft), from its own artifacts."""

    name = "kafka"
    ports = 3

    def prepare(self) -> None:
        plain, controller, sasl = self.known["ports"]
        listeners = f"PLAINTEXT://{HOST}:{plain},CONTROLLER://{HOST}:{controller},SASL_PLAINTEXT://{HOST}:{sasl}"
        login = "org.apache.kafka.common.security.plain.PlainLoginModule required"
        users = " ".join(f'user_{name}="{self.password}"' for name in ("huleedu", "guest"))
        properties = {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.bootstrap.servers": f"{HOST}:{controller}",
            "listeners": listeners,
            "advertised.listeners": listeners,
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT",
            "sasl.enabled.mechanisms": "PLAIN",
            "listener.name.sasl_plaintext.plain.sasl.jaas.config": f"{login} {users};",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS;User:huleedu",  # not guest, who may do what a test allows
            "log.dirs": self.home / "data",
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 1,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            "group.initial.rebalance.delay.ms": 0,
            # As short as the broker lets them be: a member that was killed is missed soon.
            "group.consumer.min.session.timeout.ms": 6000,
            "group.consumer.session.timeout.ms": 6000,
            "group.consumer.min.heartbeat.interval.ms": 1000,
            "group.consumer.heartbeat.interval.ms": 1000,
            "log.cleaner.dedupe.buffer.size": 8_388_608,
        }
        self._properties.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
        format_ = (*self._java(), "kafka.tools.StorageTool", "format", "--standalone")
        self.run(*format_, "-t", secrets.token_hex(11), "-c", self._properties)

    def command(self) -> list[str]:
        memory = ["-Xms128m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dlog4j2.level=WARN"]
        return [*self._java(*memory), "kafka.Kafka", str(self._properties)]

    def ready(self) -> bool:
        api_versions = struct.pack(">ihhih", 10, 18, 0, 1, -1)  # the request that every version understands
        return all(answers(self.known["ports"][listener], api_versions) for listener in (0, 2))

    def env(self) -> dict[str, str]:
        plain, _, sasl = self.known["ports"]
        secured = "security.protocol=SASL_PLAINTEXT&sasl.mechanism=PLAIN"
        return {
            "HULEEDU_LOG_URL": f"kafka://{HOST}:{plain}",
            "SERVERS_KAFKA_SASL_URL": f"kafka://huleedu:{self.password}@{HOST}:{sasl}?{secured}",
            "SERVERS_KAFKA_GUEST_URL": f"kafka://guest:{self.password}@{HOST}:{sasl}?{secured}",
        }

    @property
    def _properties(self) -> Path:
        return self.home / "server.properties"

    def _java(self, *options: str) -> list[str]:
        java = program("java", "apt-get install default-jre-headless, or brew install openjdk")
        return [java, *options, "-cp", f"{self._libraries()}/*"]

    def _libraries(self) -> Path:
        """Return where Kafka's jars are, fetched once for this tree."""
        kept = ROOT / "build" / f"kafka-{KAFKA['org.apache.kafka:kafka_2.13']}"
        if kept.exists():
            return kept
        maven = program("mvn", "apt-get install maven, or brew install maven")
        part = kept.with_name(f"{kept.name}.{os.getpid()}")
        part.mkdir(parents=True)
        (part / "pom.xml").write_text(pom())
        self.run(maven, "-q", "-B", "-f", part / "pom.xml", COPY, "-DincludeScope=runtime", f"-DoutputDirectory={part}")
        try:
            part.rename(kept)
        except OSError:  # another process was faster
            shutil.rmtree(part)
        return kept


def pom() -> str:
    """Return the list of Kafka's artifacts as Maven reads it."""
    wanted = "".join(
        f"<dependency><groupId>{name.partition(':')[0]}</groupId>"
        f"<artifactId>{name.partition(':')[2]}</artifactId><version>{version}</version></dependency>"
        for name, version in KAFKA.items()
    )
    about = "<modelVersion>4.0.0</modelVersion><groupId>huleedu</groupId><artifactId>kafka</artifactId>"
    return f"<project>{about}<version>1</version><dependencies>{wanted}</dependencies></project>"


SERVERS: dict[str, type[Server]] = {server.name: server for server in (Postgres, Redis, S3, Kafka)}


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("what", choices=("up", "down", "env"))
    words.add_argument("names", nargs="*", metavar="NAME", help=", ".join(SERVERS))
    words.add_argument("--dir", type=Path, default=ROOT / "build" / "servers", help="where they live")
    given = words.parse_args()
    unknown = set(given.names) - set(SERVERS)
    if unknown:
        words.error(f"there is no server {', '.join(sorted(unknown))}: there are {', '.join(SERVERS)}")
    program("ps", "apt-get install procps")  # by which a process is known again
    for name in given.names or SERVERS:
        server = SERVERS[name](given.dir.resolve())
        if given.what == "up":
            server.up()
        elif given.what == "down":
            server.down()
        elif server.known:
            sys.stdout.writelines(f"export {variable}='{value}'\n" for variable, value in server.env().items())


if __name__ == "__main__":
    main()
