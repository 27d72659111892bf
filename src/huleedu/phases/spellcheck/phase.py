"""Spelling in English and Swedish, and grammar in English, as a phase. Imported in worker processes only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path

from huleedu.contracts.phase import Engine, Language, PhaseContext, PhaseName
from huleedu.contracts.results import SpellcheckResultV1, apply_corrections
from huleedu.phases import text as texts
from huleedu.phases.spellcheck import grammar, model
from huleedu.phases.spellcheck.lexicon import DATA, HABITS
from huleedu.phases.spellcheck.rank import WEIGHTS


def preload() -> None:
    """Load all dictionaries, so that processes forked from this one share them."""
    list(grammar.remarks("What it frees while it loads, the other dictionaries use."))
    for language in Language:
        model.check("A frist text in evry langauge: de ropade på hunnden.", PhaseContext(language=language))


@cache
def engine(language: Language) -> Engine:
    """Return what decides a result besides the text: the code, the dictionaries, the weights and the rules."""
    manifest = json.loads((DATA / "manifest.json").read_text("utf-8"))
    dictionaries = manifest["sha256"] | {path.name: _hash(path) for path in (WEIGHTS, HABITS)}
    dictionaries |= {package: version(package) for package in ("chunspell", "harper-py", "rapidfuzz")}
    code = (*Path(__file__).parent.glob("*.py"), Path(texts.__file__))
    return Engine(
        name="huleedu-spellcheck",
        version=f"1+{_hash(*sorted(code))}",
        language=language,
        dictionaries=dictionaries,
    )


def _hash(*paths: Path) -> str:
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in paths)).hexdigest()[:16]


def run(text: str, context: PhaseContext, inputs: Mapping[PhaseName, Mapping[str, object]]) -> SpellcheckResultV1:
    """Check one essay; `inputs` is empty, as this phase needs no other."""
    del inputs
    corrections = model.check(text, context)
    return SpellcheckResultV1(
        corrected_text=apply_corrections(text, corrections),
        corrections=tuple(corrections),
        metrics=model.metrics(text, corrections),
        engine=engine(context.language),
    )
