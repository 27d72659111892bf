"""What runs in a worker process: one phase on one essay. Only here are the phases' libraries loaded."""

from __future__ import annotations

import importlib
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, cast

from huleedu.contracts.phase import PLAN, Engine, Language, PhaseContext, PhaseName
from huleedu.platform.errors import describe

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic import BaseModel

PRELOAD = "huleedu.phases.worker:preload"


class PhaseFault(Exception):
    """A phase raised something: trying again would not help. The text says what and where, without the essay's."""


class Phase(Protocol):
    """What `huleedu.phases.<name>.phase` offers."""

    def preload(self) -> None:
        """Load every dictionary, before the worker is forked."""

    def engine(self, language: Language) -> Engine:
        """Return who makes the results; the same engine makes the same of the same input."""

    def run(self, text: str, context: PhaseContext, inputs: Mapping[PhaseName, Mapping[str, object]]) -> BaseModel:
        """Assess one text."""


def phase(name: str) -> Phase:
    """Return a phase by its name, which is its folder's."""
    return cast("Phase", importlib.import_module(f"huleedu.phases.{name}.phase"))


def preload() -> None:
    """Load all that the phases need, once, before the workers are forked."""
    with _blamed():
        for name in PLAN:
            phase(name.value).preload()


def engine(name: str, language: str) -> str:
    """Return the phase's engine for a language, as JSON."""
    with _blamed():
        return phase(name).engine(Language(language)).model_dump_json()


def perform(name: str, text: str, context: str, inputs: Mapping[PhaseName, bytes]) -> tuple[bytes, dict[str, float]]:
    """Run a phase on a text; return its result, as JSON, and those figures that it has."""
    given: dict[PhaseName, Any] = {need: json.loads(result) for need, result in inputs.items()}
    with _blamed():
        result = phase(name).run(text, PhaseContext.model_validate_json(context), given)
        dumped = result.model_dump(mode="json")
        figures = {figure: value for figure, value in dumped["metrics"].items() if value is not None}
        return json.dumps(dumped, ensure_ascii=False).encode(), figures


@contextmanager
def _blamed() -> Iterator[None]:
    """Raise what a phase raises as its fault; that memory was short is the process's."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        raise PhaseFault(describe(error)) from error
