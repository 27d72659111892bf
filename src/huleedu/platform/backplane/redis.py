"""The backplane between processes, on Redis.

Within a process messages are delivered as ever. ONE connection brings them, for all subscribers together: a channel is
subscribed to for the first who wants it and let go of with the last. What is said while that connection is down is
lost; when the next one has all channels again, `restored` tells.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict, deque
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import structlog
from limits.aio.storage import RedisStorage
from redis._parsers.hiredis import NOT_ENOUGH_DATA
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from typing_extensions import override

from huleedu.platform.backplane.memory import MemoryBackplane
from huleedu.platform.clock import Clock
from huleedu.platform.errors import Unavailable, Usage
from huleedu.platform.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from redis.asyncio.connection import AbstractConnection

    from huleedu.platform.backplane import Hear

ANSWER_SECONDS = 1.0
"""Redis answers in less than a thousandth of this; what waits for it is a hint, and can do without."""
AGAIN_SECONDS = (0.05, 0.5)
"""Between two tries to connect: at random, or all processes would come back at once."""
REST_SECONDS = 1.0
"""After a publication that failed, the next ones fail at once: nobody waits for each hint of a long list."""
CONNECTIONS = 16
"""For publishing and counting; who finds all of them busy waits for the next one."""
AT_ONCE = 100
"""Notifications in one question: what a long list costs is waiting for each answer."""
OPTIONS: dict[str, Any] = {
    "protocol": 2,  # for subscriptions RESP3 costs more
    "decode_responses": True,
    "socket_connect_timeout": ANSWER_SECONDS,
    "socket_timeout": ANSWER_SECONDS,
    "retry": Retry(NoBackoff(), 1),  # a connection may have died unseen; beyond that, see REST_SECONDS
}
log = structlog.get_logger()


class RedisClient(MemoryBackplane):
    """Delivers to the subscribers of every process that uses the same Redis."""

    def __init__(self, client_id: str, redis_url: str) -> None:
        super().__init__(client_id)
        self._pool: BlockingConnectionPool = BlockingConnectionPool.from_url(
            redis_url, client_name=client_id, max_connections=CONNECTIONS, timeout=ANSWER_SECONDS, **OPTIONS
        )
        self._redis = Redis(connection_pool=self._pool)
        shared: Any = self._pool  # which the storage passes on, whatever its annotation says
        self.counters = RedisStorage(redis_url, wrap_exceptions=True, implementation="redispy", connection_pool=shared)
        self._tasks = Tasks(Clock())
        self._in_force: dict[str, asyncio.Event] = {}
        self._connection: AbstractConnection | None = None
        self._unanswered: deque[asyncio.Event] = deque()
        self._lost = False
        self._resting_until = 0.0

    @override
    async def start(self) -> None:
        await super().start()
        self._lost = False
        self._tasks.start("backplane.listen", self._listen)

    @override
    async def aclose(self) -> None:
        await self._tasks.aclose()
        await self._pool.aclose()
        await super().aclose()

    @override
    async def publish(self, channel: str, message: str) -> int:
        (received,) = await self._publish([(channel, message)])
        return received

    @override
    async def publish_user_notifications(self, notifications: Sequence[tuple[str, str]]) -> None:
        told = [(self.get_user_channel(user_id), notification) for user_id, notification in notifications]
        for first in range(0, len(told), AT_ONCE):
            await self._publish(told[first : first + AT_ONCE])

    async def _publish(self, messages: Sequence[tuple[str, str]]) -> list[int]:
        """Send these messages and return for each how many received it, in one question and one answer."""
        self._require_started()
        if time.monotonic() >= self._resting_until:
            try:
                async with self._redis.pipeline(transaction=False) as line:
                    for channel, message in messages:
                        line.execute_command("PUBLISH", channel, message)
                    received: list[int] = await line.execute()
            except RedisError as error:
                self._resting_until = time.monotonic() + REST_SECONDS
                log.warning("backplane.not_published", client=self.client_id, cause=f"{type(error).__name__} {error}")
            else:
                return received
        raise Unavailable("Redis cannot be reached; try again in a moment.")

    @override
    @asynccontextmanager
    async def subscribe(self, channel: str, hear: Hear) -> AsyncIterator[None]:
        async with super().subscribe(channel, hear):
            try:
                await self._acknowledged(channel)
                yield
            finally:
                if self._subscribers[channel].total() <= 1:
                    self._in_force.pop(channel, None)
                    await self._say("UNSUBSCRIBE", [channel])

    async def examine(self) -> str:
        """Return what was found, or raise Usage: what is to be mended."""
        try:
            await self._redis.publish("doctor", "")
            version = (await self._redis.info("server"))["redis_version"]
        except RedisError as error:
            cause = str(error).rstrip(".")
            raise Usage(f"The Redis that HULEEDU_BACKPLANE_URL names cannot be used: {cause}.") from error
        finally:
            await self._pool.aclose()
        return f"Redis {version}"

    async def _acknowledged(self, channel: str) -> None:
        """Wait until Redis has the subscription, but not for long: it may be away."""
        if channel not in self._in_force:
            self._in_force[channel] = asyncio.Event()
            if self._connection:
                await self._ask([channel])
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._in_force[channel].wait()
        except TimeoutError:  # it hangs
            if self._connection:
                await self._connection.disconnect(nowait=True)

    async def _ask(self, channels: Iterable[str]) -> None:
        """Subscribe. Answers come in the order of questions, so each finds whom it is for."""
        self._unanswered += (self._in_force[channel] for channel in channels)
        await self._say("SUBSCRIBE", channels)

    async def _say(self, command: str, channels: Iterable[str]) -> None:
        if self._connection and self._connection.is_connected:
            with suppress(RedisError):  # the listener finds that too, and begins anew
                await self._connection.send_command(command, *channels)

    async def _listen(self) -> None:
        """Hold the connection that brings messages, and have another one when it is lost."""
        while True:
            connection: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]
            connection.socket_timeout = None  # it may be quiet for hours
            try:
                await self._follow(connection)
            except (RedisError, TimeoutError) as error:
                if not self._lost:
                    log.warning("backplane.lost", client=self.client_id, cause=f"{type(error).__name__} {error}")
            finally:
                self._connection, self._lost = None, True
                await connection.disconnect(nowait=True)
            await asyncio.sleep(random.uniform(*AGAIN_SECONDS))  # noqa: S311 -- jitter

    async def _follow(self, connection: AbstractConnection) -> None:
        async with asyncio.timeout(ANSWER_SECONDS):
            await connection.connect()  # type: ignore[no-untyped-call]
        self._connection, self._lost, self._resting_until = connection, False, 0.0
        self._unanswered.clear()
        if channels := list(self._in_force):
            for in_force in self._in_force.values():
                in_force.clear()
            last = self._in_force[channels[-1]]
            await self._ask(channels)
            while not last.is_set():
                await self._take_all(connection)
        self._restored.set()
        while True:
            await self._take_all(connection)

    async def _take_all(self, connection: AbstractConnection) -> None:
        """Take what has come, up to the last message; awaiting redis-py for each costs more than reading them."""
        parser: Any = connection._parser  # noqa: SLF001 -- it has no word for what has come already
        together = defaultdict[str, list[str]](list)
        said = await connection.read_response()
        try:
            while said is not NOT_ENOUGH_DATA:
                if isinstance(said, RedisError):
                    raise said
                kind, channel, content = said
                if kind == "message":
                    together[channel].append(content)
                elif kind == "subscribe":
                    self._unanswered.popleft().set()
                said = parser._reader.gets()  # noqa: SLF001
        finally:  # what came before an error has come
            for channel, messages in together.items():
                self._deliver(channel, messages)
