"""What must not be loaded into the server, whoever imports it."""

import subprocess
import sys

CHECKERS = {"harper", "hunspell", "rapidfuzz", "pypdfium2"}


def test_the_server_does_not_load_what_reads_essays() -> None:
    code = "import sys, huleedu.services, huleedu.cli.serve; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60).stdout
    assert not CHECKERS & set(loaded.split())
