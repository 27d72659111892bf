"""Words, sentences and paragraphs of an essay, as spans of the text; the phases count and check the same ones."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

_MARKS = "\u0300-\u036f"  # combining diacritics: å written as a + ring (NFD)
_JOINERS = "\u00ad\u200b-\u200d\u2060\ufeff"  # soft hyphen and zero-width characters: not seen, so no part of spelling
_APOSTROPHES = "'’‘ʼ´`"
# Repetitions are bounded, so that no text makes the search slow.
_TOKEN = re.compile(
    rf"""(?P<address>(?:https?://|www\.)\S{{1,2000}}
       | [\w.+-]{{1,64}}@[\w-]{{1,64}}(?:\.[\w-]{{1,64}}){{1,8}}
       | [@\#]\w{{1,64}}
       | (?<![\w.])(?:[\w-]{{1,64}}\.){{1,6}}(?:com|se|org|net|nu|io|eu|uk|edu)\b)
       | (?P<word>[^\W_](?:[^\W_]|[{_MARKS}{_JOINERS}]|[{_APOSTROPHES}‐‑-](?=[^\W_]))*)""",  # noqa: RUF001
    re.VERBOSE,
)
_LATIN = re.compile(r"[A-Za-zÀ-ÖØ-öø-ɏ]+(?:['-][A-Za-zÀ-ÖØ-öø-ɏ]+)*")
_PLAIN = str.maketrans(dict.fromkeys("’‘ʼ´`", "'") | dict.fromkeys("‐‑", "-"))  # noqa: RUF001
_UNSEEN = re.compile(f"[{_JOINERS}]")

_END = re.compile(r"(?<![.!?…])[.!?…]++[\"'”’»)\]]*+(?=\s)")
_ABBREVIATION = re.compile(
    r"(?:\b(?:[A-Za-zÅÄÖåäö]|[Mm]rs?|[Mm]s|[Dd]r|[Pp]rof|[Ss]t|etc|e\.g|i\.e|vs|approx|"
    r"t\.ex|bl\.a|m\.m|d\.v\.s|dvs|osv|ca|kl|nr|s\.k))\.$"
)
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|(?<=.)$)")
_WRAPPED_AT = 100  # no line of a text wrapped by hand is longer; in other texts a line is a paragraph


@dataclass(frozen=True, slots=True)
class Token:
    """A word or address in the text.

    `plain` is the word as dictionaries write it: composed (NFC), apostrophes and hyphens straight, nothing unseen.
    `word` is false for what is not spelled with Latin letters only: numbers, addresses, other scripts.
    `address` is true for what is no language: web and mail addresses, tags.
    """

    start: int
    end: int
    plain: str
    word: bool
    address: bool = False


@lru_cache(maxsize=1 << 14)
def _plain(text: str) -> tuple[str, bool]:
    plain = unicodedata.normalize("NFC", _UNSEEN.sub("", text.translate(_PLAIN)))
    return plain, _LATIN.fullmatch(plain) is not None


def tokens(text: str) -> Iterator[Token]:
    """Yield the words and addresses of the text in order."""
    for match in _TOKEN.finditer(text):
        if match["word"]:
            yield Token(match.start(), match.end(), *_plain(match[0]))
        else:
            yield Token(match.start(), match.end(), match[0], word=False, address=True)


def sentences(text: str) -> list[tuple[int, int]]:
    """Return the spans of the sentences: to a full stop, question or exclamation mark, or the end of a paragraph.

    A full stop after a known abbreviation or a single letter ends nothing; neither does "..." before a small letter.
    """
    spans: list[tuple[int, int]] = []
    for start, end in paragraphs(text):
        at = start
        for match in _END.finditer(text, start, end):
            if _ends(text, match, at):
                spans.append((at, match.end()))
                at = match.end()
        spans.append((at, end))
    return [(start, end) for start, end in spans if text[start:end].strip()]


def _ends(text: str, match: re.Match[str], since: int) -> bool:
    following = text[match.end() : match.end() + 3].lstrip()[:1]
    if match[0].startswith(("..", "…")):
        return not following.islower()
    if match[0] == ".":
        before = text[max(since, match.start() - 8) : match.end()]
        return _ABBREVIATION.search(before) is None or before.endswith((" I.", " i."))
    return True


def paragraphs(text: str) -> list[tuple[int, int]]:
    """Return the spans of the paragraphs: between blank lines, or lines, unless the text was wrapped by hand.

    A text counts as wrapped by hand when no line is longer than 100 characters and most lines stop in mid-sentence.
    """
    lines = _LINE.findall(text)
    filled = [line.rstrip() for line in lines if line.strip()]
    broken = sum(not line.endswith((".", "!", "?", ":", "…", '"', "”")) for line in filled[:-1])
    wrapped = all(len(line) <= _WRAPPED_AT for line in filled) and broken * 2 > len(filled) - 1
    spans: list[tuple[int, int]] = []
    at, joins = 0, False
    for line in lines:
        end = at + len(line)
        if line.strip():
            spans.append((spans.pop()[0], end) if joins else (at, end))
        joins = wrapped and bool(line.strip())
        at = end
    return spans
