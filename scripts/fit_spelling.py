"""Fit the weights of huleedu.phases.spellcheck.rank on codespell's list of misspellings.

Usage: pip install codespell; python scripts/fit_spelling.py [--pairs 12000] [--epochs 8]

The list (codespell_lib/data/dictionary.txt, CC BY-SA 3.0, derived from English Wikipedia's lists of misspellings) is
not shipped; weights.json holds a few fitted numbers and this command. Used are misspellings with one correction that
the dictionaries know and pupils use (Zipf >= 3); a hash of the correction sets a fifth of them aside for the figure.
The loss is the softmax's over each word's candidates, minimised by Adagrad (Duchi, Hazan and Singer 2011).
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
from collections.abc import Iterator
from importlib.metadata import distribution, version
from zlib import crc32

import wordfreq

from huleedu.phases.spellcheck.lexicon import lexicon
from huleedu.phases.spellcheck.rank import FEATURES, WEIGHTS, features

Pair = tuple[str, str]
Example = tuple[int, list[tuple[float, ...]]]  # which of the candidates was meant, and the features of all
LEAST_ZIPF = 3.0
# codespell's list holds slips of programmers; pupils write what they hear. A share of pairs is made from common words
# by one such spelling each, in the manner of Swedish writers (found in teachers' lists of common errors).
HEARD = (
    ("ch", "k"), ("ca", "ka"), ("co", "ko"), ("cl", "kl"), ("cr", "kr"), ("ct", "kt"), ("c", "s"), ("k", "c"),
    ("v", "w"), ("w", "v"), ("ph", "f"), ("tion", "sion"), ("sion", "tion"), ("y", "i"), ("i", "y"), ("th", "t"),
    ("z", "s"), ("s", "z"), ("x", "ks"), ("sh", "ch"), ("ch", "sh"), ("sch", "sk"), ("wh", "w"), ("wh", "v"),
    ("kn", "n"), ("wr", "r"), ("ght", "gt"), ("ght", "th"), ("gh", ""), ("gh", "f"), ("ck", "k"), ("ck", "c"),
    ("ee", "ea"), ("ea", "ee"), ("ie", "ei"), ("ou", "u"), ("ou", "o"), ("oo", "u"), ("ai", "ay"), ("ay", "ai"),
    ("a", "e"), ("e", "a"), ("e", "i"), ("i", "e"), ("au", "o"), ("o", "å"), ("qu", "kv"), ("g", "j"), ("j", "g"),
    ("y", "j"), ("dge", "ge"), ("oa", "o"), ("er", "or"), ("ous", "us"), ("ence", "ens"), ("able", "ible"),
)  # fmt: skip
SHRINKAGE = 1e-4


def pairs() -> Iterator[Pair]:
    """Yield (misspelling, correction) from codespell's list."""
    words = lexicon("en")
    path = distribution("codespell").locate_file("codespell_lib/data/dictionary.txt")
    with open(str(path), encoding="utf-8") as file:  # noqa: PTH123  a package resource, not a path of ours
        for line in file:
            wrong, _, right = line.strip().partition("->")
            if "," in right or not wrong.isalpha() or wrong.lower() != wrong or words.knows(wrong):
                continue
            if min(map(words.zipf, right.split()), default=0.0) >= LEAST_ZIPF:
                yield wrong, right


def heard(count: int) -> Iterator[Pair]:
    """Yield pairs of a word as it may be heard, or with a consonant doubled or not, and the word."""
    words, choose = lexicon("en"), random.Random(2)  # noqa: S311  a fixed choice, so that the fit can be repeated
    common = [word for word in wordfreq.top_n_list("en", 6000) if word.isalpha() and len(word) > 3 and words.zipf(word)]
    doubles = tuple((letter * 2, letter) for letter in "bcdfglmnprst") * 2
    singles = tuple((letter, letter * 2) for letter in "bcdfglmnprst")
    while count:
        right, (there, here) = choose.choice(common), choose.choice(HEARD + doubles + singles)
        at = choose.randrange(len(right))
        wrong = right[:at] + right[at:].replace(there, here, 1)
        if wrong != right and not words.knows(wrong) and not words.knows(wrong.capitalize()):
            count -= 1
            yield wrong, right


def example(pair: Pair) -> Example | None:
    """Return the candidates' features; None when the correction is not among them."""
    wrong, right = pair
    candidates = list({found.written: found for found in lexicon("en").candidates(wrong)}.values())
    meant = [number for number, found in enumerate(candidates) if found.written.lower() == right.lower()]
    if not meant:
        return None
    return meant[0], [features(wrong, found, "en") for found in candidates]


def fit(examples: list[Example], epochs: int) -> list[float]:
    """Return the weights that make what was meant most probable."""
    weights, squares = [0.0] * len(FEATURES), [1e-8] * len(FEATURES)
    shuffle = random.Random(1)  # noqa: S311  a fixed order, so that the fit can be repeated
    for _ in range(epochs):
        shuffle.shuffle(examples)
        for meant, rows in examples:
            scores = [sum(map(float.__mul__, weights, map(float, row))) for row in rows]
            top = max(scores)
            odds = [math.exp(score - top) for score in scores]
            total = sum(odds)
            for at in range(len(FEATURES)):
                expected = sum(odd * row[at] for odd, row in zip(odds, rows, strict=True)) / total
                slope = rows[meant][at] - expected - SHRINKAGE * weights[at]
                squares[at] += slope * slope
                weights[at] += 0.3 * slope / math.sqrt(squares[at])
    return weights


def accuracy(examples: list[Example | None], weights: list[float]) -> float:
    """Return the share, in per cent, of words whose correction comes first; one that is no candidate is a miss."""
    hits = 0
    for found in examples:
        if found:
            scores = [sum(map(float.__mul__, weights, map(float, row))) for row in found[1]]
            hits += scores[found[0]] == max(scores)
    return round(100 * hits / max(len(examples), 1), 1)


def apart(found: list[Pair]) -> tuple[list[Example | None], list[Example | None]]:
    """Return the examples to fit and those set aside; a correction is in one of them only."""
    return (
        [example(pair) for pair in found if crc32(pair[1].encode()) % 5],
        [example(pair) for pair in found if not crc32(pair[1].encode()) % 5],
    )


def main() -> None:
    """Fit, and write weights.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=12000, help="how many pairs of codespell's list to use")
    parser.add_argument("--heard", type=int, default=4000, help="how many made pairs to use")
    parser.add_argument("--epochs", type=int, default=8, help="how often to go through them")
    options = parser.parse_args()
    listed = random.Random(1).sample(found := sorted(pairs()), min(options.pairs, len(found)))  # noqa: S311  as above
    train, test = apart(listed)
    made_train, made_test = apart(list(heard(options.heard)))
    weights = fit([found for found in train + made_train if found], options.epochs)
    fitted = {
        "command": "python scripts/fit_spelling.py "
        f"--pairs {options.pairs} --heard {options.heard} --epochs {options.epochs}",
        "data": f"codespell {version('codespell')}: {len(train)} pairs fitted, {len(test)} set aside; "
        f"made: {len(made_train)} fitted, {len(made_test)} set aside",
        "right_first_per_cent_of_those_set_aside": {
            "codespell": accuracy(test, weights),
            "made": accuracy(made_test, weights),
        },
        "candidate_missing_per_cent": round(100 * sum(found is None for found in test) / len(test), 1),
        "weights": {name: round(weight, 3) for name, weight in zip(FEATURES, weights, strict=True)},
    }
    WEIGHTS.write_text(json.dumps(fitted, indent=1) + "\n", "utf-8")
    sys.stdout.write(json.dumps(fitted, indent=1) + "\n")


if __name__ == "__main__":
    main()
