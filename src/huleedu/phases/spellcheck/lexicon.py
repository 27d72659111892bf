"""The words of a language: which are known (hunspell), and which may have been meant by one that is not."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import hunspell
from rapidfuzz.distance import OSA

from huleedu.phases.spellcheck.index import DISTANCE, Index
from huleedu.phases.spellcheck.sound import sound

DATA = Path(__file__).parent / "data"
_DICTIONARIES = {"en": ("en", "en-gb"), "sv": ("sv",)}
_LONGEST = 40  # letters; what is longer is no misspelled word
_HEARD_ZIPF = 2.5  # words at any distance that sound alike are proposed from this frequency on: about 25,000
_PART_ZIPF = 3.6  # frequency of both parts of a word to be written apart: about 8,000 words
_LETTERS_ALONE = {"en": {"a", "i"}, "sv": {"i", "å", "ö"}}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A word, or two, that may have been meant. `zipf` is log10 of its uses per billion words (the rarer part's)."""

    written: str
    zipf: float
    split: bool = False
    irregular: bool = False


class Lexicon:
    """One language's words."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._checks = [
            hunspell.Hunspell(name, hunspell_data_dir=str(DATA), system_encoding="UTF-8")
            for name in _DICTIONARIES[language]
        ]
        lines = (DATA / f"{language}.words").read_text("utf-8").splitlines()
        entries = [line.split("\t") for line in lines]
        self._words = [word for word, _ in entries]
        self._zipf = array("H", (int(zipf) for _, zipf in entries))
        self._index = Index(DATA / f"{language}.index", language)
        self._irregular = _regularised() if language == "en" else {}

    def knows(self, word: str) -> bool:
        """Whether one of the dictionaries accepts the word as it is written."""
        return any(check.spell(word) for check in self._checks)

    def variants(self, word: str) -> tuple[bool, ...]:
        """Whether each dictionary accepts the word: for English the American, then the British."""
        return tuple(check.spell(word) for check in self._checks)

    def zipf(self, word: str) -> float:
        """Return the frequency of a word, in any case; 0 for one that is never proposed."""
        lower = word.lower()
        at = bisect_left(self._words, lower, key=str.lower)
        found = at < len(self._words) and self._words[at].lower() == lower
        return self._zipf[at] / 100 if found else 0.0

    def candidates(self, word: str) -> Iterator[Candidate]:
        """Yield what a word in small letters may have been meant for, in no order."""
        if len(word) > _LONGEST:
            return
        key = sound(word, self.language).key
        for number in self._index.near(word):
            written, zipf = self._words[number], self._zipf[number] / 100
            lower = written.lower()
            near = OSA.distance(word, lower, score_cutoff=DISTANCE) <= DISTANCE
            if near or (zipf >= _HEARD_ZIPF and sound(lower, self.language).key == key):
                yield Candidate(written, zipf, irregular=lower in self._irregular.get(word, ()))
        for written in self._irregular.get(word, ()):
            yield Candidate(written, self.zipf(written), irregular=True)
        yield from self._splits(word)

    def _splits(self, word: str) -> Iterator[Candidate]:
        for at in range(1, len(word)):
            left, right = word[:at], word[at:]
            zipf = min(self._part(left), self._part(right))
            if zipf >= _PART_ZIPF:
                yield Candidate(f"{left} {right}", zipf, split=True)

    def _part(self, part: str) -> float:
        if len(part) == 1 and part not in _LETTERS_ALONE[self.language]:
            return 0.0
        return self.zipf(part)


def _regularised() -> dict[str, tuple[str, ...]]:
    """Return the regular forms that irregular words have not, each with what to write: buyed -> bought."""
    forms: dict[str, tuple[str, ...]] = {}
    for line in (Path(__file__).parent / "irregular.txt").read_text("utf-8").splitlines():
        if line.startswith("#"):
            continue
        kind, base, *right = line.split()
        for ending in ("ed",) if kind == "verb" else ("s",) if kind == "noun" else ("er", "est"):
            wanted = tuple(right) if kind != "adjective" else (right["er est".split().index(ending)],)
            for form in _inflected(base, ending):
                if form not in wanted and form != base:
                    forms[form] = forms.get(form, ()) + wanted
    return forms


def _inflected(base: str, ending: str) -> set[str]:
    """Return the ways in which a pupil may add a regular ending."""
    forms = {base + ending, base + base[-1] + ending}
    if base.endswith("e"):
        forms = {base + ending[1:] if ending[0] == "e" else base + ending}
    if base.endswith("y"):
        forms.add(base[:-1] + "i" + ending)
    if ending == "s":
        forms = {base + "s", base + "es"}
    return forms


@cache
def lexicon(language: str) -> Lexicon:
    """Return the words of a language, loaded once in a process."""
    return Lexicon(language)
