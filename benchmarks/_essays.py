"""Essays to assess: the sentences of the example class in ever new orders, with slips of the hand."""

import random
from pathlib import Path

from huleedu.files.extract import extract
from huleedu.phases import text as texts

EXAMPLES = Path(__file__).parents[1] / "examples" / "class-9b"
WORDS = 350
SLIP = 40  # one word in so many gets two letters exchanged, so that misspellings are as new to a cache as in life


def essays(count: int, seed: int = 1) -> list[str]:
    """Return so many texts of about 350 words each; the same for the same seed."""
    shuffled = random.Random(seed)
    read = [extract(path.read_bytes(), path.name) for path in sorted(EXAMPLES.iterdir())]
    pool = [" ".join(text[start:end].split()) for text in read for start, end in texts.sentences(text)]
    return [_essay(shuffled, pool) for _ in range(count)]


def _essay(shuffled: random.Random, pool: list[str]) -> str:
    words: list[str] = []
    for sentence in shuffled.sample(pool, len(pool)):
        if len(words) < WORDS:
            words += [_typed(shuffled, word) for word in sentence.split()]
    return " ".join(words[:WORDS])


def _typed(shuffled: random.Random, word: str) -> str:
    if len(word) < 4 or shuffled.randrange(SLIP):
        return word
    at = shuffled.randrange(1, len(word) - 2)
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
