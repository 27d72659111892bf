"""Where Kafka is, as an operator writes it. What needs a broker is in tests/engine."""

import pytest

from huleedu.platform.errors import Usage
from huleedu.platform.log.kafka import COMMON, Cluster


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
