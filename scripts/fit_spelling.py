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

from huleedu.phases.spellcheck.lexicon import lexicon
from huleedu.phases.spellcheck.rank import FEATURES, WEIGHTS, features

Pair = tuple[str, str]
Example = tuple[int, list[tuple[float, ...]]]  # which of the candidates was meant, and the features of all
LEAST_ZIPF = 3.0
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
    return round(100 * hits / len(examples), 1)


def main() -> None:
    """Fit, and write weights.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=12000, help="how many pairs to use")
    parser.add_argument("--epochs", type=int, default=8, help="how often to go through them")
    options = parser.parse_args()
    chosen = random.Random(1).sample(found := sorted(pairs()), min(options.pairs, len(found)))  # noqa: S311  as above
    train = [example(pair) for pair in chosen if crc32(pair[1].encode()) % 5]
    test = [example(pair) for pair in chosen if not crc32(pair[1].encode()) % 5]
    weights = fit([found for found in train if found], options.epochs)
    fitted = {
        "command": f"python scripts/fit_spelling.py --pairs {options.pairs} --epochs {options.epochs}",
        "data": f"codespell {version('codespell')}: {len(train)} pairs fitted, {len(test)} set aside",
        "right_first_per_cent": {"fitted": accuracy(train, weights), "set_aside": accuracy(test, weights)},
        "candidate_missing_per_cent": round(100 * sum(found is None for found in test) / len(test), 1),
        "weights": {name: round(weight, 3) for name, weight in zip(FEATURES, weights, strict=True)},
    }
    WEIGHTS.write_text(json.dumps(fitted, indent=1) + "\n", "utf-8")
    sys.stdout.write(json.dumps(fitted, indent=1) + "\n")


if __name__ == "__main__":
    main()
