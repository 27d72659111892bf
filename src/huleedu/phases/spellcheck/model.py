"""The check of a text: which words are not known, what was meant, and what is to be said to the pupil."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from huleedu.contracts.phase import Language, PhaseContext
from huleedu.contracts.results import Correction, CorrectionKind, SpellcheckMetrics
from huleedu.phases.spellcheck import grammar
from huleedu.phases.spellcheck.lexicon import lexicon
from huleedu.phases.spellcheck.rank import Ranked, ranked
from huleedu.phases.text import Token, sentences, tokens

# From here on a proposal replaces the word; below, it is only remarked. Both chosen by hand on essays of the examples.
CONFIDENT = 0.2
NOT_A_NAME = 0.9  # so sure must be that a word with a capital inside a sentence is no unknown name
FOREIGN_ZIPF = 3.0  # frequency in its own language from which a word counts as left in
MEANT_BY_ZIPF = 1.5  # by how much more frequent a proposal must be than the foreign word to have been meant
ACRONYM = 5  # letters: longer words in capitals are shouted, not acronyms
_OTHER = {Language.EN: Language.SV, Language.SV: Language.EN}
# After these comes a participle: "have written".
_PERFECT = frozenset({
    "have", "has", "had", "having", "be", "am", "is", "are", "was", "were", "been", "being", "get", "got",
    "i've", "you've", "we've", "they've", "hasn't", "haven't", "hadn't",
})  # fmt: skip
_OPENERS = frozenset("\"'“”‘’:•*–-([")  # a word after one of these may begin a quotation or an item
_LIKELY = 0.5
_SHORT = 3  # letters
_HABITS = (
    ("k", "c"), ("k", "ch"), ("v", "w"), ("w", "v"), ("sk", "sch"), ("f", "ph"), ("sj", "sh"), ("j", "y"),
    ("sion", "tion"), ("kv", "qu"), ("ks", "x"), ("å", "o"), ("ä", "e"),
)  # fmt: skip
_L2 = frozenset({"spelling:foreign_word", "spelling:irregular", "spelling:foreign_habit"})
_MESSAGES = {
    "en": {
        "spelling:unknown_word": "“{word}” is not in the dictionary. Check the spelling.",
        "spelling:misspelling": "“{word}” is not in the dictionary. Did you mean “{right}”?",
        "spelling:foreign_habit": "“{word}” is spelled the way it sounds in Swedish. In English it is “{right}”.",
        "spelling:foreign_word": "“{word}” is a Swedish word. Find the English one.",
        "spelling:irregular": "This word is irregular: write “{right}”, not “{word}”.",
        "spelling:split": "“{right}” is written as separate words.",
        "spelling:capital": "“{right}” begins with a capital letter.",
        "spelling:apostrophe": "“{right}” has an apostrophe.",
        "style:mixed_english": "“{word}” is {this}, but most of this text is {that}. Both are right; keep to one.",
    },
    "sv": {
        "spelling:unknown_word": "”{word}” finns inte i ordlistan. Kontrollera stavningen.",
        "spelling:misspelling": "”{word}” finns inte i ordlistan. Menade du ”{right}”?",
        "spelling:foreign_habit": "”{word}” stavas som det låter. Skriv ”{right}”.",
        "spelling:foreign_word": "”{word}” är ett engelskt ord. Finns det ett svenskt?",
        "spelling:irregular": "Ordet böjs oregelbundet: skriv ”{right}”, inte ”{word}”.",
        "spelling:split": "”{right}” skrivs isär.",
        "spelling:capital": "”{right}” skrivs med stor bokstav.",
        "spelling:apostrophe": "”{right}” skrivs med apostrof.",
    },
}


class Word(NamedTuple):
    """A token, or a part of one between hyphens; `opens` if it begins a sentence, `after` the word before it."""

    token: Token
    opens: bool
    after: str

    @property
    def capital(self) -> bool:
        """Whether it begins with a capital letter."""
        return self.token.plain[0].isupper()


class Reader:
    """Reads one text and says which of its words are not known, and why they may stand all the same."""

    def __init__(self, text: str, language: Language, known: frozenset[str]) -> None:
        self.text = text
        self.language = language
        self.lexicon = lexicon(language)
        self.other = lexicon(_OTHER[language])
        self._known = known
        self._curly = text.count("’") > text.count("'")
        self.words = list(self._words())
        self._names = {word.token.plain for word in self.words if word.capital and self._is_name(word)}

    def _words(self) -> Iterator[Word]:
        starts = sorted(start for start, _ in sentences(self.text))
        found, at, after = list(tokens(self.text)), 0, ""
        for number, token in enumerate(found):
            opens = number == 0
            while at < len(starts) and starts[at] <= token.start:
                at, opens = at + 1, True
            opens = opens or self.text[token.start - 1] in _OPENERS
            if token.word:
                for part in self._parts(token):
                    yield Word(part, opens, after)
                    after = part.plain.lower()

    def _parts(self, token: Token) -> list[Token]:
        """Return the parts of a word with hyphens that is not known as a whole, if they can be told apart."""
        pieces = token.plain.split("-")
        same_length = len(token.plain) == token.end - token.start
        if len(pieces) == 1 or not same_length or self.lexicon.knows(token.plain):
            return [token]
        parts, at = [], token.start
        for piece in pieces:
            parts.append(replace(token, start=at, end=at + len(piece), plain=piece))
            at += len(piece) + 1
        return parts

    def accepts(self, word: Word) -> bool:
        """Whether the word may stand: known, a name, or one of those that are never wrong."""
        plain = word.token.plain
        if len(plain) == 1 or self.lexicon.knows(plain) or plain.lower() in self._known:
            return True
        if plain.isupper():
            return len(plain) <= ACRONYM
        if not (plain.islower() or plain.istitle() or "'" in plain):
            return True  # capitals inside: a brand
        if plain.endswith(("'s", "'")) and len(plain) > _SHORT:
            stem = replace(word.token, plain=plain.rpartition("'")[0])
            return self.accepts(word._replace(token=stem))
        return word.capital and (plain in self._names or self._is_name(word))

    def _is_name(self, word: Word) -> bool:
        """Whether the other language knows the word with a capital, where only a name has one."""
        plain = word.token.plain
        return self.other.names(plain) if word.opens else self.other.knows(plain)

    def remark(self, word: Word) -> Correction | None:
        """Return what to say of a word that may not stand; None when it is more likely a name."""
        plain = word.token.plain
        proposals = self._proposals(word)
        best = proposals[0] if proposals else None
        if word.capital and not word.opens and not plain.isupper() and not self._sure(best):
            return None
        if self._is_foreign(plain.lower(), best):
            return self._say(word, "spelling:foreign_word", None, proposals)
        if best is None or best.confidence < CONFIDENT:
            return self._say(word, "spelling:unknown_word", None, proposals)
        return self._say(word, self._rule(plain.lower(), best), best, proposals[1:])

    def _proposals(self, word: Word) -> list[Ranked]:
        proposals = list(ranked(word.token.plain.lower(), self.language))
        certain = [found for found in proposals if found.certain]
        if len(certain) > 1 and word.after in _PERFECT:  # "have writed": the participle
            proposals.remove(certain[-1])
            proposals.insert(0, certain[-1])
        return proposals

    def _sure(self, best: Ranked | None) -> bool:
        return best is not None and best.confidence >= NOT_A_NAME and self.lexicon.zipf(best.written) >= FOREIGN_ZIPF

    def _is_foreign(self, lower: str, best: Ranked | None) -> bool:
        zipf = self.other.zipf(lower)
        if zipf < FOREIGN_ZIPF or not self.other.knows(lower):
            return False
        meant = (
            best is not None and best.confidence > _LIKELY and self.lexicon.zipf(best.written) > zipf + MEANT_BY_ZIPF
        )
        return not meant and not (best is not None and best.certain)

    def _rule(self, lower: str, best: Ranked) -> str:
        meant = best.written.lower()
        if " " in meant:
            return "spelling:split"
        if self.lexicon.regularised(lower) and best.certain:
            return "spelling:irregular"
        if meant == lower:
            return "spelling:capital"
        if meant.replace("'", "") == lower:
            return "spelling:apostrophe"
        if self.language == Language.EN and _swedish_habit(lower, meant):
            return "spelling:foreign_habit"
        return "spelling:misspelling"

    def _say(self, word: Word, rule: str, best: Ranked | None, others: Iterable[Ranked]) -> Correction:
        token = word.token
        original = self.text[token.start : token.end]
        right = self._written(token.plain, best.written) if best else None
        return Correction(
            offset=token.start,
            length=token.end - token.start,
            original=original,
            replacement=right,
            kind=CorrectionKind.SPELLING,
            rule=rule,
            message=_MESSAGES[self.language][rule].format(word=token.plain, right=right),
            confidence=round(best.confidence, 3) if best else 0.0,
            alternatives=tuple(dict.fromkeys(self._written(token.plain, other.written) for other in others)),
        )

    def _written(self, typed: str, word: str) -> str:
        """Return the proposal in the capitals and apostrophes of the text."""
        if typed.isupper() and len(typed) > 1:
            word = word.upper()
        elif typed[0].isupper():
            word = word[0].upper() + word[1:]
        return word.replace("'", "’") if self._curly else word


def _swedish_habit(typed: str, meant: str) -> bool:
    """Whether writing the word right takes undoing one Swedish habit, such as k for c, and nothing else."""
    return any(meant in (typed.replace(habit, right), typed.replace(habit, right, 1)) for habit, right in _HABITS)


def spelling(text: str, context: PhaseContext) -> list[Correction]:
    """Return what is to be said of the words of a text, in its order."""
    known = {part for word in (context.essay_instructions, *context.known_words) for part in _forms(word)}
    reader = Reader(text, context.language, frozenset(known))
    found = (reader.remark(word) for word in reader.words if not reader.accepts(word))
    return [remark for remark in found if remark]


def _forms(text: str) -> Iterator[str]:
    """Yield the words of a text, in small letters, whole and between hyphens."""
    for token in tokens(text):
        lower = token.plain.lower()
        yield lower
        yield from lower.split("-")


def mixed(text: str) -> list[Correction]:
    """Return one remark when a text has both American and British spellings: on the first of the rarer kind.

    -ize and -yse count as neither: both are British too.
    """
    sides: tuple[list[Token], list[Token]] = [], []
    for token in tokens(text):
        if (
            token.word
            and token.plain.islower()
            and len(token.plain) > _SHORT
            and not {"iz", "yz"} & _pairs(token.plain)
        ):
            american, british = lexicon("en").variants(token.plain)
            if american != british:
                sides[british].append(token)
    if not all(sides):
        return []
    rarer = int(len(sides[1]) <= len(sides[0]))
    token, names = sides[rarer][0], ("American", "British")
    message = _MESSAGES["en"]["style:mixed_english"]
    return [
        Correction(
            offset=token.start,
            length=token.end - token.start,
            original=text[token.start : token.end],
            replacement=None,
            kind=CorrectionKind.STYLE,
            rule="style:mixed_english",
            message=message.format(word=token.plain, this=names[rarer], that=names[1 - rarer]),
            confidence=1.0,
        )
    ]


def _pairs(word: str) -> set[str]:
    return {word[at : at + 2] for at in range(len(word) - 1)}


def check(text: str, context: PhaseContext) -> list[Correction]:
    """Return all remarks on a text, sorted, none overlapping another: what spelling says goes before grammar."""
    remarks = spelling(text, context)
    if context.language == Language.EN:
        remarks += sorted(grammar.remarks(text), key=lambda remark: (remark.offset, -remark.length, remark.rule))
        remarks += mixed(text)
    taken: list[Correction] = []
    covered = bytearray(len(text))
    for token in tokens(text):
        if token.address:
            covered[token.start : token.end] = b"\1" * (token.end - token.start)
    for remark in remarks:
        if not any(covered[remark.offset : remark.end]):
            covered[remark.offset : remark.end] = b"\1" * remark.length
            taken.append(remark)
    return sorted(taken, key=lambda remark: remark.offset)


def metrics(text: str, corrections: Iterable[Correction]) -> SpellcheckMetrics:
    """Return the figures of a check."""
    words = sum(1 for _ in tokens(text))
    corrections = list(corrections)
    kinds = [correction.kind for correction in corrections]
    return SpellcheckMetrics(
        word_count=words,
        total_corrections=len(corrections),
        spelling_corrections=kinds.count(CorrectionKind.SPELLING),
        grammar_corrections=kinds.count(CorrectionKind.GRAMMAR),
        l2_corrections=sum(correction.rule in _L2 for correction in corrections),
        correction_density=round(100 * len(corrections) / words, 2) if words else 0.0,
    )
