"""The log on Apache Kafka: its address, its topics, and how it is read. `kafka_relay` brings there what is said.

A consumer is one thread that owns librdkafka's handle, and a bounded queue between it and the runner. Where a group
goes on is decided by its positions in the database alone: an assignment takes them, under a new fence, and starts
reading there. The offsets that are committed to the broker are a hint for lag tools.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import defaultdict, deque
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

import structlog
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclOperation
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.cimpl import NewTopic

from huleedu.contracts.messages import KEPT, MESSAGES, TOPICS
from huleedu.platform.errors import NotYet, Unavailable, Usage
from huleedu.platform.log import Backlog, Record, store
from huleedu.platform.log.kafka_lag import Ends
from huleedu.platform.log.kafka_relay import Relay

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence

    from confluent_kafka import Message

    from huleedu.platform.clock import Clock
    from huleedu.platform.db import Db, Tx

    Place = tuple[str, int]

FETCH = 2_000
BACKLOG = 4 * FETCH
"""Records read ahead of the runner. At more than these nothing is read, and while the runner hangs all is paused."""
HANGS_SECONDS = 1.0
"""Without a fetch. Pausing is for then only: it drops what is fetched, and librdkafka takes a second to begin again."""
POLL_SECONDS = 0.1
HINT_SECONDS = 1.0
STOP_SECONDS = 1.0
ADMIN_SECONDS = 10.0
LARGEST_BYTES = 4 * 2**20
"""Of one record with its key and headers: more than of any event that can be said (`store.LARGEST_BYTES`)."""
SETTINGS = {"retention.ms": str(int(KEPT.total_seconds() * 1000)), "max.message.bytes": str(LARGEST_BYTES)}
"""Of a topic; the rest is as the broker has it."""
COMMON: dict[str, Any] = {
    "client.id": "huleedu",
    "log_level": 4,
    "message.max.bytes": LARGEST_BYTES,
    "reconnect.backoff.max.ms": 1_000,  # by default a broker that is back is found after ten seconds
}
CONSUMER: dict[str, Any] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "queued.max.messages.kbytes": 8192,
    "fetch.queue.backoff.ms": 10,  # after so much was read ahead; by default it asks for nothing for a second
}
GROUPS: dict[str, dict[str, Any]] = {
    "consumer": {"group.protocol": "consumer"},
    "classic": {"group.protocol": "classic", "partition.assignment.strategy": "cooperative-sticky"},
}
"""The new protocol for groups, and the one of brokers before 4.0."""
STARTING = frozenset(
    {
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.NOT_CONTROLLER,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.INVALID_REPLICATION_FACTOR,
    }
)
"""What a broker says while it, or another of the cluster, is not there yet."""
NEEDED = {
    "topics": (
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        (AclOperation.READ, AclOperation.WRITE, AclOperation.DESCRIBE_CONFIGS),
    ),
    "groups": (KafkaError.GROUP_AUTHORIZATION_FAILED, (AclOperation.READ,)),
}
"""What the broker says to who may not even ask, and the rights that a user needs."""
UNTOLD = STARTING | {
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,  # of a group that reads topics which the user may not describe
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,  # who is the first to ask of any group has the offsets' topic made
    KafkaError.NOT_COORDINATOR,
}
"""Why the broker does not tell what a user may do: each is told by itself, or passes."""
HOPELESS = frozenset(
    {
        KafkaError._AUTO_OFFSET_RESET,  # noqa: SLF001 -- librdkafka's own errors are named so
        KafkaError._AUTHENTICATION,  # noqa: SLF001
        KafkaError._FATAL,  # noqa: SLF001 -- of the group's heartbeat, say; such an error's `fatal()` is False
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
    }
)
"""What reading does not recover from by itself: a position that the log does not have, no topic, no permission."""
log = structlog.get_logger()


class Cluster(NamedTuple):
    """Where Kafka is, and as whom: `kafka://[user:password@]host:port[,host:port][/prefix][?security.protocol=...]`.

    The prefix goes before the names of topics and groups, so that several installations share a cluster. The query
    holds librdkafka's own names for security (`security.protocol`, `sasl.*`, `ssl.*`) and `group.protocol`.
    """

    config: dict[str, Any]
    groups: dict[str, Any]
    prefix: str

    @classmethod
    def of(cls, url: str) -> Cluster:
        """Read the address."""
        parts = urlsplit(url)
        login, _, hosts = parts.netloc.rpartition("@")
        given = dict(parse_qsl(parts.query, keep_blank_values=True))
        groups = GROUPS.get(given.pop("group.protocol", "consumer"))
        unknown = [name for name in given if not name.startswith(("security.", "sasl.", "ssl."))]
        if not hosts or groups is None or unknown:
            raise Usage("Write the log's address like kafka://user:password@host:9092?security.protocol=SASL_SSL.")
        config = {**COMMON, "bootstrap.servers": hosts}
        if login:
            user, _, password = login.partition(":")
            config |= {"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN"}
            config |= {"sasl.username": unquote(user), "sasl.password": unquote(password)}
        prefix = parts.path.strip("/")
        return cls(config | given, groups, f"{prefix}." if prefix else "")


def create_topics(url: str, topics: Collection[str] = tuple(TOPICS.values())) -> None:
    """Create those of the topics that are not there. It may run twice, and twice at once."""
    cluster = Cluster.of(url)
    admin, there = _reach(cluster)
    missing = [
        NewTopic(f"{cluster.prefix}{said.topic}", said.partitions, -1, config=SETTINGS)  # -1: as the broker copies
        for said in MESSAGES
        if said.topic in topics and f"{cluster.prefix}{said.topic}" not in there
    ]
    making = admin.create_topics(missing, request_timeout=ADMIN_SECONDS) if missing else {}
    for name, creation in making.items():
        try:
            creation.result()
        except KafkaException as error:
            fault = error.args[0]
            if fault.code() != KafkaError.TOPIC_ALREADY_EXISTS:
                why = f"Kafka does not make {name}: {fault.str().rstrip('.')}."
                raise _kind(fault)(f"{why} Run `huleedu migrate` with a HULEEDU_LOG_URL whose user may.") from error


def _reach(cluster: Cluster) -> tuple[AdminClient, dict[str, Any]]:
    """Return whom to ask, and the topics that are there. Raise NotYet, or Usage for what waiting does not mend."""
    told: list[KafkaError] = []
    config: dict[str, Any] = cluster.config | {"error_cb": told.append, "log_level": 0}
    admin = AdminClient(config)
    try:
        return admin, admin.list_topics(timeout=ADMIN_SECONDS).topics
    except KafkaException as error:
        admin.poll(0)
        cause = [*told, error.args[0]][0]  # the first is why, the rest is that it was tried again
        raise _kind(cause)(f"Kafka cannot be reached: {cause.str()}. Mend HULEEDU_LOG_URL, or start it.") from error


def _kind(fault: KafkaError) -> type[Usage]:
    """Return Usage for a broker's last word; the client's own faults pass, and what a broker says while it starts."""
    last = fault.code() > 0 or fault.code() == KafkaError._AUTHENTICATION  # noqa: SLF001 -- librdkafka's name
    return Usage if last and fault.code() not in STARTING else NotYet


def examine_topics(url: str, groups: Iterable[str]) -> str:
    """Return what was found, or raise Usage: what is to be mended of the connection, the rights and every topic."""
    cluster = Cluster.of(url)
    admin, there = _reach(cluster)
    names = {f"{cluster.prefix}{said.topic}": said.partitions for said in MESSAGES}
    try:
        if denied := _denied(admin, list(names), [f"{cluster.prefix}{group}" for group in groups]):
            raise Usage(f"Give HULEEDU_LOG_URL's user {'; '.join(denied)}.")
        if missing := sorted(names.keys() - there.keys()):
            raise Usage(f"Topics are missing: {', '.join(missing)}. Run `huleedu migrate`.")
        faults = [
            f"{name} has {found} partitions and must have {wanted};"
            " nothing but a new prefix in HULEEDU_LOG_URL mends that"
            for name, wanted in names.items()
            if (found := len(there[name].partitions)) != wanted
        ]
        faults += _unlike(admin, names)
    except KafkaException as error:
        raise Usage(f"Kafka does not tell of its topics and groups: {error.args[0].str()}. Try again.") from error
    if faults:
        raise Usage(f"{'; '.join(faults)}.")
    return f"{len(names)} topics"


def _denied(admin: AdminClient, topics: list[str], groups: list[str]) -> list[str]:
    """Say what this user needs and has not. A topic that it may not describe looks as if it were not there."""
    asked: dict[str, Any] = {"include_authorized_operations": True, "request_timeout": ADMIN_SECONDS}
    of_topics = admin.describe_topics(TopicCollection(topics), **asked)
    of_groups = admin.describe_consumer_groups(groups, **asked)
    lacking: defaultdict[str, list[str]] = defaultdict(list)
    for kind, answers in (("topics", of_topics), ("groups", of_groups)):
        refusal, needed = NEEDED[kind]
        for name, answer in answers.items():
            try:
                allowed = answer.result().authorized_operations
            except KafkaException as error:
                if error.args[0].code() in UNTOLD - {refusal}:
                    continue
                if error.args[0].code() != refusal:
                    raise
                allowed = ()
            if rights := [right.name for right in needed if right not in allowed]:
                lacking[f"{', '.join(rights)} on the {kind}"].append(name)
    return [f"{rights} {', '.join(names)}" for rights, names in lacking.items()]


def _unlike(admin: AdminClient, names: Iterable[str]) -> list[str]:
    """Say which topics are kept otherwise than they must be."""
    topics = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names]
    faults = []
    for topic, told in admin.describe_configs(topics, request_timeout=ADMIN_SECONDS).items():
        has = {name: entry.value for name, entry in told.result().items()}
        if 0 <= int(has["retention.ms"]) < int(SETTINGS["retention.ms"]):
            faults.append(f"{topic.name} forgets too early: set its retention.ms to {SETTINGS['retention.ms']}")
        if "compact" in has["cleanup.policy"]:
            faults.append(f"{topic.name} is compacted and loses records: set its cleanup.policy to delete")
        if int(has["max.message.bytes"]) < LARGEST_BYTES:
            faults.append(f"{topic.name} refuses large records: set its max.message.bytes to {LARGEST_BYTES}")
    return faults


class KafkaLog:
    """Reads from Kafka, and brings there what is said."""

    def __init__(self, db: Db, url: str) -> None:
        self._db, self._url, self._cluster = db, url, Cluster.of(url)
        self._ends, self._relay = Ends(self._cluster), Relay(db, self._cluster)

    @asynccontextmanager
    async def consume(self, group: str, topics: Collection[str]) -> AsyncIterator[KafkaConsumer]:
        """Be one of the group's consumers; which partitions are this one's may change all the time."""
        consumer = KafkaConsumer(self._db, self._ends, group, topics)
        try:
            yield consumer
        finally:
            await consumer.aclose()

    async def tend(self, _clock: Clock) -> None:
        """Make the topics that are missing, as soon as the broker is there, and bring it the outbox."""
        await self.ready()  # soon over, also when the process is to stop meanwhile
        try:
            await asyncio.to_thread(create_topics, self._url)
        except NotYet:
            raise
        except Usage as error:  # the relay holds back what goes there, and nothing else
            log.warning("log.topics", cause=str(error))
        await self._relay.run()

    async def lag(self, group: str, topics: Collection[str]) -> Mapping[str, Backlog]:
        """Return what this group has not handled yet, by topic: the broker's ends beside the group's positions."""
        if not topics:
            return {}
        places = await self._db.read(lambda tx: store.positions(tx, group))
        parts = {said.topic: said.partitions for said in MESSAGES}
        starts = {(topic, part): places.get((topic, part), 0) for topic in topics for part in range(parts[topic])}
        return await asyncio.to_thread(self._ends.behind, starts)

    async def unsent(self) -> Backlog:
        """Return what no relay has brought to the broker yet."""
        return await self._db.read(store.unsent)

    async def ready(self) -> None:
        """Raise Unavailable unless the broker answers."""
        await asyncio.to_thread(self._ends.ready)


class KafkaConsumer:
    """One member of a group. The thread reads and tags; all that is handed out passes the fences on the event loop."""

    def __init__(self, db: Db, ends: Ends, group: str, topics: Iterable[str]) -> None:
        self._db, self._ends, self._group, self._topics = db, ends, group, topics
        self._cluster = ends.cluster
        self._loop = asyncio.get_running_loop()
        # On the event loop.
        self._fences: dict[Place, int] = {}
        self._queue: deque[Record] = deque()
        self._awake = asyncio.Event()
        self._failure: Exception | None = None
        self._handed: dict[Place, int] = {}
        # Written by the event loop, read by the thread.
        self._closing = self._rewound = False
        self._room = threading.Event()
        self._handled: dict[Place, int] = {}
        self._gone = 0
        # In the thread.
        self._mine: dict[Place, int] = {}
        self._told: dict[Place, int] = {}
        self._hinted = 0.0
        self._read = 0
        self._flowing: set[Place] = set()
        self._paused: set[Place] = set()
        self._thread = threading.Thread(target=self._run, name=f"kafka-{group}", daemon=True)
        self._thread.start()

    # -- on the event loop

    async def fetch(self) -> list[Record]:
        """Wait for records of assignments that still hold, and return what is there."""
        self._handled |= self._handed
        while True:
            await self._awake.wait()
            if self._failure is not None:
                raise self._failure
            records = [self._queue.popleft() for _ in range(min(FETCH, len(self._queue)))]
            self._gone += len(records)
            self._room.set()
            if not self._queue:
                self._awake.clear()
            records = [record for record in records if self._fences.get(_place(record)) == record.fence]
            if records:
                self._handed = {_place(record): record.offset + 1 for record in records}
                return records

    async def rewind(self) -> None:
        """Hand out nothing of the present assignments any more; the thread takes those anew that are still ours."""
        self._handed = {}
        self._fences.clear()
        self._rewound = True

    async def aclose(self) -> None:
        """Leave the group."""
        self._closing = True
        self._room.set()
        await asyncio.to_thread(self._thread.join, STOP_SECONDS)

    def _arrive(self, records: list[Record]) -> None:
        self._queue.extend(records)
        self._awake.set()

    def _fail(self, failure: Exception) -> None:
        self._failure = failure
        self._awake.set()

    async def _lease(self, places: Mapping[Place, str]) -> dict[Place, tuple[int, int]]:
        def take_all(tx: Tx) -> dict[Place, tuple[int, int]]:
            return {place: store.take(tx, self._group, *place, which) for place, which in sorted(places.items())}

        leases = await self._db.write(take_all)
        self._fences |= {place: fence for place, (fence, _) in leases.items()}
        return leases

    # -- in the thread

    def _run(self) -> None:
        try:
            prefix = self._cluster.prefix
            config = self._cluster.config | self._cluster.groups | CONSUMER | {"group.id": f"{prefix}{self._group}"}
            client = Consumer(config, logger=log)
            try:
                topics = [f"{prefix}{topic}" for topic in self._topics]
                client.subscribe(topics, on_assign=self._assign, on_revoke=self._revoke, on_lost=self._revoke)
                while not self._closing:
                    self._turn(client)
                self._hint(client)
            finally:
                client.close()
        except Exception as error:  # noqa: BLE001 -- whatever it was, the runner must hear of it
            self._loop.call_soon_threadsafe(self._fail, error)

    def _turn(self, client: Consumer) -> None:
        """Do what was asked for, then wait a moment for records and hand on those that are there."""
        if self._rewound:
            self._rewound = False
            for start in self._take(list(self._mine)):
                client.seek(start)
        first = client.poll(POLL_SECONDS)
        if first is not None:
            records = self._tagged([first])
            records += self._tagged(client.consume(FETCH, 0))
            self._read += len(records)
            self._loop.call_soon_threadsafe(self._arrive, records)
            self._flowing |= {_place(record) for record in records}
        self._pause(client)
        if time.monotonic() - self._hinted > HINT_SECONDS:
            self._hint(client)

    def _tagged(self, messages: Sequence[Message]) -> list[Record]:
        """Return the messages as records of their assignment; what is read of one that is over is somebody else's."""
        records = []
        for message in messages:
            if (error := message.error()) is not None:
                _complain(error)
                continue
            place = ((message.topic() or "").removeprefix(self._cluster.prefix), message.partition() or 0)
            if (fence := self._mine.get(place)) is not None:
                key = (message.key() or b"").decode(errors="replace")
                records.append(Record(*place, message.offset() or 0, key, message.value() or b"", fence))
        return records

    def _pause(self, client: Consumer) -> None:
        """Wait while the runner is far behind; stop reading while it hangs, without leaving the group for it.

        Partitions come while others are paused, so it is kept which are, and each is paused when it has begun to flow.
        """
        while self._flowing and not self._closing and self._read - self._gone > BACKLOG:
            if not self._room.wait(HANGS_SECONDS):
                break
            self._room.clear()
        behind = self._read - self._gone
        if behind > BACKLOG and self._flowing:
            client.pause(self._partitions(self._flowing))
            self._paused |= self._flowing
            self._flowing = set()
        elif behind < BACKLOG // 2 and self._paused:
            client.resume(self._partitions(self._paused))
            self._paused = set()

    def _assign(self, client: Consumer, partitions: list[TopicPartition]) -> None:
        prefix = self._cluster.prefix
        client.incremental_assign(self._take([(it.topic.removeprefix(prefix), it.partition) for it in partitions]))

    def _revoke(self, client: Consumer, partitions: list[TopicPartition]) -> None:
        gone = {(it.topic.removeprefix(self._cluster.prefix), it.partition) for it in partitions}
        if gone & self._paused:
            client.resume(self._partitions(gone & self._paused))  # librdkafka would remember it
        self._paused -= gone
        self._flowing -= gone
        for place in gone:
            self._mine.pop(place, None)
        client.incremental_unassign(partitions)

    def _take(self, places: Sequence[Place]) -> list[TopicPartition]:
        """Raise the fences of these partitions; return where to read on: without a position, from the beginning."""
        which = self._ends.which({topic for topic, _ in places})
        logs = {place: which[place[0]] for place in places}
        leases = asyncio.run_coroutine_threadsafe(self._lease(logs), self._loop).result()
        self._mine |= {place: fence for place, (fence, _) in leases.items()}
        return [
            TopicPartition(f"{self._cluster.prefix}{topic}", partition, position or OFFSET_BEGINNING)
            for (topic, partition), (_, position) in leases.items()
        ]

    def _partitions(self, places: Iterable[Place]) -> list[TopicPartition]:
        return [TopicPartition(f"{self._cluster.prefix}{topic}", partition) for topic, partition in places]

    def _hint(self, client: Consumer) -> None:
        """Tell the broker how far the group is, for those who watch its lag."""
        self._hinted = time.monotonic()
        handled = {place: offset for place, offset in dict(self._handled).items() if place in self._mine}
        news = [
            TopicPartition(f"{self._cluster.prefix}{topic}", partition, offset)
            for (topic, partition), offset in handled.items()
            if self._told.get((topic, partition)) != offset
        ]
        if news:
            with suppress(KafkaException):  # while partitions move; the next hint is as good
                client.commit(offsets=news, asynchronous=True)
                self._told = handled


def _place(record: Record) -> Place:
    return record.topic, record.partition


def _complain(error: KafkaError) -> None:
    """Stop reading, or tell what librdkafka is about to mend."""
    if error.code() in HOPELESS:
        raise Unavailable(f"The log cannot be read on: {error.str()}.")
    log.warning("log.kafka", cause=error.str())
