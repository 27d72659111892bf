"""What an installation is set to, what it ships, and the secret that it keeps."""

import gzip
import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from huleedu.gateway.access import loopback
from huleedu.gateway.page import FOLDER
from huleedu.platform.keys import Keys
from huleedu.platform.settings import Settings


@pytest.mark.parametrize(
    ("given", "origin"),
    [
        ("", ""),
        ("https://HuleEdu.School.se/", "https://huleedu.school.se"),
        ("https://huleedu.school.se:443", "https://huleedu.school.se"),
        ("http://10.0.0.5:80/", "http://10.0.0.5"),
        ("http://huleedu:4001", "http://huleedu:4001"),
        ("https://högskolan.se", "https://xn--hgskolan-n4a.se"),
    ],
)
def test_the_public_address_is_kept_as_browsers_name_it(
    given: str, origin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HULEEDU_PUBLIC_URL", given)
    assert Settings().public_url == origin


@pytest.mark.parametrize(
    "given", ["huleedu.school.se", "ftp://x", "https://x/huleedu", "https://x/?a", "https://a@x", " "]
)
def test_what_is_no_address_is_refused_in_one_sentence(given: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings(public_url=given)
    (error,) = refused.value.errors()
    assert error["msg"].endswith("write it like https://huleedu.school.se")


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.2", False),
        ("localhost.evil.example", False),
        ("", False),
    ],
)
def test_which_names_lead_to_this_machine_only(host: str, *, here: bool) -> None:
    assert loopback(host) is here


def test_keys_of_an_earlier_version_are_read(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text(json.dumps({"service": "x", "signing": "y"}))
    assert Keys.of(tmp_path) == Keys(service="x")


def test_the_page_ships_no_more_scripts_than_a_slow_line_can_bear() -> None:
    scripts = [len(gzip.compress(path.read_bytes())) for path in FOLDER.rglob("*.js")]
    assert 0 < sum(scripts) <= 250_000
