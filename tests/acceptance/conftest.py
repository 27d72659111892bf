"""The package, built once."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel that `make dist` makes, with what it makes beside it."""
    folder = tmp_path_factory.mktemp("dist")
    command = ["make", "--silent", "--old-file=setup", "dist", f"DIST={folder}"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=240)
    (found,) = folder.glob("*.whl")
    return found


def constraints(wheel: Path) -> Path:
    """Return the file that names the versions of what goes with a wheel."""
    return wheel.with_name(f"{wheel.name.partition('-py3')[0]}-constraints.txt")
