"""What goes over the wire is what lies in wire/: changing a file there is a new version, or a deliberate diff."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel, ValidationError

from huleedu.contracts.messages import MESSAGES, Said, decode
from huleedu.contracts.phase import ELSBatchPhaseOutcomeV1, Engine, PhaseContext

WIRE = Path(__file__).parent / "wire"
EACH = pytest.mark.parametrize("said", MESSAGES, ids=lambda said: said.message.__name__)
TELLING = {"name", "names", "text", "title", "content", "email"}
"""Words in the names of fields that would hold what a pupil wrote or is called."""
HARMLESS = {(ELSBatchPhaseOutcomeV1, "phase_name"), (Engine, "name")}


def golden(said: Said) -> bytes:
    return (WIRE / f"{said.message.__name__}.json").read_bytes()


@EACH
def test_what_was_written_once_is_read_and_written_the_same(said: Said) -> None:
    envelope = decode(said.topic, golden(said))
    assert type(envelope.data) is said.message
    assert json.loads(envelope.model_dump_json()) == json.loads(golden(said))
    assert envelope.version == envelope.data.subject_version


@EACH
def test_what_a_later_version_adds_is_not_minded_and_what_is_missing_is(said: Said) -> None:
    more = json.loads(golden(said)) | {"new": 1}
    more["data"] |= {"new": {"nested": True}}
    assert decode(said.topic, json.dumps(more).encode()) == decode(said.topic, golden(said))
    del more["data"]["batch_id"]
    with pytest.raises(ValidationError):
        decode(said.topic, json.dumps(more).encode())


def test_every_file_is_a_message_of_today() -> None:
    assert {path.stem for path in WIRE.iterdir()} == {said.message.__name__ for said in MESSAGES}


def fields(model: Any) -> Iterator[tuple[type[BaseModel], str]]:  # noqa: ANN401 -- an annotation
    """Return every field that a message holds, at whatever depth."""
    if isinstance(model, type) and issubclass(model, BaseModel):
        for name, field in model.model_fields.items():
            yield model, name
            yield from fields(field.annotation)
    for inner in get_args(model):
        yield from fields(inner)


@EACH
def test_no_message_holds_a_name_or_a_text(said: Said) -> None:
    held = set(fields(said.message)) - HARMLESS
    assert not {name for _, name in held if TELLING & set(name.replace("text_storage_id", "id").split("_"))}
    # The one text that travels is the teacher's own: the task, and words that the checker shall know.
    assert {model for model, name in held if name in {"essay_instructions", "known_words"}} <= {PhaseContext}
