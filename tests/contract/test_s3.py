"""What blobs on S3 do when the server is away or refuses, and what they ask of it."""

import hashlib
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from urllib.request import Request, urlopen

import pytest

from huleedu.platform.blobs.s3 import S3Blobs
from huleedu.platform.errors import Retry, Unavailable, Usage
from tests.engine.s3 import bucket, held
from tests.servers import ENGINE, Servers

pytestmark = list(ENGINE)
USES: tuple[Callable[[S3Blobs], Awaitable[object]], ...] = (
    lambda blobs: blobs.put("b/e", b"x"),
    lambda blobs: blobs.get("b/e/0"),
    lambda blobs: blobs.delete("b"),
)


@pytest.fixture
def blobs(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Blobs]:
    with bucket(servers, monkeypatch) as blobs:
        yield blobs


@pytest.mark.parametrize("use", USES)
async def test_a_server_that_is_away_is_a_fault_that_passes(
    blobs: S3Blobs, servers: Servers, use: Callable[[S3Blobs], Awaitable[object]]
) -> None:
    await blobs.put("b/e", b"before")
    servers.kill("s3")
    try:
        with pytest.raises(Unavailable) as fault:
            await use(blobs)
    finally:
        servers.up("s3")
    assert isinstance(fault.value, Retry)
    assert await blobs.get(await blobs.put("b/e", b"after")) == b"after"


@pytest.mark.parametrize("use", USES)
async def test_a_bucket_that_is_not_there_is_a_fault_that_can_be_mended(
    blobs: S3Blobs, use: Callable[[S3Blobs], Awaitable[object]]
) -> None:
    blobs._bucket = "elsewhere"
    with pytest.raises(Unavailable):
        await use(blobs)


@pytest.mark.parametrize("data", [b"", b"essay"])
async def test_the_server_is_told_the_hash_that_it_must_find(blobs: S3Blobs, data: bytes) -> None:
    stored = await blobs.put("b/e", data)
    told = blobs._s3.head_object(Bucket=blobs._bucket, Key=blobs._root + stored, ChecksumMode="ENABLED")
    assert told["ChecksumSHA256"] == b64encode(hashlib.sha256(data).digest()).decode()


async def test_more_than_one_page_of_blobs_is_deleted(blobs: S3Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    before = len(held(blobs))
    for number in range(7):
        await blobs.put("b/e", str(number).encode())
    assert len(held(blobs)) == before + 7
    monkeypatch.setattr(blobs._s3, "list_objects_v2", partial(blobs._s3.list_objects_v2, MaxKeys=3))
    await blobs.delete("b")
    assert len(held(blobs)) == before


@pytest.mark.parametrize("url", ["s3://", "s3:///path", "s3://bucket?versions=no"])
def test_an_address_that_cannot_be_right_is_refused(url: str) -> None:
    with pytest.raises(Usage, match="HULEEDU_BLOBS_URL is like s3://BUCKET"):
        S3Blobs(url)


async def test_a_key_that_the_server_does_not_know_is_a_fault_that_can_be_mended(
    blobs: S3Blobs, servers: Servers
) -> None:
    known_after("0", servers)
    try:
        with pytest.raises(Usage, match=r"InvalidAccessKeyId.*mend .*AWS_SECRET_ACCESS_KEY"):
            await blobs.examine()
    finally:
        known_after("inf", servers)


def known_after(requests: str, servers: Servers) -> None:
    """Have the server take any key for so many requests only, and then those that it knows: none."""
    url = f"{servers.env('s3')['AWS_ENDPOINT_URL']}/moto-api/reset-auth"
    with urlopen(Request(url, requests.encode(), {"content-type": "text/plain"})) as answer:
        assert answer.status == 200
