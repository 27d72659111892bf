"""The package, built once."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel that `make dist` makes."""
    recipe = subprocess.run(["make", "--dry-run", "dist"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    built = re.search(r"^\S+uv build .*$", recipe, re.MULTILINE)
    assert built, recipe
    folder = tmp_path_factory.mktemp("dist")
    command = [*shlex.split(built[0].replace("--out-dir dist", f"--out-dir {folder}")), "--wheel", "--quiet"]
    subprocess.run(command, cwd=ROOT, check=True, timeout=240)
    (found,) = folder.glob("*.whl")
    return found
