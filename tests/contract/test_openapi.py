"""The committed description of the public interface is the one that the code gives, and names no owner."""

import json
from pathlib import Path

from huleedu.cli.topology import openapi

COMMITTED = Path(__file__).parents[2] / "docs/reference/openapi.json"
OPEN = {"/healthz", "/readyz"}


def test_the_committed_description_is_fresh() -> None:
    assert json.loads(COMMITTED.read_text()) == openapi(), "run `make openapi`"


def test_no_answer_and_no_request_names_an_owner() -> None:
    assert "user_id" not in json.dumps(openapi())


def test_every_route_says_what_a_stranger_is_answered() -> None:
    paths = openapi()["paths"]
    closed = [operation for path in set(paths) - OPEN for operation in paths[path].values()]
    assert len(closed) == 18
    assert all("401" in operation["responses"] for operation in closed)
