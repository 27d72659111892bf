"""The package as a school installs it: into an empty environment, on a machine that has no Node."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from tests.acceptance import served
from tests.acceptance.conftest import constraints

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")


def done(*command: str | Path, env: dict[str, str] | None = None) -> str:
    """Run a command that must go well, and return what it printed."""
    ended = subprocess.run(
        list(map(str, command)), check=False, capture_output=True, text=True, cwd=ROOT, env=env, timeout=240
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.mark.timeout(300)
def test_the_wheel_brings_the_page(tmp_path: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done(UV, "venv", "--quiet", "--python", sys.executable, tmp_path / "venv")
    bare = {"PATH": str(tmp_path / "venv/bin"), "HOME": os.environ.get("HOME", ""), "UV_SYSTEM_CERTS": "1"}
    assert shutil.which("node", path=bare["PATH"]) is None
    python = tmp_path / "venv/bin/python"
    named = constraints(wheel)
    done(UV, "pip", "install", "--quiet", "--python", python, "--constraint", named, wheel)
    installed = set(done(UV, "pip", "freeze", "--python", python, "--exclude", "huleedu").split("\n")) - {""}
    assert {"fastapi", "pydantic", "uvicorn"} < {line.partition("==")[0] for line in installed}
    assert installed <= {line.partition(" ;")[0] for line in named.read_text().split("\n")}
    monkeypatch.setattr(served, "HULEEDU", str(tmp_path / "venv/bin/huleedu"))
    monkeypatch.setenv("PATH", bare["PATH"])
    with served.served(tmp_path / "data") as server:
        page = httpx2.get(server.url, headers={"accept": "text/html"}).raise_for_status()
        assert '<div id="app">' in page.text
        script = page.text.partition('src="/assets/')[2].partition('"')[0]
        assert httpx2.get(f"{server.url}/assets/{script}").raise_for_status().content
        assert "Tuva.txt" in httpx2.get(f"{server.url}/sample/index.json").raise_for_status().json()
