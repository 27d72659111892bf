"""`huleedu serve` as a process of its own, and what can be seen of it and of its data from outside."""

import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import psutil
import pytest

from huleedu import cli

HULEEDU = str(Path(sys.executable).with_name("huleedu"))
PROCESSES = {"assess", "serve"}
"""Commands that handle signals or set up logging: always processes of their own."""
START_SECONDS = STOP_SECONDS = 60
"""Guards: a server that takes longer to stop than it may ends by itself, with status 1."""
Line = dict[str, Any]


def huleedu(*words: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command, as a process, to its end."""
    command = [HULEEDU, *map(str, words)]
    environment = {**os.environ, "COLUMNS": "200", **env}
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=50, env=environment)


def _here(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command in this process, which has loaded already what it would have to load."""
    out, err, code, command = io.StringIO(), io.StringIO(), 0, ["huleedu", *map(str, words)]
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", command)
        patch.setenv("COLUMNS", "200")
        try:
            cli.main()
        except SystemExit as ended:
            code = int(ended.code or 0)
    return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())


def told(*words: str | Path, code: int = 0, **env: str) -> str:
    """Return what a command prints, which ends with this status; what is wrong is one sentence without a traceback."""
    done = huleedu(*words, **env) if env or words[0] in PROCESSES else _here(*words)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    if code == 2 and done.stderr.startswith("huleedu:"):
        assert done.stderr.count("\n") == 1, done.stderr
        return done.stderr
    return done.stdout + (done.stderr if code == 2 else "")


class Served:
    """A running server, in a process group of its own. Every process that it starts bears its mark."""

    def __init__(self, data_dir: Path, *words: str, **env: str) -> None:
        self.mark = f"mark-{uuid4()}"
        self.lines: list[Line] = []
        self.on_line: Callable[[int], None] = lambda _count: None
        self._listening = threading.Event()
        self._out = tempfile.TemporaryFile("w+")  # noqa: SIM115 -- closed when it has ended
        self.process = subprocess.Popen(
            [HULEEDU, "serve", "--port", "0", "--data-dir", str(data_dir), *words],
            stdout=self._out,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "HULEEDU_LOG_LEVEL": "info", "TEST_MARK": self.mark, **env},
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        if not self._listening.wait(START_SECONDS):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.url = next((str(line["url"]) for line in self.lines if line.get("event") == "serve.listening"), "")
        assert self.url, self.lines

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            # What is not JSON is what it says when it cannot start.
            self.lines.append(json.loads(line) if line.startswith("{") else {"event": line})
            if self.lines[-1]["event"] == "serve.listening":
                self._listening.set()
            self.on_line(len(self.lines))
        self._listening.set()

    @property
    def printed(self) -> str:
        """What it has printed on standard output."""
        self._out.seek(0)
        return self._out.read()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit status."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> int:
        """Wait, for a bounded time, until the process is gone, and nothing that it started is left."""
        code = self.process.wait(STOP_SECONDS)
        self._reader.join(STOP_SECONDS)
        _, left = psutil.wait_procs(self._marked(), timeout=STOP_SECONDS)
        assert not left, "processes outlived the server that started them"
        assert self.process.stderr is not None
        self.process.stderr.close()
        self._out.close()
        return code

    def _marked(self) -> list[psutil.Process]:
        return [process for process in psutil.process_iter() if self.mark in _environment(process).values()]


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except psutil.Error:
        return {}


@contextmanager
def served(data_dir: Path, *words: str) -> Iterator[Served]:
    """Serve while the block runs."""
    server = Served(data_dir, *words)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.stop()


def teacher(data_dir: Path, email: str = "anna@school.se") -> str:
    """Add an account and return a token of it."""
    told("user", "add", email, "--name", "Anna Ek", "--data-dir", data_dir)
    return told("user", "token", email, "--data-dir", data_dir).strip()


def client(url: str, token: str) -> httpx2.Client:
    return httpx2.Client(base_url=url, headers={"authorization": f"Bearer {token}"}, timeout=60)


def rows(data_dir: Path, sql: str) -> list[tuple[Any, ...]]:
    """Ask the database, whoever uses it."""
    connection = sqlite3.connect(f"file:{data_dir / 'huleedu.db'}?mode=ro", uri=True)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()
