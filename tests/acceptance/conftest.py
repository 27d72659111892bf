"""The package, built once."""

import shutil
import subprocess
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel that `make dist` makes of what an image is made of, with what it makes beside it."""
    folder, context = tmp_path_factory.mktemp("dist"), tmp_path_factory.mktemp("context")
    send(context)
    for there in (".venv", "web/node_modules"):
        (context / there).symlink_to(ROOT / there)
    dictionaries = Path("src", "huleedu", "phases", "spellcheck", "data")  # `make setup` has made them of the same
    shutil.copytree(ROOT / dictionaries, context / dictionaries)
    command = ["make", "--silent", "--old-file=setup", "dist", f"DIST={folder}"]
    subprocess.run(command, cwd=context, check=True, capture_output=True, timeout=240)
    (found,) = folder.glob("*.whl")
    return found


def send(context: Path) -> None:
    """Copy what `.dockerignore` lets through."""
    nothing, *lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] not in {"", "#"}]
    assert nothing == "*"
    never = [line.removeprefix("**/") for line in lines if line[0] != "!"]

    def left_out(folder: str, names: Iterable[str]) -> set[str]:
        inside = Path(folder).relative_to(ROOT)
        return {name for name in names if any(fnmatch(name, each) or str(inside / name) == each for each in never)}

    for line in lines:
        source, target = ROOT / line[1:], context / line[1:]
        if line[0] == "!" and source.is_dir():
            shutil.copytree(source, target, ignore=left_out)
        elif line[0] == "!":
            shutil.copy(source, target)


def constraints(wheel: Path) -> Path:
    """Return the file that names the versions of what goes with a wheel."""
    return wheel.with_name(f"{wheel.name.partition('-py3')[0]}-constraints.txt")
