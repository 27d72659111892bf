"""Apache Kafka's address, and the topics there: how they are made and looked at."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclOperation
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.cimpl import NewTopic

from huleedu.contracts.messages import KEPT, MESSAGES, TOPICS
from huleedu.platform.errors import NotYet, Usage

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

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
                raise _kind(fault)(f"{why} Mend that and run `huleedu migrate`, as a user with CREATE.") from error


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
