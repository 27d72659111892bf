"""From the command to the first answer of /readyz, beside an empty FastAPI application; and `huleedu --help`."""

import sys
import time
from collections.abc import Callable
from statistics import median

from _figures import duration
from _server import HULEEDU, PATIENCE_S, served, started_process, until_ready

from scripts.servers import free_ports

TIMES = 5
EMPTY = """
import sys
import fastapi, uvicorn
app = fastapi.FastAPI()
app.get("/readyz")(lambda: {})
uvicorn.run(app, port=int(sys.argv[1]), log_level="error")
"""


def serve() -> float:
    with served() as server:
        return server.ready_s


def empty() -> float:
    (port,), started = free_ports(1), time.perf_counter()
    process = started_process([sys.executable, "-c", EMPTY, str(port)])
    try:
        return until_ready(process, port) - started
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def run(*command: str) -> float:
    started = time.perf_counter()
    started_process(command).wait(PATIENCE_S)
    return time.perf_counter() - started


def usual(measure: Callable[[], float]) -> float:
    """Return the median of a few, after one that does not count: it compiles what is not compiled yet."""
    measure()
    return median(measure() for _ in range(TIMES))


def main() -> None:
    duration("huleedu serve until /readyz", usual(serve), ("an empty FastAPI", usual(empty)), "target: 2 s")
    bare = usual(lambda: run(sys.executable, "-c", "pass"))
    duration("huleedu --help", usual(lambda: run(HULEEDU, "--help")), ("an empty Python", bare))


if __name__ == "__main__":
    main()
