"""Build src/huleedu/phases/spellcheck/data/: dictionaries, their licences, and the words to propose with their index.

Usage: python scripts/build_dictionaries.py [--force]. Needs npm, chunspell and wordfreq; does nothing when the data
were made from the same sources already. Takes about half a minute.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from pathlib import Path

import hunspell
import wordfreq

ROOT = Path(__file__).resolve().parent.parent
PHASE = ROOT / "src/huleedu/phases/spellcheck"
DATA = PHASE / "data"
PACKAGES = ROOT / "dictionaries"
SOURCES = (Path(__file__), PHASE / "index.py", PHASE / "sound.py", PACKAGES / "package-lock.json")

sys.path.insert(0, str(ROOT / "src"))  # the package is not installed yet when its wheel is built
from huleedu.phases.spellcheck import index  # noqa: E402  see above

DICTIONARIES = {"en": ("en", "en-gb"), "sv": ("sv",)}
# Rarer words are seldom meant, and sv has 340,000: the least Zipf value (log10 of uses per billion words) proposed.
LEAST_ZIPF = {"en": 1.2, "sv": 1.8}
WORD = re.compile(r"[a-zà-öø-ÿ]+(?:['-][a-zà-öø-ÿ]+)*")
PERSON_I = re.compile(r"i(?:'\w+)?")
NOTICE = """\
en.words and sv.words are derived from wordfreq {wordfreq} (Robyn Speer; data CC BY-SA 4.0,
https://github.com/rspeer/wordfreq): the words that the dictionaries here accept, with their frequencies, under the
same licence (CC BY-SA 4.0), and an index of them. wordfreq's sources: Wikipedia, OpenSubtitles 2018, Google Books,
Common Crawl and others as its documentation lists them.
The dictionaries are those of the npm packages dictionary-en, dictionary-en-gb and dictionary-sv, unchanged; their
licences lie beside them.
"""


def fingerprint() -> str:
    """Return a hash of all that decides what is built."""
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in SOURCES)).hexdigest()


def fetch() -> dict[str, str]:
    """Copy the dictionaries and their licences; return their versions."""
    npm = shutil.which("npm")
    if npm is None:
        raise SystemExit("npm is needed to fetch the dictionaries: install Node.js 20 or newer")
    subprocess.run([npm, "ci", "--silent"], cwd=PACKAGES, check=True)
    versions = {}
    for name in (name for names in DICTIONARIES.values() for name in names):
        package = PACKAGES / "node_modules" / f"dictionary-{name}"
        versions[name] = json.loads((package / "package.json").read_text("utf-8"))["version"]
        for suffix in ("aff", "dic"):
            shutil.copyfile(package / f"index.{suffix}", DATA / f"{name}.{suffix}")
        shutil.copyfile(package / "license", DATA / f"LICENSE.dictionary-{name}")
    return versions


def unfit(names: tuple[str, ...]) -> set[str]:
    """Return the words that the dictionaries know but mark as never to be proposed (vulgar ones mostly)."""
    marked = (
        line.split("/", 1)
        for name in names
        for line in (DATA / f"{name}.dic").read_text("utf-8").splitlines()[1:]
        if "/" in line
    )
    return {word for word, flags in marked if "!" in flags and word.islower()}


def proposals(language: str) -> Iterator[tuple[str, float]]:
    """Yield (word as it is written, Zipf frequency) for the words worth proposing."""
    names = DICTIONARIES[language]
    checks = [hunspell.Hunspell(name, hunspell_data_dir=str(DATA), system_encoding="UTF-8") for name in names]
    barred = unfit(names)
    stems = tuple(word for word in barred if len(word) > 3) if language == "en" else ()  # their inflections too
    for word in wordfreq.iter_wordlist(language, "large"):
        zipf = wordfreq.zipf_frequency(word, language, "large")
        if zipf < LEAST_ZIPF[language]:
            return
        single = len(word) == 1 and word not in {"a", "i", "o", "å", "ö"}
        if single or not WORD.fullmatch(word) or word in barred or (stems and word.startswith(stems)):
            continue
        if language == "en" and PERSON_I.fullmatch(word):
            yield word.capitalize(), zipf
            continue
        for written in (word, word.capitalize()):
            if any(check.spell(written) for check in checks):
                yield written, zipf
                break


def write_words(language: str) -> int:
    """Write the words of a language with their frequencies and index; return how many."""
    words = list(proposals(language))
    (DATA / f"{language}.words").write_bytes(index.build(words, language))
    return len(words)


def main() -> None:
    """Build what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--force", action="store_true", help="build even when nothing changed")
    force = parser.parse_args().force
    manifest = DATA / "manifest.json"
    made_from = fingerprint()
    if not force and manifest.exists() and json.loads(manifest.read_text("utf-8"))["made_from"] == made_from:
        return
    shutil.rmtree(DATA, ignore_errors=True)
    DATA.mkdir(parents=True)
    versions = fetch() | {"wordfreq": version("wordfreq")}
    with ProcessPoolExecutor(len(DICTIONARIES)) as pool:
        counts = dict(zip(DICTIONARIES, pool.map(write_words, DICTIONARIES), strict=True))
    (DATA / "NOTICE").write_text(NOTICE.format_map(versions), "utf-8")
    hashes = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        for path in sorted(DATA.iterdir())
        if path.suffix in {".aff", ".dic", ".words"}
    }
    entry = {"made_from": made_from, "versions": versions, "words": counts, "sha256": hashes}
    manifest.write_text(json.dumps(entry, indent=1) + "\n", "utf-8")  # last: it says that all the rest is there
    sys.stdout.write(f"{DATA.relative_to(ROOT)}: {json.dumps(counts)} words to propose\n")


if __name__ == "__main__":
    main()
