"""The checker on the class of the examples, whose essays have mistakes that are listed beside them."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

from huleedu.contracts.phase import Language, PhaseContext
from huleedu.contracts.results import Correction, CorrectionKind
from huleedu.files.extract import extract
from huleedu.phases.spellcheck import phase

EXAMPLES = Path(__file__).parents[2] / "examples"


class Planted(NamedTuple):
    """A mistake that was put into an essay, and the remarks on it."""

    kind: str
    original: str
    right: str
    remarks: list[Correction]


@cache
def class_9b() -> tuple[list[Planted], list[Correction], int]:
    """Return the planted mistakes, the remarks on anything else, and how many words there are."""
    task = (EXAMPLES / "class-9b.task.txt").read_text("utf-8")
    planted: list[Planted] = []
    others: list[Correction] = []
    words = 0
    for name, essay in json.loads((EXAMPLES / "class-9b.errors.json").read_text("utf-8")).items():
        text = extract((EXAMPLES / "class-9b" / name).read_bytes(), name)
        result = phase.run(text, PhaseContext(language=Language.EN, essay_instructions=task), {})
        words += result.metrics.word_count
        left = set(result.corrections)
        for error in essay["errors"]:
            start, end = spot(text, error["context"], error["original"])
            remarks = [remark for remark in result.corrections if remark.offset < end and remark.end > start]
            planted.append(Planted(error["kind"], error["original"], error["correction"], remarks))
            left.difference_update(remarks)
        others.extend(left)
    return planted, others, words


def loose(words: str) -> str:
    return r"\s+".join(map(re.escape, words.split()))


def spot(text: str, context: str, original: str) -> tuple[int, int]:
    """Return the span of a mistake; lines of a file may break elsewhere than in the list."""
    around = re.search(loose(context), text)
    assert around, context
    within = re.search(rf"(?<!\w){loose(original)}(?!\w)", around[0])
    assert within, original
    return around.start() + within.start(), around.start() + within.end()


def straight(word: str | None) -> str | None:
    return word and word.replace("’", "'")


def test_every_misspelled_word_is_found_and_most_are_put_right() -> None:
    spelling = [error for error in class_9b()[0] if error.kind == "spelling"]
    right = [error for error in spelling if straight(error.right) in {straight(c.replacement) for c in error.remarks}]
    assert [error.original for error in spelling if not error.remarks] == []
    assert len(right) >= 0.92 * len(spelling)  # 116 of 124 when this was written


def test_swedish_words_left_in_are_found_and_mostly_named() -> None:
    swedish = [error for error in class_9b()[0] if error.kind == "swedish_word"]
    rules = [remark.rule for error in swedish for remark in error.remarks]
    assert all(error.remarks for error in swedish)
    assert rules.count("spelling:foreign_word") >= len(swedish) - 1  # hjortron is too rare to be told from a slip


def test_harper_finds_some_of_the_grammar() -> None:
    others = [error for error in class_9b()[0] if error.kind in {"grammar", "real_word", "compound"}]
    assert sum(bool(error.remarks) for error in others) >= 0.25 * len(others)  # 46 of 181 when this was written


def test_hardly_anything_that_is_right_is_remarked() -> None:
    _, others, words = class_9b()
    assert sum(remark.kind == CorrectionKind.SPELLING for remark in others) <= 0.001 * words  # Tuva, a name and a word
    assert len(others) <= 0.002 * words
