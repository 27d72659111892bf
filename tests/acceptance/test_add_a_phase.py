"""docs/how-to/add-a-phase.md, done as it stands in a copy of the tree."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.acceptance.served import HULEEDU

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(
    r"""^```\w+ title="(?P<file>[^"]+)"(?: after='(?P<after>[^']+)')?(?P<end> at="end")?\n(?P<text>.*?)^```$""",
    re.MULTILINE | re.DOTALL,
)
COMMAND = re.compile(r"^\$ (?P<words>(?:huleedu|head) .+)\n(?P<printed>(?:[^$`].*\n)*)", re.MULTILINE)


def apply(block: re.Match[str], tree: Path) -> None:
    """Do what one block of the page says."""
    path, text = tree / block["file"], block["text"]
    if block["after"]:
        lines = path.read_text().splitlines(keepends=True)
        (place,) = (number for number, line in enumerate(lines, 1) if line.rstrip("\n") == block["after"])
        path.write_text("".join([*lines[:place], text, *lines[place:]]))
    elif block["end"]:
        path.write_text(path.read_text() + text)
    else:
        assert not path.exists()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def run(tree: Path, *words: str) -> str:
    environment = {
        **os.environ,
        "PYTHONPATH": str(tree / "src"),
        "PATH": f"{Path(HULEEDU).parent}:{os.environ['PATH']}",
    }
    done = subprocess.run(words, cwd=tree, env=environment, check=False, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout


def test_a_phase_is_added_as_the_page_says(tmp_path: Path) -> None:
    page = (ROOT / "docs/how-to/add-a-phase.md").read_text()
    for folder in ("src", "examples"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    blocks = list(BLOCK.finditer(page))
    assert len(blocks) == page.count(" title=")
    for block in blocks:
        apply(block, tmp_path)
    written = [block["file"] for block in blocks]
    tests = [file for file in written if file.startswith("tests/")]
    assert "passed" in run(tmp_path, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests)
    run(tmp_path, "ruff", "check", "--no-cache", *written)
    run(tmp_path, "ruff", "format", "--no-cache", "--check", *written)
    commands = list(COMMAND.finditer(page))
    assert {command["words"].split()[0] for command in commands} == {"huleedu", "head"}
    for command in commands:
        printed = run(tmp_path, *command["words"].split())
        assert not command["printed"] or printed.replace("\r\n", "\n").removeprefix("\ufeff") == command["printed"]
