"""What Apache Kafka is asked of its topics: which they are, and how far groups are behind the ends of them."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import structlog
from confluent_kafka import Consumer, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec

from huleedu.platform.errors import Unavailable
from huleedu.platform.log import Backlog, store

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from concurrent.futures import Future

    from huleedu.platform.log.kafka_topics import Cluster

    Place = tuple[str, int]

ANSWER_SECONDS = 0.6
"""What the broker may take for each of two answers, and before them to be found by a new client."""
WHICH_SECONDS = 5.0
LOOK: dict[str, Any] = {
    "group.id": "huleedu-lag",  # it joins none, but must name one
    "enable.auto.commit": False,
    "auto.offset.reset": "earliest",
    "queued.min.messages": 1,
    "fetch.message.max.bytes": 2**16,  # of each partition; what is not in the first answer comes too late
}
log = structlog.get_logger()


class Ends:
    """Asks a broker which topics it has, and where their partitions end."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._one = threading.Lock()

    @property
    def _admin(self) -> AdminClient:
        with self._one:  # who asked by a client that another thread's replaces gets no answer
            return self._client

    @cached_property
    def _client(self) -> AdminClient:
        admin = AdminClient(self.cluster.config, logger=log)
        with suppress(KafkaException):  # whoever asks next is told that the broker does not answer
            admin.list_topics(timeout=ANSWER_SECONDS)  # else one in seven new clients first asks in vain, for a second
        return admin

    def ready(self) -> None:
        """Raise Unavailable unless the broker answers, and soon."""
        try:
            self._admin.list_topics(timeout=ANSWER_SECONDS)
        except KafkaException as error:
            raise Unavailable("Kafka does not answer.") from error

    def which(self, topics: Collection[str]) -> dict[str, str]:
        """Return the ids of these topics: one that was deleted and made again has another.

        Raises:
            Unavailable: if the broker does not say, or has not all of them.
        """
        names = TopicCollection([f"{self.cluster.prefix}{topic}" for topic in topics])
        told = self._admin.describe_topics(names, request_timeout=WHICH_SECONDS)
        try:
            return {topic: str(told[f"{self.cluster.prefix}{topic}"].result().topic_id) for topic in topics}
        except KafkaException as error:
            raise Unavailable(f"Kafka does not say which topics it has: {error.args[0].str()}.") from error

    def behind(self, starts: Mapping[Place, int]) -> dict[str, Backlog]:
        """Return by topic what comes after these places, and since when; it waits for the broker, but not for long."""
        new = [place for place, start in starts.items() if not start]
        ends, begins = self._told((starts, OffsetSpec.latest()), (new, OffsetSpec.earliest()))  # type: ignore[no-untyped-call]  # the library's
        if min([*ends.values(), *begins.values()]) < 0:  # how the library tells that the broker has not answered
            raise Unavailable("Kafka does not say where its partitions end.")
        starts = {**starts, **begins}
        counts = {place: max(0, ends[place] - start) for place, start in starts.items()}
        oldest = self._oldest({place: start for place, start in starts.items() if counts[place]})
        found: dict[str, Backlog] = {}
        for topic in {topic for topic, _ in starts}:
            size = sum(count for place, count in counts.items() if place[0] == topic)
            since = min((at for place, at in oldest.items() if place[0] == topic), default=None)
            found[topic] = Backlog(min(store.MOST, size), since)
        return found

    def _told(self, *asked: tuple[Iterable[Place], OffsetSpec]) -> list[dict[Place, int]]:
        """Return the offsets that are asked for. A partition that no broker leads for a moment is asked for again."""
        until = time.monotonic() + ANSWER_SECONDS
        while True:
            told = [self._ask(*one) for one in asked]
            try:
                return [{self._place(at.topic, at.partition): it.result().offset for at, it in one} for one in told]
            except KafkaException as error:
                if time.monotonic() > until:
                    why = error.args[0].str()
                    raise Unavailable(f"Kafka does not say where its partitions end: {why}.") from error
            with suppress(KafkaException):
                self._admin.list_topics(timeout=ANSWER_SECONDS)  # who leads them now

    def _ask(self, places: Iterable[Place], spec: OffsetSpec) -> Iterable[tuple[TopicPartition, Future[Any]]]:
        asked = {self._at(place): spec for place in places}
        return self._admin.list_offsets(asked, request_timeout=ANSWER_SECONDS).items() if asked else ()

    def _oldest(self, starts: Mapping[Place, int]) -> dict[Place, datetime]:
        """Return when the record at each place was brought there, of those that come in time."""
        found: dict[Place, datetime] = {}
        if not starts:
            return found
        reader = Consumer(self.cluster.config | LOOK, logger=log)
        try:
            reader.assign([self._at(place, start) for place, start in starts.items()])
            until = time.monotonic() + ANSWER_SECONDS
            while len(found) < len(starts) and (left := until - time.monotonic()) > 0:
                message = reader.poll(left)
                if message is not None and message.error() is None:
                    place = self._place(message.topic() or "", message.partition() or 0)
                    found.setdefault(place, datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC))
                    reader.pause([self._at(place)])
        finally:
            reader.close()
        return found

    def _at(self, place: Place, start: int = 0) -> TopicPartition:
        return TopicPartition(f"{self.cluster.prefix}{place[0]}", place[1], start)

    def _place(self, topic: str, partition: int) -> Place:
        return topic.removeprefix(self.cluster.prefix), partition
