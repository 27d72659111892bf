"""Every topic has somebody who says it and somebody who hears it, and nobody else says it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import huleedu
from huleedu.cli.topology import render, services
from huleedu.contracts.messages import ERASERS, MESSAGES
from huleedu.platform.db import metadata
from huleedu.services import ROSTER

SOURCE = Path(huleedu.__file__).parent
NAMES = {said.message.__name__: said for said in MESSAGES}


def calls(under: Path) -> Iterator[tuple[Path, ast.Call, str]]:
    """Return every call of a plain name in the code (also of what validates into it), but not in migrations."""
    for path in under.rglob("*.py"):
        if "migrations" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                validates = isinstance(node.func, ast.Attribute) and node.func.attr == "model_validate"
                made = getattr(node.func, "value", None) if validates else node.func
                if isinstance(made, ast.Name):
                    yield path, node, made.id


def test_every_topic_is_heard_by_somebody() -> None:
    heard = {message for service in services() for message in service.hears}
    assert heard == {said.message for said in MESSAGES}
    assert len({said.topic for said in MESSAGES}) == len(MESSAGES)
    assert len({service.group for service in services()}) == len(ROSTER)


def test_every_message_is_made_where_the_table_says_and_nowhere_else() -> None:
    made = {(path.relative_to(SOURCE).parts[0], name) for path, _, name in calls(SOURCE) if name in NAMES}
    expected = {("platform" if by == "*" else by, said.message.__name__) for said in MESSAGES for by in said.by}
    assert made == expected


def test_whoever_keeps_something_of_a_batch_hears_that_it_is_erased() -> None:
    for service in services():
        assert (service.ends is not None) == (service.name in ERASERS), service.name
        assert service.ends in service.hears | {None}


def test_the_printed_topology_names_everything() -> None:
    printed = render()
    assert all(said.topic in printed for said in MESSAGES)
    assert all(name in printed for name in ROSTER)


def test_a_table_is_named_once_where_tables_are_held() -> None:
    named = [
        (node.args[0].value, path.name)
        for path, node, name in calls(SOURCE)
        if name == "Table" and isinstance(node.args[0], ast.Constant) and isinstance(node.args[1], ast.Name)
    ]
    assert sorted(str(table) for table, _ in named) == sorted(metadata.tables)
    assert {file for _, file in named} == {"store.py", "feed.py", "parking.py"}


def test_a_message_or_batch_without_owner_cannot_be_kept() -> None:
    owned = [table for table in metadata.tables.values() if "user_id" in table.columns]
    assert {"batch", "batch_status_view", "work", "feed"} <= {table.name for table in owned}
    assert not any(table.columns["user_id"].nullable for table in owned)
