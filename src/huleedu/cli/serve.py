"""`huleedu serve`: all services in one process, one public listener, one for the operator's commands."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import sys
from typing import TYPE_CHECKING

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount
from typing_extensions import override

from huleedu.gateway.access import loopback
from huleedu.gateway.accounts import LOCAL
from huleedu.platform import telemetry
from huleedu.platform.app import connect, running
from huleedu.platform.embedded import CONTROL, opened
from huleedu.platform.errors import Usage
from huleedu.platform.keys import write_private
from huleedu.platform.settings import http_url
from huleedu.services import build_all

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import ASGIApp

    from huleedu.platform.app import Platform
    from huleedu.platform.settings import Settings

GRACE_SECONDS = 2
"""What requests in hand may still take when the server stops; with the workers' second it stays below five."""
LARGEST_FRAME = 4_096
"""Bytes: a client has a cursor and a ticket to send. By default anybody could have 16 MiB of brackets parsed."""
log = structlog.get_logger()


class Listener(uvicorn.Server):
    """A server that leaves signals to the process: there are two of them, and more to stop than sockets."""

    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them alone."""
        yield


async def run(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM."""
    telemetry.configure(settings.log_level)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    public_socket = _bind(settings.host, settings.port)
    async with opened(settings) as platform:
        services = build_all(platform)
        internal = Starlette(routes=[Mount(f"/{name}", app) for name, app in connect(platform, services).items()])
        control_socket = _bind("127.0.0.1", 0)
        control = settings.data_dir / CONTROL
        public = next(service.public for service in services if service.public)
        listeners = [_listener(public), _listener(internal)]
        gc.freeze()  # what is there now stays, and looking through it again and again took a third of the log's time
        async with running(platform, services):
            for bound in (public_socket, control_socket):
                bound.listen()  # whoever connects from now on is served, in a moment
            serving = asyncio.gather(
                _serve(listeners[0], public_socket, stop), _serve(listeners[1], control_socket, stop)
            )
            page = settings.public_url or _url(public_socket)
            write_private(control, {"url": _url(control_socket), "key": platform.keys.service, "page": page})
            await _welcome(platform, page)
            log.info("serve.listening", url=_url(public_socket), data=str(settings.data_dir))
            await stop.wait()
            log.info("serve.stopping")
            control.unlink(missing_ok=True)
            for service in services:
                if service.stopping:
                    service.stopping()
            for listener in listeners:
                listener.should_exit = True
            await serving
    log.info("serve.stopped")


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


async def _serve(listener: Listener, bound: socket.socket, stop: asyncio.Event) -> None:
    try:
        await listener.serve([bound])
    finally:
        stop.set()  # a listener that ends by itself ends the process: half a server helps nobody


def _listener(app: ASGIApp) -> Listener:
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="websockets-sansio",
        ws_max_size=LARGEST_FRAME,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    return Listener(config)


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise Usage(f"Cannot listen on {host}:{port}: {error.strerror}. Choose another --port.") from error
    return bound


def _url(bound: socket.socket) -> str:
    return http_url(*bound.getsockname()[:2])
