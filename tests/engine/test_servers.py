"""What `scripts/servers` and those who start servers by it promise beyond the servers themselves."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.servers import Postgres, answers

pytestmark = pytest.mark.engine


def test_a_directory_that_its_user_does_not_get_to_is_told(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        assert not Postgres(tmp_path).user, "only root runs it as another user"
        return
    tmp_path.chmod(0o700)
    with pytest.raises(SystemExit, match=r"the user postgres, who does not get to .*chmod o\+x"):
        Postgres(tmp_path).up()
    assert tmp_path.stat().st_mode & 0o777 == 0o700


BENCHMARK = """
import asyncio
from urllib.parse import urlsplit
from tests.servers import servers_of_ones_own

async def main():
    with servers_of_ones_own() as servers:
        print(urlsplit(servers.env("redis")["HULEEDU_BACKPLANE_URL"]).port, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def test_a_benchmark_that_is_told_to_end_leaves_no_server() -> None:
    command, root, pipe = [sys.executable, "-c", BENCHMARK], Path(__file__).parents[2], subprocess.PIPE
    with subprocess.Popen(command, cwd=root, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        try:
            port = int(process.stdout.readline())
            assert answers(port, b"PING\r\n")
            for _ in range(2):  # as `timeout` does
                process.terminate()
            assert process.communicate()[1].endswith("CancelledError\n")
        finally:
            process.kill()
    assert not answers(port, b"PING\r\n")


@pytest.mark.parametrize(("there", "package"), [([], "procps"), (["ps"], "redis-server")])
def test_a_program_that_is_missing_is_a_failure_that_says_how_to_get_it(
    tmp_path: Path, there: list[str], package: str
) -> None:
    for name in there:
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    script = str(Path(__file__).parents[2] / "scripts" / "servers.py")
    command = [sys.executable, script, "up", "redis", "--dir", str(tmp_path)]
    done = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert done.returncode
    assert f"apt-get install {package}" in done.stderr
