from collections.abc import AsyncIterator, Sequence

from hypothesis import given
from hypothesis import strategies as st

from huleedu.gateway.answers import Upload

PIECES = st.lists(st.binary(max_size=12), max_size=6)


async def hashed(boundary: bytes, parts: Sequence[bytes], cuts: Sequence[int]) -> str:
    """Return the hash of a form of these parts, which comes in pieces of these lengths."""
    body = b"".join(b"--" + boundary + b"\r\n" + part for part in parts) + b"--" + boundary + b"--"

    async def pieces() -> AsyncIterator[bytes]:
        at = 0
        for cut in cuts:
            yield body[at : at + cut]
            at += cut
        yield body[at:]

    upload = Upload(f"multipart/form-data; boundary={boundary.decode()}", pieces())
    assert b"".join([piece async for piece in upload]) == body
    return upload.hash


@given(parts=PIECES, one=st.lists(st.integers(0, 9)), other=st.lists(st.integers(0, 9)))
async def test_an_upload_is_the_same_however_it_is_divided(
    parts: list[bytes], one: list[int], other: list[int]
) -> None:
    assert await hashed(b"xyxyxz", parts, one) == await hashed(b"another", parts, other)


@given(parts=PIECES, others=PIECES)
async def test_another_upload_is_another(parts: list[bytes], others: list[bytes]) -> None:
    same = await hashed(b"boundary", parts, []) == await hashed(b"boundary", others, [])
    assert same == (parts == others)
