"""`huleedu serve`: all services in one process, or some; a public listener, and one for services and commands."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import random
import signal
import socket
import sys
from functools import partial
from typing import TYPE_CHECKING, Self

import structlog
import uvicorn
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, Router
from typing_extensions import override

from huleedu.gateway.access import loopback
from huleedu.gateway.accounts import LOCAL
from huleedu.gateway.connection import Connection
from huleedu.platform import telemetry
from huleedu.platform.app import connect, running, spare_collector
from huleedu.platform.errors import Problem, Retry, Unavailable, Usage
from huleedu.platform.http import NOT_READY, problem_response
from huleedu.platform.installation import CONTROL, opened, prepare_database, require_shared, traced
from huleedu.platform.keys import write_private
from huleedu.platform.metrics import scraped
from huleedu.platform.readiness import Readiness
from huleedu.platform.settings import http_url
from huleedu.services import ROSTER, build_all

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from starlette.requests import Request
    from starlette.types import ASGIApp

    from huleedu.platform.app import Platform
    from huleedu.platform.service import Service
    from huleedu.platform.settings import Settings

STOP_SECONDS = 4.5
"""What stopping may take; containers and service managers kill what takes ten."""
GRACE_SECONDS = 2
"""What requests in hand may still take of it."""
LARGEST_FRAME = 4_096
"""Bytes: a client has a cursor and a ticket to send. By default anybody could have 16 MiB of brackets parsed."""
KEEP_ALIVE_SECONDS = 60
"""Longer than any client of ours keeps an idle connection: none is closed under a request."""
WAIT_SECONDS = (0.5, 1.5)
log = structlog.get_logger()


class Listener(uvicorn.Server):
    """A server that leaves signals to the process: there are two of them, and more to stop than sockets."""

    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them alone."""
        yield

    def begin(self, bound: socket.socket, stop: asyncio.Event) -> Self:
        """Serve on this socket. One that ends by itself ends the process: half a server helps nobody."""
        bound.listen()  # whoever connects from now on is served, in a moment
        self.url = _url(bound)
        self.serving = asyncio.ensure_future(self.serve([bound]))
        self.serving.add_done_callback(lambda _done: stop.set())
        return self


async def run(settings: Settings, names: Collection[str] = tuple(ROSTER)) -> None:
    """Serve until SIGINT or SIGTERM; that it lives, and what it waits for, is told from the first moment."""
    whole = set(names) == set(ROSTER)
    if not whole:
        require_shared(settings)
    telemetry.configure(settings.log_level)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, _stop, stop)
    public = _bind(settings.host, settings.port) if "gateway" in names else None
    internal = _bind(settings.internal_host, settings.internal_port, "HULEEDU_INTERNAL_PORT")
    waiting = problem_response(Unavailable("Not ready yet: database. Try again in a moment.", code=NOT_READY))
    inner = Router([Route("/healthz", _alive)], default=waiting)
    listeners = [_listener(inner).begin(internal, stop)]
    with traced("huleedu" if whole else "-".join(("huleedu", *names))):
        async with opened(settings, prepare=partial(_patiently, stop)) as platform:
            services = build_all(platform, names)
            served = _internal(platform, services)
            if lost := [name for name, peer in platform.peers.items() if not peer.connected]:
                raise Usage(f"HULEEDU_PEERS does not say where {', '.join(lost)} is: add {lost[0]}=http://HOST:PORT.")
            spare_collector()
            async with running(platform, services):
                inner.default = served
                apps = [service.public for service in services if service.public]
                listeners += [_listener(app).begin(public, stop) for app in apps if public]
                await _listen(platform, services, listeners, stop)
    log.info("serve.stopped")


def _stop(stop: asyncio.Event) -> None:
    """Begin to stop. Who hangs then says where and ends all the same: that is as safe as being killed."""
    if not stop.is_set():
        stop.set()
        faulthandler.dump_traceback_later(STOP_SECONDS, exit=True)


async def _listen(
    platform: Platform, services: Sequence[Service], listeners: Sequence[Listener], stop: asyncio.Event
) -> None:
    """Tell where the internal listener and, if there is one, the public one serve; end them when it is time to stop."""
    settings, url, internal = platform.settings, listeners[-1].url, listeners[0].url
    page, control = settings.public_url or url, settings.data_dir / CONTROL
    if settings.alone:
        write_private(control, {"url": internal, "key": platform.keys.service, "page": page})
    if len(services) == len(ROSTER):
        await _welcome(platform, page)
    data = str(settings.data_dir) if settings.alone else None
    log.info("serve.listening", url=url, internal=internal, services=[service.name for service in services], data=data)
    await stop.wait()
    log.info("serve.stopping")
    if settings.alone:
        control.unlink(missing_ok=True)
    for service in services:
        if service.stopping:
            service.stopping()
    for listener in listeners:
        listener.should_exit = True
    await asyncio.gather(*(listener.serving for listener in listeners))


async def _patiently(stop: asyncio.Event, settings: Settings) -> None:
    """Prepare the database as soon as its server is there: it does not matter what is started first."""
    while True:
        try:
            await prepare_database(settings)
        except Retry as error:
            log.warning("serve.waiting", cause=str(error))
        else:
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), random.uniform(*WAIT_SECONDS))  # noqa: S311 -- jitter
            raise SystemExit


async def _alive(_request: Request) -> Response:
    return JSONResponse({"status": "alive"})


def _internal(platform: Platform, services: Sequence[Service]) -> ASGIApp:
    """Return what the internal listener serves: each service below its name, one that is by itself also without it."""
    readiness = Readiness(platform)

    async def ready(_request: Request) -> Response:
        try:
            missing = await readiness()
        except Problem as problem:
            return problem_response(problem)
        return JSONResponse({"status": "ready", "missing": missing})

    async def metrics(_request: Request) -> Response:
        return Response(await scraped(platform, services), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    apps = connect(platform, services)
    mounts = [Mount(f"/{name}", app) for name, app in apps.items()]
    if len(apps) == 1:
        mounts += [Mount("", app) for app in apps.values()]
    return Starlette(routes=[Route("/readyz", ready), Route("/metrics", metrics), *mounts])


async def _welcome(platform: Platform, page: str) -> None:
    """On a machine of one's own, print a sign-in link: never to the log, which is kept and read by others."""
    if platform.settings.public_url or not loopback(platform.settings.host):
        return
    gateway = platform.peer("gateway")
    accounts = (await gateway.ask("GET", "/internal/v1/users"))["items"]
    if not accounts:
        await gateway.ask("POST", "/internal/v1/users", json=LOCAL)
    elif [account["email"] for account in accounts] != [LOCAL["email"]] or accounts[0]["disabled"]:
        return
    link = await gateway.ask("POST", "/internal/v1/users/link", json={"email": LOCAL["email"]})
    told = "Open this link to sign in. It works once, within a day:"
    sys.stdout.write(f"\nHuleEdu is at {page}\n{told}\n\n    {page}{link['path']}\n\n")
    sys.stdout.flush()


def _listener(app: ASGIApp) -> Listener:
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws=Connection,
        ws_max_size=LARGEST_FRAME,
        ws_per_message_deflate=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    return Listener(config)


def _bind(host: str, port: int, setting: str = "--port") -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise Usage(f"Cannot listen on {host}:{port}: {error.strerror}. Choose another {setting}.") from error
    return bound


def _url(bound: socket.socket) -> str:
    return http_url(*bound.getsockname()[:2])
