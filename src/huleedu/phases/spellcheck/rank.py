"""Which candidate was meant: a softmax over features of how a word was typed, heard and how often it is used.

The weights lie in weights.json with the command that fitted them. They were fitted on English; Swedish shares them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

from rapidfuzz.distance import OSA, JaroWinkler, LCSseq, Levenshtein, Postfix, Prefix

from huleedu.phases.spellcheck.lexicon import Candidate, lexicon
from huleedu.phases.spellcheck.sound import sound

WEIGHTS = Path(__file__).parent / "weights.json"
_CERTAIN = 0.95  # the share of confidence of what is known to be meant; a guess, not fitted
_PROPOSALS = 5
_VOWELS = str.maketrans("", "", "aeiouyåäö")
_APART = str.maketrans("", "", "'- ")

FEATURES = (
    "same_letters", "distance", "distance_beyond_1", "transposed", "doubled", "vowels_only", "anagram",
    "same_sound", "same_sound_key", "same_sounded_consonants", "sound_distance",
    "same_first", "same_last", "shared_start", "shared_end", "longer", "shorter", "jaro_winkler", "subsequence",
    "zipf", "zipf_above_5", "split", "split_zipf", "capital",
)  # fmt: skip


class Ranked(NamedTuple):
    """A candidate and the probability that it was meant; `certain` if it is the known cure of a known habit."""

    written: str
    confidence: float
    certain: bool = False


@lru_cache(maxsize=1 << 14)
def _single(word: str) -> str:
    return "".join(char for at, char in enumerate(word) if at == 0 or char != word[at - 1])


def features(word: str, candidate: Candidate, language: str) -> tuple[float, ...]:
    """Return the features of a word in small letters beside a candidate, in the order of FEATURES."""
    meant = candidate.written.lower()
    length = max(len(word), len(meant))
    distance = OSA.distance(word, meant)
    heard, wanted = sound(word, language), sound(meant.replace(" ", ""), language)
    return (
        word.translate(_APART) == meant.translate(_APART),
        distance,
        max(distance - 1, 0),
        Levenshtein.distance(word, meant) - distance,
        _single(word) == _single(meant),
        word.translate(_VOWELS) == meant.translate(_VOWELS),
        sorted(word) == sorted(meant),
        heard.full == wanted.full,
        heard.key == wanted.key,
        heard.consonants == wanted.consonants,
        OSA.normalized_distance(heard.full, wanted.full),
        word[0] == meant[0],
        word[-1] == meant[-1],
        Prefix.similarity(word, meant) / length,
        Postfix.similarity(word, meant) / length,
        max(len(meant) - len(word), 0),
        max(len(word) - len(meant), 0),
        JaroWinkler.similarity(word, meant),
        LCSseq.normalized_similarity(word, meant),
        candidate.zipf,
        max(candidate.zipf - 5, 0),
        candidate.split,
        candidate.split and candidate.zipf - 5,
        candidate.written != meant,
    )


@cache
def weights() -> tuple[float, ...]:
    """Return the fitted weights, in the order of FEATURES."""
    fitted = json.loads(WEIGHTS.read_text("utf-8"))["weights"]
    return tuple(fitted[name] for name in FEATURES)


def score(values: Sequence[float]) -> float:
    """Return the linear score of a candidate's features."""
    return math.fsum(weight * value for weight, value in zip(weights(), values, strict=True))


@lru_cache(maxsize=1 << 12)  # a class makes the same mistakes again and again
def ranked(word: str, language: str) -> tuple[Ranked, ...]:
    """Return up to five candidates for a word in small letters, best first."""
    words = lexicon(language)
    certain = words.certain(word)
    left = 1 - _CERTAIN if certain else 1.0
    likely = [
        Ranked(found.written, left * found.confidence)
        for found in order(word, words.candidates(word), language)
        if found.written not in certain
    ]
    known = [Ranked(written, _CERTAIN / len(certain), certain=True) for written in certain]
    return tuple((known + likely)[:_PROPOSALS])


def order(word: str, candidates: Iterable[Candidate], language: str) -> list[Ranked]:
    """Return the candidates, best first, each written form once."""
    scores: dict[str, float] = {}
    for candidate in candidates:
        value = score(features(word, candidate, language))
        scores[candidate.written] = max(value, scores.get(candidate.written, -math.inf))
    if not scores:
        return []
    best = max(scores.values())
    odds = {written: math.exp(value - best) for written, value in scores.items()}
    total = math.fsum(odds.values())
    # The word itself decides a tie, so that the order is the same in every process.
    return [Ranked(written, odds[written] / total) for written in sorted(odds, key=lambda word: (-odds[word], word))]
