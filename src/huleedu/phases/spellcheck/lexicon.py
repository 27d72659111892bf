"""The words of a language: which are known (hunspell), and which may have been meant by one that is not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import hunspell
from rapidfuzz.distance import OSA

from huleedu.phases.spellcheck.index import DISTANCE, Index
from huleedu.phases.spellcheck.sound import sound

DATA = Path(__file__).parent / "data"
HABITS = Path(__file__).parent / "habits.txt"
_DICTIONARIES = {"en": ("en", "en-gb"), "sv": ("sv",)}
_LONGEST = 40  # letters; what is longer is no misspelled word
_HEARD_ZIPF = 2.5  # words at any distance that sound alike are proposed from this frequency on: about 25,000
_PART_ZIPF = 3.6  # frequency of both parts of a word to be written apart: about 8,000 words
_ENDINGS = {"verb": ("ed",), "noun": ("s",), "adjective": ("er", "est")}
_ACCENTS = str.maketrans("éèêëïîàâçñôûÉ", "eeeeiiaacnouE")  # not å, ä, ö: those are Swedish words
_LETTERS_ALONE = {"en": {"a", "i"}, "sv": {"i", "å", "ö"}}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A word, or two, that may have been meant. `zipf` is log10 of its uses per billion words (the rarer part's)."""

    written: str
    zipf: float
    split: bool = False


class Lexicon:
    """One language's words."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._checks = [
            hunspell.Hunspell(name, hunspell_data_dir=str(DATA), system_encoding="UTF-8")
            for name in _DICTIONARIES[language]
        ]
        self._words = Index(DATA / f"{language}.words", language)
        self._habits = _habits() if language == "en" else {}
        self._modern = _modern() if language == "en" else frozenset()

    def knows(self, word: str) -> bool:
        """Whether the word is right as it is written; in English with or without its accents: café and cafe."""
        if any(check.spell(word) for check in self._checks) or word.lower() in self._modern:
            return True
        plain = word.translate(_ACCENTS) if self.language == "en" else word
        return plain != word and self.knows(plain)

    def names(self, word: str) -> bool:
        """Whether the dictionaries have the word as a name: with a capital by nature, not by its place."""
        return any(stem[:1].isupper() for check in self._checks for stem in check.stem(word))

    def variants(self, word: str) -> tuple[bool, ...]:
        """Whether each dictionary accepts the word: for English the American, then the British."""
        return tuple(check.spell(word) for check in self._checks)

    def zipf(self, word: str) -> float:
        """Return the frequency of a word, in any case; 0 for one that is never proposed."""
        number = self._words.find(word.lower())
        return 0.0 if number is None else self._words.zipf(number)

    def certain(self, word: str) -> tuple[str, ...]:
        """Return what to write for a word that is wrong in a way all pupils share; past tense before participle."""
        if self.language == "en" and word.endswith("ys") and self.knows(plural := f"{word[:-2]}ies"):
            return (plural,)
        return self._habits[word].right if word in self._habits else ()

    def regularised(self, word: str) -> bool:
        """Whether a word is an irregular one inflected as if it were regular."""
        return word in self._habits and self._habits[word].regular

    def candidates(self, word: str) -> Iterator[Candidate]:
        """Yield what a word in small letters may have been meant for, in no order."""
        if len(word) > _LONGEST:
            return
        key = sound(word, self.language).key
        for number in self._words.near(word):
            written, zipf = self._words[number], self._words.zipf(number)
            lower = written.lower()
            near = OSA.distance(word, lower, score_cutoff=DISTANCE) <= DISTANCE
            if near or (zipf >= _HEARD_ZIPF and sound(lower, self.language).key == key):
                yield Candidate(written, zipf)
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


class Habit(NamedTuple):
    """What to write, and whether what was written is a regular form that the word has not."""

    right: tuple[str, ...]
    regular: bool = False


def _habits() -> dict[str, Habit]:
    """Return what pupils make regular, or write as one, and what to write instead: buyed -> bought, alot -> a lot."""
    forms: dict[str, Habit] = {}
    for line in HABITS.read_text("utf-8").splitlines():
        if line.startswith("#"):
            continue
        kind, base, *right = line.split()
        if kind == "word":
            forms[base] = Habit(tuple(right))
        if kind == "apart":
            forms["".join((base, *right))] = Habit((" ".join((base, *right)),))
        for number, ending in enumerate(_ENDINGS.get(kind, ())):
            wanted = tuple(right) if kind != "adjective" else (right[number],)
            for form in _inflected(base, ending) - {base, *wanted}:
                forms[form] = Habit(tuple(dict.fromkeys((*forms.get(form, Habit(())).right, *wanted))), regular=True)
    return forms


def _modern() -> frozenset[str]:
    """Return the words that are younger than the dictionaries, in small letters."""
    lines = HABITS.read_text("utf-8").splitlines()
    return frozenset(word for line in lines if line.startswith("known ") for word in line.lower().split()[1:])


def _inflected(base: str, ending: str) -> set[str]:
    """Return the ways in which a pupil may add a regular ending."""
    if ending == "s":
        return {base + "s", base + "es"}
    if base.endswith("e"):
        return {base + ending[1:]}
    forms = {base + ending, base + base[-1] + ending}
    if base.endswith("y"):
        forms.add(base[:-1] + "i" + ending)
    return forms


@cache
def lexicon(language: str) -> Lexicon:
    """Return the words of a language, loaded once in a process."""
    return Lexicon(language)
