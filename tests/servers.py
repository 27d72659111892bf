"""Real servers for tests, each started when a test first asks for it (by `scripts/servers`) and stopped at the end."""

import asyncio
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "servers"
ENGINE = (pytest.mark.engine, pytest.mark.timeout(120))
"""The marks of a test that needs them: the first one also waits until its server is fetched and has started."""


class Servers:
    """The servers of one test session, in a directory of their own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._env: dict[str, dict[str, str]] = {}

    def env(self, name: str) -> dict[str, str]:
        """Return the environment of a server, which is started if need be."""
        if name not in self._env:
            self.up(name)
            exports = self._run("env", name).splitlines()
            pairs = (export.removeprefix("export ").split("=", 1) for export in exports)
            self._env[name] = {variable: value.strip("'") for variable, value in pairs}
        return self._env[name]

    def up(self, name: str) -> None:
        """Start a server, for the first time or again: then with its data and on its ports."""
        self._run("up", name)

    def pid(self, name: str) -> int:
        return int(json.loads((self._directory / name / "server.json").read_text())["pid"])

    def kill(self, name: str) -> None:
        """Kill a server that was started, with all its processes; `up` brings it back."""
        first = psutil.Process(self.pid(name))
        killed = [first, *first.children(recursive=True)]
        for process in killed:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        while any(map(_lives, killed)):
            """What it held is not free yet."""

    @contextmanager
    def hanging(self, *names: str) -> Iterator[None]:
        """Stop all processes of these servers while the block runs: they take what is sent, and say nothing."""
        stopped = []
        try:
            for first in (psutil.Process(self.pid(name)) for name in names):
                first.suspend()  # it begins no more of them
                stopped.append(first)
                for process in first.children(recursive=True):
                    with suppress(psutil.NoSuchProcess):
                        process.suspend()
                        stopped.append(process)
            yield
        finally:
            for process in stopped:
                process.resume()

    def down(self) -> None:
        self._run("down")

    def _run(self, *words: str) -> str:
        command = [sys.executable, str(SCRIPT), *words, "--dir", str(self._directory)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            pytest.fail(done.stderr, pytrace=False)
        return done.stdout


def _lives(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


@contextmanager
def servers_of_ones_own() -> Iterator[Servers]:
    """Have servers in a new directory, and none of them left afterwards.

    SIGTERM cancels the task that has them, as Ctrl-C does, so that it stops whatever it has started.
    """
    with suppress(RuntimeError):  # pytest has them outside of any task
        if task := asyncio.current_task():
            task.get_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with tempfile.TemporaryDirectory(prefix="huleedu-") as directory:
        Path(directory).chmod(0o711)  # PostgreSQL may run as another user
        servers = Servers(Path(directory))
        try:
            yield servers
        finally:
            servers.down()
