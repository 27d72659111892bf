"""The descriptive measures, against figures counted by hand or by an independent program."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from huleedu.contracts.phase import Language, PhaseContext, PhaseName
from huleedu.contracts.results import NlpResultV1
from huleedu.phases.nlp import phase
from huleedu.phases.nlp.model import flesch, lix, mtld, syllables
from huleedu.phases.spellcheck import phase as spellcheck
from huleedu.phases.text import paragraphs, sentences


def measure(text: str, language: Language = Language.EN) -> NlpResultV1:
    return phase.run(text, PhaseContext(language=language), {})


@pytest.mark.parametrize(
    ("count", "types", "expected"),
    [(60, 7, 10.0), (200, 61, 28.601652), (350, 97, 50.0), (500, 223, 125.0), (120, 1000, 237.176471)],
)
def test_mtld_agrees_with_lexicalrichness(count: int, types: int, expected: float) -> None:
    # LexicalRichness(" ".join(words), preprocessor=None, tokenizer=str.split).mtld(threshold=0.72), version 0.5.1:
    # twenty packages and seven seconds to import, so its answers are kept here instead.
    assert mtld([f"w{(k * k * 7 + k * 3) % types}" for k in range(count)]) == pytest.approx(expected, abs=1e-6)


def test_mtld_of_a_text_without_repetition_is_its_length() -> None:
    assert mtld([str(number) for number in range(80)]) == 80


def test_readability_by_hand() -> None:
    assert lix([3, 7, 6, 8], 2) == 4 / 2 + 100 * 2 / 4
    assert flesch(["the", "cat", "sat", "today"], 1) == pytest.approx(206.835 - 1.015 * 4 - 84.6 * 5 / 4)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("the", 1), ("you", 1), ("people", 2), ("beautiful", 3), ("wanted", 2), ("played", 1), ("called", 1),
        ("houses", 2), ("idea", 3), ("everything", 3), ("completely", 3), ("family", 3), ("hmm", 1), ("various", 3),
        ("social", 2), ("station", 2), ("going", 2), ("create", 2), ("little", 2), ("tourism", 3),
    ],
)  # fmt: skip
def test_syllables(word: str, expected: int) -> None:
    assert syllables(word) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Mr. Berg came at 3.5 p.m. today. Did he? Yes!", ["Mr. Berg came at 3.5 p.m. today.", "Did he?", "Yes!"]),
        ("Well... maybe. He said: “Go!” Then he went", ["Well... maybe.", "He said: “Go!”", "Then he went"]),
        ("so do I. And you", ["so do I.", "And you"]),
        ("A title\n\nOne. Two.\r\nThree", ["A title", "One.", "Two.", "Three"]),
        ("Vi åt t.ex. glass, bröd m.m. på stranden.", ["Vi åt t.ex. glass, bröd m.m. på stranden."]),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert [text[start:end].strip() for start, end in sentences(text)] == expected


def test_paragraphs_of_lines_and_of_text_wrapped_by_hand() -> None:
    wrapped = "This text was wrapped\nby hand, so its lines\nare no paragraphs.\n\nThis one\nis."
    lines = "This is a line.\nSo is this.\nAnd this!"
    assert [[text[start:end] for start, end in paragraphs(text)] for text in (wrapped, lines)] == [
        ["This text was wrapped\nby hand, so its lines\nare no paragraphs.\n", "This one\nis."],
        ["This is a line.\n", "So is this.\n", "And this!"],
    ]


def test_counts_and_distributions() -> None:
    result = measure("My dog runs. He is fast!\n\nI like him very much indeed. Do you?")
    metrics = result.metrics
    assert result.sentence_lengths == (3, 3, 6, 2)
    assert (metrics.word_count, metrics.sentence_count, metrics.paragraph_count) == (14, 4, 2)
    assert (metrics.sentence_length_mean, metrics.sentence_length_sd) == (3.5, 1.5)
    assert (metrics.sentence_length_q1, metrics.sentence_length_median, metrics.sentence_length_q3) == (2.75, 3, 3.75)
    assert metrics.letter_count == 44


def test_what_is_not_offered_says_why() -> None:
    result = measure("Det var en gång.", Language.SV)
    assert result.metrics.lix == 4
    values = result.metrics.model_dump()
    assert {name for name, value in values.items() if value is None} == result.not_offered.keys() >= {"mtld"}
    assert "50 words" in result.not_offered["mtld"]


def test_errors_per_100_words_come_from_the_spell_check() -> None:
    text, context = "She buyed an car, realy.", PhaseContext(language=Language.EN)
    checked = spellcheck.run(text, context, {})
    metrics = phase.run(text, context, {PhaseName.SPELLCHECK: checked.model_dump(mode="json")}).metrics
    assert (metrics.spelling_per_100_words, metrics.grammar_per_100_words, metrics.style_per_100_words) == (40, 20, 0)


@settings(max_examples=200)
@given(
    st.text(alphabet="ab 1.!?…\n\r\"'’-å\u030a\u200b😀@/", max_size=80) | st.text(max_size=40),
    st.sampled_from(Language),
)
def test_any_text_is_measured_and_every_word_is_in_one_sentence(text: str, language: Language) -> None:
    result = measure(text, language)
    assert sum(result.sentence_lengths) == result.metrics.word_count
    assert result.metrics.sentence_count >= result.metrics.paragraph_count
    assert NlpResultV1.model_validate_json(result.model_dump_json()) == result
