"""Worker processes: plain functions run in children that may be killed, get stuck or run out of memory.

A `Workers` starts one *nursery* (`huleedu.platform.nursery`), a fresh interpreter, since a server with threads must not
be forked. The nursery loads what its children share and forks a child whenever it is sent the far end of a socket to
serve; it also does the killing, being the one that knows whose a process id is. When the server goes, even by SIGKILL,
the nursery sees its socket closed, kills its children and leaves; on Linux the kernel sees to both as well, so that
nothing that is stuck in native code stays behind.
"""

import asyncio
import contextlib
import os
import pickle
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, TypeVarTuple

import structlog

from huleedu.platform.nursery import FORK, HEAD, ORDER

R = TypeVar("R")
Ts = TypeVarTuple("Ts")

LOAD_S = 60.0  # many times what the dictionaries take: a nursery that has not answered by then hangs
PIECE = 2**16  # bytes sent at once
CLOSE_S = 1.0  # a nursery that has not left by then, because it is still loading, is killed

log = structlog.get_logger()

# The nursery looks for modules where the server does, whatever way that path came about.
_BOOT = "import sys; sys.path[:] = sys.argv[5:]; from huleedu.platform.nursery import main; main(*sys.argv[1:5])"


class WorkerDied(Exception):
    """The process was killed, ended itself or did not start, while it was needed for the call."""


class WorkerTimeout(Exception):
    """The call took longer than it was given; its process was killed."""


@dataclass(frozen=True)
class _Child:
    """The server's end of one child; `pid` is known from its first message."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    pid: int = 0

    async def call(self, message: bytes) -> tuple[Exception | None, Any]:
        """Send it piece by piece, so that what waits to be sent is small, and return the answer."""
        self.writer.write(len(message).to_bytes(HEAD))
        pieces = memoryview(message)
        with contextlib.suppress(ConnectionError):  # told by the answer that does not come
            for start in range(0, len(pieces), PIECE):
                self.writer.write(pieces[start : start + PIECE])
                await self.writer.drain()
        return await self.message()

    async def message(self) -> tuple[Exception | None, Any]:
        try:
            size = int.from_bytes(await self.reader.readexactly(HEAD))
            return pickle.loads(await self.reader.readexactly(size))  # type: ignore[no-any-return]  # noqa: S301 - ours
        except (asyncio.IncompleteReadError, ConnectionError):
            raise WorkerDied("The worker process ended while it was needed.") from None


class Workers:
    """A few child processes that run plain functions; one killed or stuck child fails one call and no other.

    `preload`, "package.module:function", is called once, in the nursery, before any child is forked; if it raises,
    every call raises the same. `memory_mib` is what a child may take on top of what it has when it starts (Linux
    only). Children start when needed and are kept.
    """

    def __init__(self, *, count: int, preload: str | None = None, memory_mib: int | None = None) -> None:
        self._preload = preload or ""
        self._memory_mib = memory_mib or 0
        self._slots = asyncio.Semaphore(count)
        self._hatching = asyncio.Lock()
        self._idle: list[_Child] = []
        self._control: socket.socket | None = None
        self._nursery: Process | None = None

    async def start(self) -> None:
        """Return at once; the nursery loads in the background, and the first calls wait for it."""
        self._control, theirs = socket.socketpair()
        with theirs:
            arguments = [str(theirs.fileno()), self._preload, str(self._memory_mib), str(os.getpid()), *sys.path]
            self._nursery = await asyncio.create_subprocess_exec(
                *[sys.executable, "-c", _BOOT, *arguments],
                stdin=DEVNULL,
                stdout=DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # the terminal's Ctrl-C does not reach it, not even while it starts
            )

    async def run(self, fn: Callable[[*Ts], R], *args: *Ts, timeout_s: float) -> R:
        """`fn(*args)` in a child; what it raises is raised here, with a note saying where.

        Waits for a free child; the time counts from when one gets the call. Cancelling kills the child. Raises
        WorkerDied and WorkerTimeout; a child that ran out of memory (MemoryError) is not used again.
        """
        async with self._slots:
            child = await self._free_child()
            reusable = False
            try:
                async with asyncio.timeout(timeout_s):
                    error, result = await child.call(pickle.dumps((fn, args)))
                reusable = self._control is not None and not isinstance(error, MemoryError)
            except TimeoutError:
                raise WorkerTimeout(f"The call took longer than {timeout_s:g} s.") from None
            finally:
                if reusable:
                    self._idle.append(child)
                else:
                    self._end(child)
        if error is not None:
            raise error
        return result  # type: ignore[no-any-return]

    async def aclose(self) -> None:
        """End all processes; calls still running raise WorkerDied."""
        if self._control is None or self._nursery is None:
            return
        self._control.close()
        self._control = None
        while self._idle:
            self._idle.pop().writer.close()
        try:
            await asyncio.wait_for(self._nursery.wait(), CLOSE_S)
        except TimeoutError:
            self._nursery.kill()
            await self._nursery.wait()

    async def _free_child(self) -> _Child:
        while self._idle:
            child = self._idle.pop()
            if not child.reader.at_eof():
                return child
            self._end(child)
        ours, theirs = socket.socketpair()
        with theirs, contextlib.ExitStack() as undo:
            reader, writer = await asyncio.open_connection(sock=ours)
            undo.callback(writer.close)
            await self._order_child(theirs)
            theirs.close()
            error, pid = await self._hatched(_Child(reader, writer))
            if error is not None:
                raise error
            undo.pop_all()
        return _Child(reader, writer, pid)

    async def _hatched(self, child: _Child) -> tuple[Exception | None, Any]:
        nursery = self._nursery
        try:
            async with asyncio.timeout(LOAD_S):
                return await child.message()
        except TimeoutError:
            log.error("workers.not_loaded", preload=self._preload, seconds=LOAD_S)  # noqa: TRY400 -- there is no more
            if nursery is not None and nursery.returncode is None:
                nursery.kill()
                await nursery.wait()  # the next call finds it gone and begins anew
            raise WorkerDied(f"The worker processes did not load within {LOAD_S:g} s.") from None

    async def _order_child(self, channel: socket.socket) -> None:
        async with self._hatching:
            if self._control is None:
                raise RuntimeError("Workers have not been started, or are closed.")
            try:
                socket.send_fds(self._control, [FORK], [channel.fileno()])
            except ConnectionError:  # somebody killed the nursery, and with it its children: begin anew
                self._control.close()
                await self.start()
                socket.send_fds(self._control, [FORK], [channel.fileno()])

    def _end(self, child: _Child) -> None:
        child.writer.close()
        with contextlib.suppress(ConnectionError):  # a nursery that is gone has no children
            if self._control is not None:
                self._control.send(child.pid.to_bytes(ORDER))
