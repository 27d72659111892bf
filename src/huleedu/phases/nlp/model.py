"""Descriptive measures of a text: how long its words and sentences are, how varied, how hard to read."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Mapping, Sequence

from huleedu.contracts.phase import Language
from huleedu.contracts.results import CorrectionKind, NlpMetrics
from huleedu.phases.text import paragraphs, sentences, tokens

MTLD_THRESHOLD = 0.72  # McCarthy and Jarvis 2010
MTLD_LEAST = 50  # words; the authors warn of shorter texts, where a whole factor may never be reached
LONG_WORD = 6  # letters: LIX counts words with more (Björnsson 1968)

_VOWELS = re.compile(r"[aeiouy]+")
# Letters that are written and not said: y at the beginning is a consonant, e at the end and inside compounds is mute.
_MUTE = re.compile(
    r"^y(?=[aeiou])|(?<=^ev)e(?=ry)"
    r"|(?<=[^aeiouy])e(?=(?:ly|ments?|things?|one|bod(?:y|ies)|times|where|self|ful|ness|less)$)"
    r"|(?<=[^aeiouyltd])ed$|(?<=ll)ed$|(?<=[aeiouy]l)e[sd]?$|(?<=[^aeiouylsxzcgh])es$|(?<=[^aeiouyl])e$"
)
# Two vowels said apart: idea, create, various, but not social or station; and -sm, which has no vowel letter.
_APART = re.compile(
    r"(?<![ctsgx])i(?:a|o(?!ns?$)|um)|iet|^ideas?$|crea(?=t)|^areas?$|eo(?!us|p|r)|[eyo]ing"
    r"|(?<=[aeo])y(?=[ao]|e[er])|u(?:al|ous)|sm$|^mrs?$"
)


def mtld(words: Sequence[str]) -> float:
    """Return the measure of textual lexical diversity: words per factor, the mean of reading both ways.

    A factor is a run of words whose type-token ratio has come down to the threshold; what is left at the end counts as
    the part of a factor that its ratio has come down (P. M. McCarthy, S. Jarvis: MTLD, vocd-D, and HD-D, Behavior
    Research Methods 42, 2010). A text without any repetition has no factor: its measure is its length.
    """
    return (_one_way(words) + _one_way(words[::-1])) / 2


def _one_way(words: Sequence[str]) -> float:
    factors, start, types = 0.0, 0, set[str]()
    for at, word in enumerate(words):
        types.add(word)
        if len(types) / (at - start + 1) <= MTLD_THRESHOLD:
            factors, start, types = factors + 1, at + 1, set()
    if start < len(words):
        factors += (1 - len(types) / (len(words) - start)) / (1 - MTLD_THRESHOLD)
    return len(words) / factors if factors else float(len(words))


def lix(letters: Sequence[int], sentence_count: int) -> float:
    """Return Björnsson's readability index: words per sentence + words of more than six letters per 100 words.

    `letters` are those of each word. C. H. Björnsson: Läsbarhet, 1968. About 25 is a children's book, 40 a newspaper,
    60 an official text.
    """
    return len(letters) / sentence_count + _per_100(sum(length > LONG_WORD for length in letters), len(letters))


def syllables(word: str) -> int:
    """Return the number of syllables of an English word in small letters, at least 1, estimated from its spelling.

    Against the CMU Pronouncing Dictionary, with the 20,000 commonest words weighted by frequency, 98 % are right,
    and a text has 0.5 % too few: less than a point of reading ease.
    """
    said = _MUTE.sub("", word)
    return max(len(_VOWELS.findall(said)) + len(_APART.findall(said)), 1)


def flesch(words: Iterable[str], sentence_count: int) -> float:
    """Return Flesch's reading ease: 206.835 - 1.015 words per sentence - 84.6 syllables per word.

    R. Flesch: A new readability yardstick, Journal of Applied Psychology 32, 1948. 90 is very easy, 30 difficult.
    """
    counts = [syllables(word) for word in words]
    return 206.835 - 1.015 * len(counts) / sentence_count - 84.6 * sum(counts) / len(counts)


def sentence_lengths(text: str) -> list[int]:
    """Return the number of words of each sentence that has any."""
    spans = sentences(text)
    counts, at = [0] * len(spans), 0
    for token in tokens(text):
        while at + 1 < len(spans) and spans[at + 1][0] <= token.start:
            at += 1
        counts[at] += 1
    return [count for count in counts if count]


def measure(
    text: str, language: Language, remarks: Mapping[CorrectionKind, int] | None
) -> tuple[NlpMetrics, list[int], dict[str, str]]:
    """Return the measures, the length of each sentence, and why what is None is not offered.

    `remarks` is how many of each kind the spell check found; None when there was none. Addresses are words for the
    counts, and no words for the measures of vocabulary and readability.
    """
    found = list(tokens(text))
    words = [token.plain.lower() for token in found if not token.address]
    letters = [sum(map(str.isalnum, word)) for word in words]
    lengths = sentence_lengths(text)
    missing = _not_offered(language, len(words), checked=remarks is not None)
    low, middle, high = _quartiles(lengths)
    rates = {kind: round(_per_100(count, len(found)), 2) for kind, count in (remarks or {}).items()}
    metrics = NlpMetrics(
        word_count=len(found),
        sentence_count=len(lengths),
        paragraph_count=sum(any(tokens(text[start:end])) for start, end in paragraphs(text)),
        character_count=len(text),
        letter_count=sum(letters),
        sentence_length_mean=_mean(lengths),
        sentence_length_sd=_deviation(lengths),
        sentence_length_q1=low,
        sentence_length_median=middle,
        sentence_length_q3=high,
        word_length_mean=_mean(letters),
        word_length_sd=_deviation(letters),
        long_word_share=round(_per_100(sum(length > LONG_WORD for length in letters), len(words)), 2),
        mtld=None if "mtld" in missing else round(mtld(words), 2),
        lix=None if "lix" in missing else round(lix(letters, len(lengths)), 2),
        flesch_reading_ease=None if "flesch_reading_ease" in missing else round(flesch(words, len(lengths)), 2),
        spelling_per_100_words=rates.get(CorrectionKind.SPELLING),
        grammar_per_100_words=rates.get(CorrectionKind.GRAMMAR),
        style_per_100_words=rates.get(CorrectionKind.STYLE),
    )
    return metrics, lengths, missing


def _not_offered(language: Language, words: int, *, checked: bool) -> dict[str, str]:
    missing: dict[str, str] = {}
    if words < MTLD_LEAST:
        missing["mtld"] = f"MTLD needs {MTLD_LEAST} words to mean anything; this text has {words}."
    if not words:
        missing["lix"] = "The text has no words."
    if language != Language.EN:
        missing["flesch_reading_ease"] = "Flesch's formula was made for English; see LIX for Swedish."
    elif not words:
        missing["flesch_reading_ease"] = "The text has no words."
    if not checked:
        missing |= {f"{kind}_per_100_words": "The text was not spell-checked." for kind in CorrectionKind}
    return missing


def _per_100(count: int, words: int) -> float:
    return 100 * count / words if words else 0.0


def _mean(values: Sequence[int]) -> float:
    return round(statistics.fmean(values), 2) if values else 0.0


def _deviation(values: Sequence[int]) -> float:
    return round(statistics.pstdev(values), 2) if values else 0.0


def _quartiles(values: Sequence[int]) -> tuple[float, float, float]:
    pair = values if len(values) > 1 else [*values, *values] or [0, 0]  # quantiles asks for two
    low, middle, high = statistics.quantiles(pair, n=4, method="inclusive")
    return round(low, 2), round(middle, 2), round(high, 2)
