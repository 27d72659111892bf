"""The process that worker processes are forked from (see `huleedu.platform.workers`, which starts it).

It runs in an interpreter of its own, loads what all children share, and then obeys orders that come over a socket:
fork a child that serves the socket sent along, or kill one. The children's messages are pickled pairs (exception or
None, result), each after its length; a child's first message gives its process id.
"""

import ctypes
import gc
import os
import pickle
import pkgutil
import resource
import signal
import socket
import sys
import traceback
from dataclasses import dataclass, field
from io import BufferedRWPair
from pathlib import Path

ORDER = 4  # bytes of an order: a process id to kill, or FORK with a socket
FORK = bytes(ORDER)
HEAD = 8  # bytes that give a message's length
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(control_fd: str, preload: str, memory_mib: str, server: str) -> None:
    """Load, then obey until the server is gone."""
    for number in (signal.SIGINT, signal.SIGTERM):  # whoever stops a whole group means the server, which decides
        signal.signal(number, signal.SIG_IGN)
    _die_with_parent()
    if os.getppid() != int(server):  # it was killed before it could take this process with it
        os._exit(0)
    gc.disable()
    trouble = _load(preload)
    gc.freeze()  # shared pages stay shared: the collector would write to them
    _Nursery(socket.socket(fileno=int(control_fd)), trouble, int(memory_mib)).obey()
    os._exit(0)


@dataclass
class _Nursery:
    control: socket.socket
    trouble: Exception | None
    memory_mib: int
    children: set[int] = field(default_factory=set)  # not waited for yet, so none of these ids can be a stranger's

    def obey(self) -> None:
        while True:
            order, sockets, _, _ = socket.recv_fds(self.control, ORDER, 1)
            self.children -= {pid for pid in self.children if os.waitpid(pid, os.WNOHANG)[0]}
            if not order:
                break
            if sockets:
                self.fork(sockets[0])
            else:
                self.kill({int.from_bytes(order)} & self.children)
        self.kill(set(self.children))

    def kill(self, pids: set[int]) -> None:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for pid in pids:
            os.waitpid(pid, 0)
        self.children -= pids

    def fork(self, channel: int) -> None:
        parent = os.getpid()
        if pid := os.fork():
            os.close(channel)
            self.children.add(pid)
            return
        try:
            self.control.close()
            _die_with_parent()
            if os.getppid() == parent:
                _limit(self.memory_mib)
                gc.enable()
                with socket.socket(fileno=channel) as connection, connection.makefile("rwb") as pipe:
                    _serve(pipe, self.trouble)
        finally:
            os._exit(0)


def _load(preload: str) -> Exception | None:
    try:
        if preload:
            pkgutil.resolve_name(preload)()
    except Exception as error:  # noqa: BLE001 - told to whoever calls
        return error
    return None


def _serve(pipe: BufferedRWPair, trouble: Exception | None) -> None:
    message = _packed(trouble, os.getpid())
    while True:
        pipe.write(len(message).to_bytes(HEAD) + message)
        pipe.flush()
        if not (head := pipe.read(HEAD)):
            return
        message = _answer(pipe.read(int.from_bytes(head)))


def _answer(call: bytes) -> bytes:
    try:
        fn, args = pickle.loads(call)  # noqa: S301 - from our own server
        return _packed(None, fn(*args))
    except Exception as error:  # noqa: BLE001 - the caller's to judge
        return _packed(error, None)


def _packed(error: Exception | None, result: object) -> bytes:
    if error is None:
        return pickle.dumps((None, result))
    # Where, and not what: the messages along the chain might quote an essay.
    error.add_note("In a worker process:\n" + "".join(traceback.format_tb(error.__traceback__)))
    try:
        message = pickle.dumps((error, None))
        pickle.loads(message)  # noqa: S301 - there are exceptions that go in and do not come out
    except Exception:  # noqa: BLE001 - and they fail in any way
        return pickle.dumps((RuntimeError(f"{type(error).__name__} in a worker process"), None))
    return message


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _limit(memory_mib: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold essays
    if memory_mib and sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        size = pages * resource.getpagesize() + memory_mib * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (size, size))
