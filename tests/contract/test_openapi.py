"""The committed description of the public interface is the one that the code gives, and names no owner."""

import json
from pathlib import Path
from typing import get_args

from huleedu.cli.topology import openapi
from huleedu.contracts.notice import FeedEvent, FeedFrame

COMMITTED = Path(__file__).parents[2] / "docs/reference/openapi.json"
OPEN = {"/healthz", "/readyz"}


def test_the_committed_description_is_fresh() -> None:
    assert json.loads(COMMITTED.read_text()) == openapi(), "run `make openapi`"


def test_no_answer_and_no_request_names_an_owner() -> None:
    assert "user_id" not in json.dumps(openapi())


def test_every_route_says_what_a_stranger_is_answered() -> None:
    paths = openapi()["paths"]
    closed = [operation for path in set(paths) - OPEN for operation in paths[path].values()]
    assert len(closed) == 21
    assert all("401" in operation["responses"] for operation in closed)


def test_every_entry_of_the_feed_is_one_frame_under_a_plain_name() -> None:
    told = [get_args(frame.model_fields["event"].annotation)[0] for frame in get_args(FeedFrame)]
    assert sorted(told) == sorted(FeedEvent)
    schemas = openapi()["components"]["schemas"]
    for frame, event in zip(get_args(FeedFrame), told, strict=True):
        assert frame.__name__ == "".join(word.capitalize() for word in event.split("_"))
        assert schemas["ServerFrame"]["discriminator"]["mapping"][event] == f"#/components/schemas/{frame.__name__}"
    assert set(schemas["ClientFrame"]["discriminator"]["mapping"]) == {"hello", "pong"}


def test_no_name_is_split_into_what_is_sent_and_what_is_answered() -> None:
    assert not [name for name in openapi()["components"]["schemas"] if name.endswith(("-Input", "-Output"))]
