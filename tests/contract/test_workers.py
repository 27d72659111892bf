"""The children run functions of the standard library, so that this file need not be found by them."""

import asyncio
import os
import select
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from huleedu.platform.workers import WorkerDied, Workers, WorkerTimeout

LONG_S = 50.0


@pytest.fixture
async def single() -> AsyncIterator[Workers]:
    workers = Workers(count=1, memory_mib=64)
    await workers.start()
    yield workers
    await workers.aclose()


class Stuck:
    """A call that fills a FIFO nobody reads: seen to have begun, and its process seen to be gone."""

    def __init__(self, fifo: Path) -> None:
        self.fifo = fifo
        os.mkfifo(fifo)

    async def begin(self, workers: Workers) -> "asyncio.Task[int]":
        call = asyncio.create_task(workers.run(self.fifo.write_bytes, bytes(1_000_000), timeout_s=LONG_S))
        self.reader = await asyncio.to_thread(os.open, self.fifo, os.O_RDONLY)
        return call

    async def gone(self) -> None:
        poll = select.poll()
        poll.register(self.reader, 0)
        await asyncio.to_thread(poll.poll)
        os.close(self.reader)


@pytest.fixture
def stuck(tmp_path: Path) -> Stuck:
    return Stuck(tmp_path / "fifo")


async def test_results_and_errors_come_back_as_they_are(single: Workers) -> None:
    assert await single.run(divmod, 17, 5, timeout_s=LONG_S) == (3, 2)
    assert len(await single.run(bytes, 10_000_000, timeout_s=LONG_S)) == 10_000_000
    pid = await single.run(os.getpid, timeout_s=LONG_S)
    with pytest.raises(ValueError, match="invalid literal") as caught:
        await single.run(int, "x", timeout_s=LONG_S)
    assert "In a worker process" in caught.value.__notes__[0]
    with pytest.raises(ConnectionResetError):  # of the function, not of the channel
        await single.run(exec, "raise ConnectionResetError", timeout_s=LONG_S)
    with pytest.raises(RuntimeError, match="Odd in a worker"):  # whose class is nowhere to be found
        await single.run(exec, "class Odd(Exception): pass\nraise Odd", timeout_s=LONG_S)
    assert await single.run(os.getpid, timeout_s=LONG_S) == pid != os.getpid()


async def test_one_killed_child_fails_its_own_call_and_no_other() -> None:
    workers = Workers(count=2)
    await workers.start()
    calls = [workers.run(divmod, number, 7, timeout_s=LONG_S) for number in range(19)]
    fatal = workers.run(signal.raise_signal, signal.SIGKILL, timeout_s=LONG_S)
    outcomes = await asyncio.gather(*calls[:7], fatal, *calls[7:], return_exceptions=True)
    await workers.aclose()
    assert isinstance(outcomes.pop(7), WorkerDied)
    assert outcomes == [divmod(number, 7) for number in range(19)]


async def test_a_stuck_call_times_out_alone_and_the_one_behind_it_has_its_full_time(
    single: Workers, stuck: Stuck, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    time = loop.time
    call = await stuck.begin(single)
    behind = asyncio.create_task(single.run(divmod, 7, 2, timeout_s=LONG_S))
    await asyncio.sleep(0)  # it waits
    monkeypatch.setattr(loop, "time", lambda: time() + LONG_S)
    with pytest.raises(WorkerTimeout, match="longer than 50 s"):
        await call
    await stuck.gone()
    assert await behind == (3, 1)


async def test_cancelling_kills_the_child_and_frees_its_slot(single: Workers, stuck: Stuck) -> None:
    call = await stuck.begin(single)
    call.cancel()
    await stuck.gone()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await single.run(divmod, 7, 2, timeout_s=LONG_S) == (3, 1)


async def test_a_child_that_wants_too_much_memory_fails_that_call_and_is_replaced(single: Workers) -> None:
    pid = await single.run(os.getpid, timeout_s=LONG_S)
    with pytest.raises(MemoryError):
        await single.run(bytearray, 10**9, timeout_s=LONG_S)
    assert await single.run(os.getpid, timeout_s=LONG_S) != pid


async def test_a_killed_nursery_is_replaced(single: Workers, stuck: Stuck) -> None:
    nursery = psutil.Process(await single.run(os.getppid, timeout_s=LONG_S))
    call = await stuck.begin(single)
    nursery.kill()
    with pytest.raises(WorkerDied):
        await call
    await stuck.gone()
    assert await single.run(os.getppid, timeout_s=LONG_S) != nursery.pid


async def test_signals_meant_for_the_server_do_not_end_a_child(single: Workers) -> None:
    pid = await single.run(os.getpid, timeout_s=LONG_S)
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(pid, number)
        os.kill(psutil.Process(pid).ppid(), number)
    assert await single.run(os.getpid, timeout_s=LONG_S) == pid
    assert os.getsid(pid) != os.getsid(0)


async def test_children_share_what_the_nursery_loaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shelf.py").write_text("import os\nbooks = []\ndef load(): books.append(os.getpid())\n")
    monkeypatch.syspath_prepend(tmp_path)
    workers = Workers(count=1, preload="shelf:load")
    await workers.start()
    seen = []
    for _ in range(2):
        seen += await workers.run(eval, "[__import__('os').getppid(), *__import__('shelf').books]", timeout_s=LONG_S)
        with pytest.raises(WorkerDied):
            await workers.run(os._exit, 3, timeout_s=LONG_S)
    await workers.aclose()
    assert len(seen) == 4
    assert len(set(seen)) == 1


async def test_a_nursery_that_cannot_load_tells_every_caller_why() -> None:
    workers = Workers(count=1, preload="no.such.module:load")
    with pytest.raises(RuntimeError, match="not been started"):
        await workers.run(os.getpid, timeout_s=LONG_S)
    await workers.start()
    for _ in range(2):
        with pytest.raises(ModuleNotFoundError):
            await workers.run(os.getpid, timeout_s=LONG_S)
    await workers.aclose()


async def test_closing_ends_a_running_call_and_whatever_is_still_loading(stuck: Stuck) -> None:
    workers, loading = Workers(count=1), Workers(count=1, preload="signal:pause")
    await workers.start()
    await loading.start()
    call = await stuck.begin(workers)
    await asyncio.gather(workers.aclose(), loading.aclose())
    await stuck.gone()
    with pytest.raises(WorkerDied):
        await call


SERVER = """
import asyncio, math, os, re, signal
from huleedu.platform.workers import Workers

async def main():
    asyncio.get_running_loop().slow_callback_duration = math.inf
    workers = Workers(count=2, preload="hold:hold")
    await workers.start()
    stuck = asyncio.ensure_future(workers.run(re.match, "(a+)+$", "a" * 60 + "b", timeout_s=99))
    await workers.run(os.kill, os.getpid(), signal.{end}, timeout_s=99)
    await workers.aclose()
    await asyncio.gather(stuck, return_exceptions=True)

asyncio.run(main())
"""


@pytest.mark.parametrize(("end", "status"), [("SIGKILL", -signal.SIGKILL), ("SIGCONT", 0)])
def test_no_process_and_no_noise_is_left_by_a_server_that_ends_with_a_child_stuck_in_native_code(
    tmp_path: Path, end: str, status: int
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    (tmp_path / "hold.py").write_text(f"import os\ndef hold(): os.open({str(fifo)!r}, os.O_WRONLY)\n")
    (tmp_path / "server.py").write_text(SERVER.format(end=end))
    command = [sys.executable, "-X", "dev", str(tmp_path / "server.py")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as server:
        assert fifo.read_bytes() == b""  # the end comes when the nursery and all children are gone
        assert server.communicate()[1] == b""
        assert server.returncode == status


def test_a_nursery_whose_server_was_killed_meanwhile_does_not_even_load() -> None:
    nobody = "0"  # no process that can have started it
    begun = f"from huleedu.platform.nursery import main; main('0', 'builtins:breakpoint', '0', {nobody!r})"
    done = subprocess.run([sys.executable, "-c", begun], check=False, capture_output=True, text=True, timeout=LONG_S)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
