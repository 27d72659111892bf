"""A phase that does what the essay tells it to, put in the place of both phases of worker processes.

An essay is a command and, for some, a path: `die`, `hang`, `fail`, `exhaust`; `die-once PATH` dies if there is no such
file yet; `wait PATH` writes to a FIFO and so waits for somebody who reads it. Every run adds a line to the file that
the task (the essay instructions) names.
"""

import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from pydantic import BaseModel

from huleedu.contracts.phase import PLAN, Engine, Language, PhaseContext, PhaseName

VERSIONS = ["1"]


class Result(BaseModel):
    metrics: dict[str, float]
    given: dict[str, object]


class Exhausted(MemoryError):
    """What a process that has no memory left raises."""


def install() -> None:
    """Preload this module as every phase."""
    for name in PLAN:
        module = ModuleType(f"huleedu.phases.{name}.phase")
        module.__dict__.update(engine=engine, run=run, preload=install)
        sys.modules[module.__name__] = module


def install_newer() -> None:
    """Preload the next version of it."""
    install()
    VERSIONS.append("2")


def engine(language: Language) -> Engine:
    return Engine(name="quirky", version=VERSIONS[-1], language=language)


def run(text: str, context: PhaseContext, inputs: Mapping[PhaseName, Mapping[str, object]]) -> Result:
    with Path(context.essay_instructions).open("a") as journal:
        journal.write(f"{text}\n")
    command, _, path = text.partition(" ")
    match command:
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "die-once" if not Path(path).exists():
            Path(path).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        case "hang":
            time.sleep(3600)
        case "wait":
            Path(path).write_text(str(os.getpid()))
        case "exhaust":
            raise Exhausted
        case "fail":
            raise LookupError(text)
    return Result(metrics={"length": len(text)}, given={str(need): given["metrics"] for need, given in inputs.items()})
