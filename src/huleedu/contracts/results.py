"""What the phases find: the rich results that are kept for each essay, and the figures that travel in messages."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from pydantic import Field

from huleedu.contracts.envelope import Fact
from huleedu.contracts.phase import Engine


class CorrectionKind(StrEnum):
    """What a remark is about."""

    SPELLING = "spelling"
    GRAMMAR = "grammar"
    STYLE = "style"


class Correction(Fact):
    """One remark on a piece of the original text, with what to write instead, if that can be said.

    `offset` and `length` count Unicode code points of the ORIGINAL text; `original` is that piece, verbatim.
    `replacement` is None when the remark only points something out; an empty one means: leave the piece out.
    `rule` names what found it ("spelling:split", "harper:AnA"); `message` says why, to the pupil.
    `confidence` is the engine's own, from 0 to 1, not a promise. `alternatives` are further proposals, best first.
    """

    offset: int = Field(ge=0)
    length: int = Field(gt=0)
    original: str
    replacement: str | None
    kind: CorrectionKind
    rule: str
    message: str
    confidence: float = Field(ge=0, le=1)
    alternatives: tuple[str, ...] = ()

    @property
    def end(self) -> int:
        """The code point after the piece."""
        return self.offset + self.length


def apply_corrections(text: str, corrections: Iterable[Correction]) -> str:
    """Return the text with every replacement put in; nothing outside the spans changes.

    The corrections must be sorted by offset and not overlap; ValueError if they are not, or do not fit the text.
    """
    pieces: list[str] = []
    at = 0
    for correction in corrections:
        if correction.offset < at or text[correction.offset : correction.end] != correction.original:
            raise ValueError(f"the correction at {correction.offset} overlaps another or belongs to another text")
        if correction.replacement is not None:
            pieces += (text[at : correction.offset], correction.replacement)
            at = correction.end
    pieces.append(text[at:])
    return "".join(pieces)


class SpellcheckMetrics(Fact):
    """Figures of one spell check.

    A word is a run of letters and digits, with the apostrophes and hyphens inside it; an address counts as one.
    """

    word_count: int
    """Words in the essay."""
    total_corrections: int
    """All remarks, with and without a replacement."""
    spelling_corrections: int
    """Remarks of kind spelling."""
    grammar_corrections: int
    """Remarks of kind grammar."""
    l2_corrections: int
    """Spelling remarks that another language explains: its words left in, its spelling habits, regular forms of
    irregular words."""
    correction_density: float
    """Remarks per 100 words; 0 when there are no words."""


class SpellcheckResultV1(Fact):
    """An essay as checked. Applying `corrections` to the original text gives `corrected_text`."""

    corrected_text: str
    corrections: tuple[Correction, ...]
    metrics: SpellcheckMetrics
    engine: Engine


class NlpMetrics(Fact):
    """Descriptive measures of one essay. They describe; none of them is a grade.

    A measure that is not offered (for the language, or because the text is too short) is None, with its reason in
    `NlpResultV1.not_offered`. Quartiles and median interpolate linearly between neighbours (Hyndman and Fan 1996,
    type 7); sd is the population's.
    """

    word_count: int
    """Words, counted as in SpellcheckMetrics."""
    sentence_count: int
    """Sentences that hold a word."""
    paragraph_count: int
    """Paragraphs that hold a word."""
    character_count: int
    """Code points of the text as it stands, white space included."""
    letter_count: int
    """Letters and digits in words."""
    sentence_length_mean: float
    """Words per sentence."""
    sentence_length_sd: float
    """Standard deviation of the words per sentence."""
    sentence_length_q1: float
    """A quarter of the sentences have at most so many words."""
    sentence_length_median: float
    """Half of the sentences have at most so many words."""
    sentence_length_q3: float
    """Three quarters of the sentences have at most so many words."""
    word_length_mean: float
    """Letters and digits per word."""
    word_length_sd: float
    """Standard deviation of the letters and digits per word."""
    long_word_share: float
    """Words of more than six letters, per 100 words (a part of LIX)."""
    mtld: float | None
    """Measure of textual lexical diversity: the mean number of words in a row that keep their type-token ratio above
    .72, read forwards and backwards (McCarthy and Jarvis 2010). Higher is more varied."""
    lix: float | None
    """Readability: words per sentence plus long words per 100 words (Björnsson 1968). Higher is harder to read."""
    flesch_reading_ease: float | None
    """Readability of English: 206.835 - 1.015 words per sentence - 84.6 syllables per word (Flesch 1948), syllables
    estimated. Higher is easier to read."""
    spelling_per_100_words: float | None
    """Spelling remarks per 100 words; None without a spell check."""
    grammar_per_100_words: float | None
    """Grammar remarks per 100 words; None without a spell check."""
    style_per_100_words: float | None
    """Style remarks per 100 words; None without a spell check."""


class NlpResultV1(Fact):
    """The measures of one essay, the lists behind them, and what is not offered and why."""

    metrics: NlpMetrics
    sentence_lengths: tuple[int, ...]
    """Words in each sentence, in the order of the text."""
    not_offered: dict[str, str]
    """Measure that is None -> the reason, in a sentence for the teacher."""
    engine: Engine
