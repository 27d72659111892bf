"""What every store of blobs does: the same tests for files and for an S3 server."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from huleedu.platform.blobs import Blobs, blob_id
from huleedu.platform.blobs.files import FileBlobs
from tests.engine.s3 import bucket
from tests.servers import ENGINE

HOSTILE = (
    "",
    ".",
    "..",
    "/",
    "a/../../b",
    "../outside",
    "/etc",
    "a//b",
    "a/",
    "a/./b",
    "a\0b",
    "a\nb",
    "å/b",
    "x" * 5_000,
)


@pytest.fixture(params=["files", pytest.param("s3", marks=ENGINE)])
def blobs(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Blobs]:
    if request.param == "files":
        yield FileBlobs(tmp_path / "blobs")
        return
    with bucket(request.getfixturevalue("servers"), monkeypatch) as blobs:
        yield blobs


async def test_bytes_come_back_as_they_were_and_the_same_have_the_same_id(blobs: Blobs) -> None:
    contents = [b"", b"\0\r\n\xff", "å".encode(), os.urandom(3_000_000)]
    ids = [await blobs.put("batch/essay", content) for content in contents]
    assert [await blobs.get(blob) for blob in ids] == contents
    assert await asyncio.gather(*(blobs.put("batch/essay", content) for content in contents * 2)) == ids * 2
    assert len(set(ids)) == 4
    assert all(blob.startswith("batch/essay/") for blob in ids)
    assert await blobs.put("batch/other", b"") not in ids


async def test_deleting_a_prefix_takes_all_of_it_and_nothing_else(blobs: Blobs) -> None:
    one, two, other, longer = [await blobs.put(prefix, b"x") for prefix in ("b/e1", "b/e2", "c/e1", "bb/e1")]
    for _ in range(2):
        await blobs.delete(one)
        with pytest.raises(KeyError):
            await blobs.get(one)
        assert await blobs.get(two) == b"x"
    for _ in range(2):
        await blobs.delete("b")
        with pytest.raises(KeyError):
            await blobs.get(two)
    assert await blobs.get(other) == await blobs.get(longer) == b"x"
    assert await blobs.put("b/e1", b"x") == one
    assert await blobs.get(one) == b"x"


async def test_what_is_no_blob_is_a_key_error(blobs: Blobs) -> None:
    blob = await blobs.put("b/e", b"x")
    for missing in ("b/e/0", "b/e", "b", f"{blob}/deeper"):
        with pytest.raises(KeyError):
            await blobs.get(missing)


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_name_that_leads_elsewhere_is_refused_by_every_operation(blobs: Blobs, name: str) -> None:
    kept = await blobs.put("b/e", b"kept")
    for use in (blobs.get(name), blobs.put(name, b"x"), blobs.delete(name)):
        with pytest.raises(KeyError):
            await use
    assert await blobs.get(kept) == b"kept"


@given(st.text(alphabet="./\\ab\0~", max_size=12))
def test_no_name_reaches_outside(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    home = tmp_path_factory.mktemp("home")
    (home / "secret").write_bytes(b"secret")
    blobs = FileBlobs(home / "blobs")

    async def use_it() -> None:
        await asyncio.gather(blobs.put(name, b"x"), blobs.delete(name), blobs.get(name), return_exceptions=True)

    asyncio.run(use_it())
    assert {path.name for path in home.iterdir()} <= {"secret", "blobs"}


DIES_IN_THE_MIDDLE = """
import asyncio, os, pathlib, signal, sys
from huleedu.platform.blobs.files import FileBlobs
os.fsync = lambda _file: os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(FileBlobs(pathlib.Path(sys.argv[1])).put("b/e", bytes(1_000_000)))
"""


def test_the_names_of_a_blob_last_as_well_as_its_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced, fsync = set(), os.fsync

    def noted(file: int) -> None:
        synced.add(os.fstat(file).st_ino)
        fsync(file)

    monkeypatch.setattr(os, "fsync", noted)
    blob = tmp_path / asyncio.run(FileBlobs(tmp_path).put("b/e", b"x"))
    assert {path.stat().st_ino for path in (blob, blob.parent, tmp_path / "b", tmp_path)} <= synced


def refuse(_file: object) -> None:
    raise OSError("disk full")


def test_a_blob_is_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs, data = FileBlobs(tmp_path), bytes(1_000_000)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", DIES_IN_THE_MIDDLE, str(tmp_path)]
    assert subprocess.run(command, env=environment, check=False).returncode == -9
    with pytest.raises(KeyError):
        asyncio.run(blobs.get(blob_id("b/e", data)))
    before = set(tmp_path.rglob("*"))
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", refuse)
        with pytest.raises(OSError, match="disk full"):
            asyncio.run(blobs.put("b/e", data))
    assert set(tmp_path.rglob("*")) == before
    assert asyncio.run(blobs.get(asyncio.run(blobs.put("b/e", data)))) == data


async def test_the_names_of_all_that_is_there(blobs: Blobs) -> None:
    assert await blobs.names() == set()
    ids = [await blobs.put(prefix, b"x") for prefix in ("b/e1", "b/e1/lease", "c/e2")]
    assert await blobs.names() == set(ids)
    await blobs.delete("b")
    assert await blobs.names() == {ids[2]}
