"""English grammar by Harper (Automattic, Apache-2.0), through harper-py; its spelling and style lints are off."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

import harper

from huleedu.contracts.results import Correction, CorrectionKind

# Kinds of lints that tell of grammar or of a wrong word. Off are Spelling (ours), and Formatting, Readability, Style,
# Enhancement, Redundancy, Regionalism, Nonstandard: taste, or seven false remarks in 1,000 words of good prose.
KINDS = frozenset({
    "Agreement", "BoundaryError", "Capitalization", "Eggcorn", "Grammar", "Malapropism", "Miscellaneous", "Repetition",
    "Typo", "Usage", "WordChoice",
})  # fmt: skip
# Rules that are slow or were wrong on the examples: "9B" is no number of bytes, a back seat is no backseat.
OFF = re.compile(r"SpellCheck|LongSentences|Expand\w+|CompoundNouns")
CONFIDENCE = 0.6  # Harper gives none; a guess, the same for all its rules
_SURROGATE = re.compile("[\ud800-\udfff]")


@cache
def _config() -> dict[str, bool | None]:
    return {rule: on and not OFF.fullmatch(rule) for rule, on in harper.get_default_lint_config().items()}


def remarks(text: str) -> Iterator[Correction]:
    """Yield Harper's remarks, in the order of its rules; they may overlap.

    A fresh linter for each text: one that is kept remembers what it saw, to 100 MB; a fresh one takes 5 ms, as the
    dictionary is loaded once in a process.
    """
    linter = harper.Linter(harper.Dialect.BRITISH)
    linter.set_lint_config(_config())
    found = linter.organized_lints(_SURROGATE.sub("\ufffd", text), language=harper.Language.PLAINTEXT)
    for rule, lints in found.items():
        for lint in lints:
            if lint.lint_kind in KINDS and lint.span.end > lint.span.start:
                yield _remark(text, rule, lint)


def _remark(text: str, rule: str, lint: harper.Lint) -> Correction:
    original = text[lint.span.start : lint.span.end]
    proposals = [_proposal(original, suggestion) for suggestion in lint.suggestions]
    return Correction(
        offset=lint.span.start,
        length=len(original),
        original=original,
        replacement=proposals[0] if proposals else None,
        kind=CorrectionKind.GRAMMAR,
        rule=f"harper:{rule}",
        message=lint.message,
        confidence=CONFIDENCE,
        alternatives=tuple(proposals[1:]),
    )


def _proposal(original: str, suggestion: harper.Suggestion) -> str:
    if suggestion.kind == harper.SuggestionKind.INSERT_AFTER:
        return original + suggestion.replacement_text
    return suggestion.replacement_text
