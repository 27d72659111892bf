"""The one table of measures: how each figure of the phases is called, counted and shown, in both languages."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from huleedu.contracts.envelope import Fact
from huleedu.contracts.phase import Language, PhaseName


class Unit(StrEnum):
    """What a figure counts."""

    COUNT = "count"
    WORDS = "words"
    LETTERS = "letters"
    PER_100_WORDS = "per_100_words"
    INDEX = "index"


UNITS: dict[Unit, dict[Language, str]] = {
    Unit.COUNT: {Language.EN: "number", Language.SV: "antal"},
    Unit.WORDS: {Language.EN: "words", Language.SV: "ord"},
    Unit.LETTERS: {Language.EN: "letters", Language.SV: "bokstäver"},
    Unit.PER_100_WORDS: {Language.EN: "per 100 words", Language.SV: "per 100 ord"},
    Unit.INDEX: {Language.EN: "index", Language.SV: "index"},
}


class Measure(Fact):
    """A figure `metrics[phase][name]`. `higher` says what a higher one means, if it means anything; never "better"."""

    phase: PhaseName
    name: str
    unit: Unit
    decimals: int
    label: dict[Language, str]
    higher: Literal["harder", "easier", "more_varied"] | None = None

    @property
    def key(self) -> str:
        """The measure's name among those of all phases."""
        return f"{self.phase.value}.{self.name}"

    def head(self, language: Language) -> str:
        """Return the measure as the head of a column, with its unit."""
        return f"{self.label[language]} ({UNITS[self.unit][language]})"


def _of(phase: PhaseName, *rows: tuple[str, Unit, int, str, str]) -> tuple[Measure, ...]:
    return tuple(
        Measure(
            phase=phase,
            name=name,
            unit=unit,
            decimals=decimals,
            label={Language.EN: english, Language.SV: swedish},
            higher=_HIGHER.get(name),
        )
        for name, unit, decimals, english, swedish in rows
    )


_HIGHER: dict[str, Literal["harder", "easier", "more_varied"]] = {
    "lix": "harder",
    "flesch_reading_ease": "easier",
    "mtld": "more_varied",
}
MEASURES: tuple[Measure, ...] = _of(
    PhaseName.SPELLCHECK,
    ("word_count", Unit.COUNT, 0, "Words", "Ord"),
    ("total_corrections", Unit.COUNT, 0, "All remarks", "Alla anmärkningar"),
    ("spelling_corrections", Unit.COUNT, 0, "Spelling", "Stavning"),
    ("grammar_corrections", Unit.COUNT, 0, "Grammar", "Grammatik"),
    ("l2_corrections", Unit.COUNT, 0, "Spelling from another language", "Stavning från ett annat språk"),
    ("correction_density", Unit.PER_100_WORDS, 1, "All remarks", "Alla anmärkningar"),
) + _of(
    PhaseName.NLP,
    ("sentence_count", Unit.COUNT, 0, "Sentences", "Meningar"),
    ("paragraph_count", Unit.COUNT, 0, "Paragraphs", "Stycken"),
    ("character_count", Unit.COUNT, 0, "Characters with spaces", "Tecken med blanksteg"),
    ("letter_count", Unit.COUNT, 0, "Letters and digits", "Bokstäver och siffror"),
    ("sentence_length_mean", Unit.WORDS, 1, "Sentence length, mean", "Meningslängd, medelvärde"),
    ("sentence_length_sd", Unit.WORDS, 1, "Sentence length, standard deviation", "Meningslängd, standardavvikelse"),
    ("sentence_length_q1", Unit.WORDS, 1, "Sentence length, lower quartile", "Meningslängd, undre kvartil"),
    ("sentence_length_median", Unit.WORDS, 1, "Sentence length, median", "Meningslängd, median"),
    ("sentence_length_q3", Unit.WORDS, 1, "Sentence length, upper quartile", "Meningslängd, övre kvartil"),
    ("word_length_mean", Unit.LETTERS, 2, "Word length, mean", "Ordlängd, medelvärde"),
    ("word_length_sd", Unit.LETTERS, 2, "Word length, standard deviation", "Ordlängd, standardavvikelse"),
    ("long_word_share", Unit.PER_100_WORDS, 1, "Long words", "Långa ord"),
    ("mtld", Unit.WORDS, 1, "Lexical variation, MTLD", "Ordvariation, MTLD"),
    ("lix", Unit.INDEX, 1, "Readability, LIX", "Läsbarhet, LIX"),
    ("flesch_reading_ease", Unit.INDEX, 1, "Reading ease, Flesch", "Lättlästhet, Flesch"),
    ("spelling_per_100_words", Unit.PER_100_WORDS, 1, "Spelling", "Stavning"),
    ("grammar_per_100_words", Unit.PER_100_WORDS, 1, "Grammar", "Grammatik"),
    ("style_per_100_words", Unit.PER_100_WORDS, 1, "Style", "Stil"),
)
"""In the order in which they are shown. The word count is the same in both phases, and shown once."""
