"""`huleedu serve` in processes of its own, on loopback, used as a program would use it."""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import psutil

from huleedu.cli import admin
from huleedu.contracts.batch import BatchClientStatus
from huleedu.platform.settings import Settings
from scripts.servers import free_ports

HULEEDU = str(Path(sys.executable).with_name("huleedu"))
PATIENCE_S = 120.0
TRY_S = 0.01
POLL_S = 0.05
AT_ONCE = 100  # files in one upload


class Server:
    """A server that can serve; `ready_s` is how long that took from the command on."""

    def __init__(self, directory: Path, command: Sequence[str] = (HULEEDU, "serve")) -> None:
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        self._settings = Settings(data_dir=directory)
        started = time.perf_counter()
        self.process = started_process([*command, "--port", str(port), "--data-dir", str(directory)])
        self.ready_s = until_ready(self.process, port) - started

    def teacher(self, name: str) -> "Teacher":
        """Return a new account's client."""
        email = f"{name}@school.example"
        self._operate("users", {"email": email, "name": name})
        return Teacher(self.url, self._operate("users/token", {"email": email})["token"])

    def session(self, name: str) -> str:
        """Sign in, on an account that is there, and return the session's cookie."""
        path = str(self._operate("users/link", {"email": f"{name}@school.example"})["path"])
        headers, body = {"origin": self.url}, {"link": path.partition("#")[2]}
        answer = httpx2.post(f"{self.url}/v1/session", json=body, headers=headers, trust_env=False)
        return str(answer.raise_for_status().cookies["huleedu"])

    def _operate(self, path: str, body: dict[str, str]) -> Any:  # noqa: ANN401 -- JSON
        return asyncio.run(admin.ask(self._settings, "gateway", "POST", f"/internal/v1/{path}", json=body))

    def rss(self) -> float:
        """Return the resident set size of the server's own process, in MB."""
        return float(psutil.Process(self.process.pid).memory_info().rss / 1e6)

    def pss(self) -> float:
        """Return the proportional set size of all its processes, in MB (10^6 bytes); Linux only."""
        return pss(self.process.pid)


def pss(pid: int) -> float:
    """Return the proportional set size of a process and all below it, in MB (10^6 bytes); Linux only."""
    whole = psutil.Process(pid)
    return sum(_pss(process) for process in (whole, *whole.children(recursive=True))) / 1e6


def _pss(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.NoSuchProcess:  # a child that has just ended
        return 0


def started_process(command: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a process that keeps its compiled modules, as in any installation."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def until_ready(process: subprocess.Popen[bytes], port: int) -> float:
    """Wait until /readyz answers; return the moment."""
    for _ in range(round(PATIENCE_S / TRY_S)):
        try:
            if process.poll() is not None:
                break
            if httpx2.get(f"http://127.0.0.1:{port}/readyz", trust_env=False).is_success:
                return time.perf_counter()
        except httpx2.TransportError:
            time.sleep(TRY_S)
    raise RuntimeError("The server does not start.")


class Teacher:
    """Somebody who has batches assessed."""

    def __init__(self, url: str, token: str) -> None:
        headers = {"authorization": f"Bearer {token}"}
        self._client = httpx2.Client(base_url=url, headers=headers, timeout=PATIENCE_S, trust_env=False)

    def upload(self, texts: Sequence[str]) -> str:
        """Make a batch of these texts and return its id."""
        batch_id = self.batch()
        for first in range(0, len(texts), AT_ONCE):
            files = [(f"{first + at}.txt", text.encode()) for at, text in enumerate(texts[first : first + AT_ONCE])]
            self.send(batch_id, files)
        return batch_id

    def batch(self) -> str:
        """Make an empty batch and return its id."""
        return str(self._ask("POST", "/v1/batches", json={"title": "Benchmark"})["batch_id"])

    def send(self, batch_id: str, files: Sequence[tuple[str, bytes]]) -> int:
        """Upload these files at once; return how many were stored."""
        told = self._ask("POST", f"/v1/batches/{batch_id}/essays", files=[("files", file) for file in files])
        return sum(item["status"] == "stored" for item in told["items"])

    def start(self, batch_id: str, pipeline: str = "nlp") -> float:
        """Start spellcheck and, unless it is to be the only one, nlp; return the moment before."""
        moment = time.perf_counter()
        self._ask("POST", f"/v1/batches/{batch_id}/pipelines", json={"requested_pipeline": pipeline})
        return moment

    def status(self, batch_id: str) -> Any:  # noqa: ANN401 -- JSON
        return self._ask("GET", f"/v1/batches/{batch_id}/status")

    def assess(self, texts: Sequence[str]) -> float:
        """Upload, start, wait for the end; return the seconds from the start to `completed_successfully`."""
        batch_id = self.upload(texts)
        started = self.start(batch_id)
        self.wait(batch_id)
        return time.perf_counter() - started

    def wait(self, batch_id: str) -> None:
        """Wait until the batch is `completed_successfully`."""
        while not (status := BatchClientStatus(self.status(batch_id)["status"])).terminal:
            time.sleep(POLL_S)
        if status is not BatchClientStatus.COMPLETED_SUCCESSFULLY:
            raise RuntimeError(f"The batch ended as {status.value}.")

    def get(self, path: str) -> bytes:
        """Return what is at this address."""
        return self._client.get(path).raise_for_status().content

    def _ask(self, method: str, path: str, **sent: Any) -> Any:  # noqa: ANN401 -- JSON
        return self._client.request(method, path, **sent).raise_for_status().json()


@contextmanager
def served() -> Iterator[Server]:
    """Run a server on an empty data directory."""
    with tempfile.TemporaryDirectory() as directory, stopping(Server(Path(directory))) as server:
        yield server


@contextmanager
def stopping(server: Server) -> Iterator[Server]:
    """Stop the server after the block."""
    try:
        yield server
    finally:
        server.process.terminate()
        server.process.wait(PATIENCE_S)
