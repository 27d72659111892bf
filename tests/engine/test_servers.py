"""What `scripts/servers` and those who start servers by it promise beyond the servers themselves."""

import os
from pathlib import Path

import pytest

from scripts.servers import Postgres

pytestmark = pytest.mark.engine


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as another user")
def test_a_directory_that_its_user_does_not_get_to_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with pytest.raises(SystemExit, match=r"the user postgres, who does not get to .*chmod o\+x"):
        Postgres(tmp_path).up()
    assert tmp_path.stat().st_mode & 0o777 == 0o700
