"""Where Kafka is, as an operator writes it, and how it is written to. What needs a broker is in tests/engine."""

from typing import Any

import pytest
from confluent_kafka import KafkaException, Producer

from huleedu.platform.errors import NotYet, Usage
from huleedu.platform.log import kafka_topics
from huleedu.platform.log.kafka_relay import PRODUCER
from huleedu.platform.log.kafka_topics import COMMON, Cluster, create_topics

NOBODY = "kafka://127.0.0.1:1"


@pytest.mark.parametrize(
    ("url", "config", "prefix"),
    [
        ("kafka://one:9092", {"bootstrap.servers": "one:9092"}, ""),
        ("kafka://one:9092,two:9093/", {"bootstrap.servers": "one:9092,two:9093"}, ""),
        ("kafka://one:9092/school-a", {"bootstrap.servers": "one:9092"}, "school-a."),
        (
            "kafka://ann:p%40ss%2Fword@one:9092",
            {
                "bootstrap.servers": "one:9092",
                "security.protocol": "SASL_SSL",
                "sasl.mechanism": "PLAIN",
                "sasl.username": "ann",
                "sasl.password": "p@ss/word",
            },
            "",
        ),
        (
            "kafka://one:9092?security.protocol=SSL&ssl.ca.location=/etc/ca.pem",
            {"bootstrap.servers": "one:9092", "security.protocol": "SSL", "ssl.ca.location": "/etc/ca.pem"},
            "",
        ),
    ],
)
def test_an_address_says_where_and_as_whom(url: str, config: dict[str, str], prefix: str) -> None:
    cluster = Cluster.of(url)
    assert (cluster.config, cluster.prefix) == (COMMON | config, prefix)
    assert cluster.groups == {"group.protocol": "consumer"}


@pytest.mark.parametrize(
    "url", ["kafka://", "kafka:///school", "kafka://one?enable.auto.commit=true", "kafka://one?group.protocol=new"]
)
def test_an_address_that_would_change_what_is_promised_is_refused(url: str) -> None:
    with pytest.raises(Usage):
        Cluster.of(url)


def test_a_broker_that_is_not_there_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_topics, "ADMIN_SECONDS", 0.5)
    with pytest.raises(NotYet, match="cannot be reached"):
        create_topics(NOBODY)


@pytest.mark.parametrize("weaker", [{"max.in.flight.requests.per.connection": 10}, {"acks": "1"}])
def test_records_are_written_in_order_and_to_every_copy(weaker: dict[str, Any]) -> None:
    settings = Cluster.of(NOBODY).config | PRODUCER
    Producer(settings)
    with pytest.raises(KafkaException, match="idempotence"):  # nothing but that makes librdkafka refuse these
        Producer(settings | weaker)
