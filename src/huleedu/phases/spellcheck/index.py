"""The words worth proposing, and a compact index of those within a small distance of a misspelled one.

The idea is SymSpell's symmetric delete (W. Garbe 2012): two words at most two edits apart share a string that either
becomes by at most two deletions; only a prefix is indexed. Instead of a dictionary of strings (120 MB for English, and
no longer shared between processes once touched) the strings' hashes lead into one flat array in a file that is mapped,
not read: nothing to load, and one copy in memory for all workers. Words that sound alike are found in the same array.

The file, in 32-bit little-endian integers: how many words, how many numbers; where each bucket's numbers begin; the
numbers; where each word begins; 100 times each word's Zipf frequency; then the words in UTF-8, end to end, sorted in
small letters.
"""

from __future__ import annotations

import mmap
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate, combinations
from pathlib import Path
from zlib import crc32

from huleedu.phases.spellcheck.sound import sound

DISTANCE = 2
_PREFIX = 7  # SymSpell's own choice: longer finds fewer false candidates in more memory
_BUCKETS = 1 << 20
_HEADER = 2


def _buckets(word: str, language: str) -> set[int]:
    prefix = word[:_PREFIX]
    keys = {
        "".join(kept)
        for size in range(max(len(prefix) - DISTANCE, 0), len(prefix) + 1)
        for kept in combinations(prefix, size)
    }
    keys.add("\0" + sound(word, language).key)
    return {crc32(key.encode()) % _BUCKETS for key in keys}


def build(entries: Iterable[tuple[str, float]], language: str) -> bytes:
    """Return the file for these words and their Zipf frequencies."""
    words = sorted(entries, key=lambda entry: (entry[0].lower(), entry[0]))
    pairs = sorted(
        (bucket << 32) | number for number, (word, _) in enumerate(words) for bucket in _buckets(word.lower(), language)
    )
    sizes = [0] * _BUCKETS
    for pair in pairs:
        sizes[pair >> 32] += 1
    encoded = [word.encode() for word, _ in words]
    numbers = array("I", (len(words), len(pairs)))
    numbers.extend(accumulate(sizes, initial=0))
    numbers.extend(pair & 0xFFFFFFFF for pair in pairs)
    numbers.extend(accumulate(map(len, encoded), initial=0))
    numbers.extend(round(zipf * 100) for _, zipf in words)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes() + b"".join(encoded)


class Index:
    """The words in a file, as `build` wrote it, as they are written, in the order of their small letters."""

    def __init__(self, path: Path, language: str) -> None:
        with path.open("rb") as file:
            self._bytes = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        self._language = language
        self._count, size = array("I", self._bytes[: 4 * _HEADER].tobytes())
        self._first = _HEADER + _BUCKETS + 1
        self._starts = self._first + size
        self._zipfs = self._starts + self._count + 1
        self._words = 4 * (self._zipfs + self._count)
        self._numbers = self._bytes[: self._words].cast("I")

    def __getitem__(self, number: int) -> str:
        start, end = self._numbers[self._starts + number], self._numbers[self._starts + number + 1]
        return str(self._bytes[self._words + start : self._words + end], "utf-8")

    def zipf(self, number: int) -> float:
        """Return the frequency of a word: log10 of its uses per billion words."""
        return self._numbers[self._zipfs + number] / 100

    def find(self, lower: str) -> int | None:
        """Return the number of a word given in small letters; None when it is not there."""
        at = bisect_left(range(self._count), lower, key=lambda number: self[number].lower())
        return at if at < self._count and self[at].lower() == lower else None

    def near(self, lower: str) -> Iterable[int]:
        """Return the numbers of all words that may be near one given in small letters, and of some that are not."""
        found: set[int] = set()
        for bucket in _buckets(lower, self._language):
            first, last = self._numbers[_HEADER + bucket], self._numbers[_HEADER + bucket + 1]
            found.update(self._numbers[self._first + first : self._first + last])
        return found
