"""Build the teacher's page from web/ into src/huleedu/gateway/page/.

Usage: python scripts/build_page.py [--force]. Needs npm; does nothing when the page was made from the same sources
already. Takes about a quarter of a minute the first time.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WEB = ROOT / "web"
PAGE = ROOT / "src/huleedu/gateway/page"
MADE_FROM = PAGE / "made-from"
MADE_HERE = {WEB / "src/api/schema.ts"}
ELSEWHERE = ("docs/reference/openapi.json", "docs/reference/measures.json", "examples/class-9b.task.txt")


def sources() -> Iterator[Path]:
    """Everything that the page is made from, in a fixed order."""
    mine = (path for folder in ("src", "public") for path in (WEB / folder).rglob("*"))
    essays = (ROOT / "examples/class-9b").iterdir()
    others = (ROOT / name for name in ELSEWHERE)
    yield from sorted(
        path for path in {*mine, *WEB.glob("*"), *essays, *others} if path.is_file() and path not in MADE_HERE
    )


def fingerprint() -> str:
    """What the page now in place should say that it was made from."""
    told = (f"{path.relative_to(ROOT)}\0{hashlib.sha256(path.read_bytes()).hexdigest()}" for path in sources())
    return hashlib.sha256("\n".join(told).encode()).hexdigest()


def packages(npm: str) -> None:
    """Install the locked packages, unless they are there."""
    lock, installed = WEB / "package-lock.json", WEB / "node_modules/.installed-from"
    wanted = hashlib.sha256(lock.read_bytes()).hexdigest()
    if not installed.is_file() or installed.read_text() != wanted:
        subprocess.run([npm, "ci", "--silent"], cwd=WEB, check=True)
        installed.write_text(wanted)


def main() -> None:
    """Build the page, if it is not there or not from these sources."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--force", action="store_true", help="build it in any case")
    parser.add_argument("--packages", action="store_true", help="only install what building and checking need")
    asked = parser.parse_args()
    made_from = fingerprint()
    fresh = MADE_FROM.is_file() and MADE_FROM.read_text() == made_from
    if fresh and not asked.force and not asked.packages:
        return
    npm = shutil.which("npm")
    if npm is None:
        raise SystemExit("npm is needed to build the page: install Node.js 20.19 or newer")
    packages(npm)
    if asked.packages:
        return
    subprocess.run([npm, "run", "--silent", "build", "--", "--logLevel", "warn"], cwd=WEB, check=True)
    MADE_FROM.write_text(made_from)


if __name__ == "__main__":
    main()
