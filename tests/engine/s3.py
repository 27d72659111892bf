"""Blobs in a place of their own of the S3 server's bucket."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest

from huleedu.platform.blobs.s3 import S3Blobs
from tests.servers import Servers


@contextmanager
def bucket(servers: Servers, environment: pytest.MonkeyPatch, path: str = "") -> Iterator[S3Blobs]:
    settings = servers.env("s3")
    for name, value in settings.items():
        environment.setenv(name, value)
    blobs = S3Blobs(f"{settings['HULEEDU_BLOBS_URL']}/{uuid4()}{path}")
    try:
        yield blobs
    finally:
        blobs._s3.close()


def held(blobs: S3Blobs) -> list[bytes]:
    """Return the names and contents of all that is in the bucket."""
    pages = blobs._s3.get_paginator("list_objects_v2").paginate(Bucket=blobs._bucket)
    keys = [one["Key"] for page in pages for one in page.get("Contents", [])]
    return [key.encode() + blobs._get(key) for key in keys]
