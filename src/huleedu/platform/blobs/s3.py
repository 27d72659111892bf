"""Blobs in a bucket of an S3-compatible server.

Who asks, and where, is said by the names that every S3 program reads: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_REGION, AWS_ENDPOINT_URL, or a role of the machine. The bucket must not keep old versions: erasing would not erase.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import structlog
from anyio import to_thread
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session

from huleedu.platform.blobs import blob_id, checked
from huleedu.platform.errors import Unavailable, Usage

if TYPE_CHECKING:
    from collections.abc import Callable

OPTIONS = frozenset({"endpoint_url", "region_name"})
REGION = {"region": ("region", ["AWS_REGION", "AWS_DEFAULT_REGION"], "us-east-1", None)}
"""Where the region is read from, of which the library by itself knows the second; most servers take any."""
CONNECTIONS = 40
"""As many as there are threads to ask in."""
CONFIG = Config(
    connect_timeout=2,
    read_timeout=10,
    retries={"mode": "standard", "max_attempts": 3},
    max_pool_connections=CONNECTIONS,
)
log = structlog.get_logger()


class S3Blobs:
    """One object per blob, in `s3://bucket` or, with others beside them, below `s3://bucket/prefix`.

    What has begun is over when the caller goes on, also when a scope cancels it: nothing lands behind its back.
    """

    def __init__(self, url: str) -> None:
        place = urlsplit(url)
        options = dict(parse_qsl(place.query))
        if not place.netloc or not options.keys() <= OPTIONS:
            raise Usage("HULEEDU_BLOBS_URL is like s3://BUCKET?endpoint_url=https://HOST.")
        self._bucket = place.netloc
        self._root = f"{path}/" if (path := place.path.strip("/")) else ""
        self._s3 = Session(REGION).create_client("s3", config=CONFIG, **options)

    async def put(self, prefix: str, data: bytes) -> str:
        """Store the bytes durably and return their id; the server is told their hash and compares."""
        name = blob_id(prefix, data)
        await self._run(self._put, checked(name), data)
        return name

    async def get(self, blob_id: str) -> bytes:
        """Return the bytes, or raise KeyError."""
        found: bytes = await self._run(self._get, checked(blob_id))
        return found

    async def delete(self, prefix: str) -> None:
        """Delete one blob, or all below a prefix."""
        await self._run(self._delete, checked(prefix))

    async def names(self) -> set[str]:
        """Return every id that there is."""
        found: set[str] = await self._run(self._names, "")
        return found

    async def examine(self) -> str:
        """Return what was found, or raise Usage: what is to be mended. A blob is put, read and deleted for it."""
        try:
            versions = await to_thread.run_sync(self._examine)
        except (BotoCoreError, ClientError) as error:
            cause = _cause(error)
            if cause.endswith("NoSuchBucket"):
                raise Usage(f"There is no bucket {self._bucket}: make it, or mend HULEEDU_BLOBS_URL.") from error
            raise Usage(
                f"The bucket {self._bucket} cannot be read and written ({cause}):"
                " mend AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or what they may do there."
            ) from error
        if versions == "Enabled":
            raise Usage(f"The bucket {self._bucket} keeps old versions, so nothing is ever erased: turn that off.")
        return f"s3://{self._bucket}"

    async def _run(self, act: Callable[..., Any], name: str, *arguments: object) -> Any:  # noqa: ANN401 -- as act
        try:
            return await to_thread.run_sync(act, self._root + name, *arguments)
        except self._s3.exceptions.NoSuchKey as error:
            raise KeyError(name) from error
        except (BotoCoreError, ClientError) as error:
            log.warning("blobs.unavailable", cause=_cause(error))
            raise Unavailable("The store of texts cannot be reached; try again in a moment.") from error

    def _put(self, key: str, data: bytes) -> None:
        self._s3.put_object(Bucket=self._bucket, Key=key, Body=data, ChecksumAlgorithm="SHA256")

    def _get(self, key: str) -> bytes:
        found: bytes = self._s3.get_object(Bucket=self._bucket, Key=key)["Body"].read()
        return found

    def _delete(self, key: str) -> None:
        self._s3.delete_object(Bucket=self._bucket, Key=key)
        while below := self._s3.list_objects_v2(Bucket=self._bucket, Prefix=f"{key}/").get("Contents"):
            for one in below:  # one by one: not every server has the request that deletes many
                self._s3.delete_object(Bucket=self._bucket, Key=one["Key"])

    def _names(self, root: str) -> set[str]:
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=root)
        return {one["Key"].removeprefix(root) for page in pages for one in page.get("Contents", ())}

    def _examine(self) -> str | None:
        key = f"{self._root}{blob_id('doctor', b'')}"
        self._put(key, b"")
        self._get(key)
        self._delete(key)
        versions: str | None = self._s3.get_bucket_versioning(Bucket=self._bucket).get("Status")
        return versions


def _cause(error: BotoCoreError | ClientError) -> str:
    """Return what went wrong, without the address: it holds the ids of a batch."""
    code = error.response["Error"]["Code"] if isinstance(error, ClientError) else ""
    return f"{type(error).__name__} {code}".strip()
