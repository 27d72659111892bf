"""A compact index of the words within a small distance of a misspelled one.

The idea is SymSpell's symmetric delete (W. Garbe 2012): two words at most two edits apart share a string that either
becomes by at most two deletions; only a prefix is indexed. Instead of a dictionary of strings (120 MB for English, not
shared between processes once touched) the strings' hashes lead into one flat array in a file that is mapped, not read:
nothing to load, and one copy in memory for all workers. Words that merely sound alike are found through the same array.
"""

from __future__ import annotations

import mmap
import sys
from array import array
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from zlib import crc32

from huleedu.phases.spellcheck.sound import Sound, sound

DISTANCE = 2
_PREFIX = 7  # SymSpell's own choice: longer finds fewer false candidates in more memory
_BUCKETS = 1 << 20


def _buckets(word: str, language: str) -> set[int]:
    prefix = word[:_PREFIX]
    keys = {
        "".join(kept)
        for size in range(max(len(prefix) - DISTANCE, 0), len(prefix) + 1)
        for kept in combinations(prefix, size)
    }
    keys.add("\0" + sound(word, language).key)
    return {crc32(key.encode()) % _BUCKETS for key in keys}


def build(words: Sequence[str], language: str) -> bytes:
    """Return the index of these words: bucket offsets, then word numbers, as 32-bit little-endian integers."""
    pairs = sorted((bucket << 32) | number for number, word in enumerate(words) for bucket in _buckets(word, language))
    offsets = array("I", bytes(4 * (_BUCKETS + 1)))
    for pair in pairs:
        offsets[(pair >> 32) + 1] += 1
    for bucket in range(_BUCKETS):
        offsets[bucket + 1] += offsets[bucket]
    numbers = array("I", (pair & 0xFFFFFFFF for pair in pairs))
    if sys.byteorder == "big":
        offsets.byteswap()
        numbers.byteswap()
    return offsets.tobytes() + numbers.tobytes()


class Index:
    """The index in a file, as `build` wrote it."""

    def __init__(self, path: Path, language: str) -> None:
        with path.open("rb") as file:
            self._map = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)).cast("I")
        self._language = language

    def near(self, word: str) -> Iterable[int]:
        """Return the numbers of all words that may be near, and some that are not."""
        found: set[int] = set()
        for bucket in _buckets(word, self._language):
            first, last = self._map[bucket] + _BUCKETS + 1, self._map[bucket + 1] + _BUCKETS + 1
            found.update(self._map[first:last])
        return found
