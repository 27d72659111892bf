"""Descriptive measures as a phase. Imported in worker processes only."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from huleedu.contracts.phase import Engine, Language, PhaseContext, PhaseName
from huleedu.contracts.results import CorrectionKind, NlpResultV1, SpellcheckResultV1
from huleedu.phases import text as texts
from huleedu.phases.nlp import model


def preload() -> None:
    """Load nothing: the measures are counted from the text."""


@cache
def engine(language: Language) -> Engine:
    """Return what decides a result besides the text: the code, and the settings of its measures."""
    code = b"\0".join(Path(path).read_bytes() for path in (__file__, model.__file__, texts.__file__))
    return Engine(
        name="huleedu-nlp",
        version=f"1+{hashlib.sha256(code).hexdigest()[:16]}",
        language=language,
        dictionaries={"mtld_threshold": str(model.MTLD_THRESHOLD), "mtld_least_words": str(model.MTLD_LEAST)},
    )


def run(text: str, context: PhaseContext, inputs: Mapping[PhaseName, Mapping[str, object]]) -> NlpResultV1:
    """Measure one essay; `inputs` may hold its SpellcheckResultV1 as a JSON object."""
    remarks: dict[CorrectionKind, int] | None = None
    if PhaseName.SPELLCHECK in inputs:
        checked = SpellcheckResultV1.model_validate(inputs[PhaseName.SPELLCHECK])
        found = Counter(correction.kind for correction in checked.corrections)
        remarks = {kind: found[kind] for kind in CorrectionKind}
    metrics, lengths, missing = model.measure(text, context.language, remarks)
    return NlpResultV1(
        metrics=metrics,
        sentence_lengths=tuple(lengths),
        not_offered=missing,
        engine=engine(context.language),
    )
