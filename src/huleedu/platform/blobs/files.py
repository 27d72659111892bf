"""Blobs as files below one directory."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from huleedu.platform.blobs import NAME, blob_id


class FileBlobs:
    """One file per blob; a blob is there whole or not at all, also after a power cut."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def put(self, prefix: str, data: bytes) -> str:
        """Store the bytes durably and return their id."""
        name = blob_id(prefix, data)
        await asyncio.to_thread(self._put, name, data)
        return name

    async def get(self, blob_id: str) -> bytes:
        """Return the bytes, or raise KeyError."""
        try:
            return await asyncio.to_thread(self._path(blob_id).read_bytes)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise KeyError(blob_id) from error

    async def delete(self, prefix: str) -> None:
        """Delete one blob, or all below a prefix."""
        await asyncio.to_thread(self._delete, self._path(prefix))

    def _path(self, name: str) -> Path:
        if not NAME.fullmatch(name):
            raise KeyError(name)
        return self._root / name

    def _put(self, name: str, data: bytes) -> None:
        path = self._path(name)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, data)
        for directory in path.parents:  # the names must last as well as the bytes
            descriptor = os.open(directory, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)
            if directory == self._root:
                return

    def _delete(self, path: Path) -> None:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            with suppress(FileNotFoundError, NotADirectoryError):
                path.unlink()


def _write(path: Path, data: bytes) -> None:
    """Write the file under another name, which no id can have, and rename it when it is whole and on the disk."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except OSError:
        Path(temporary).unlink()
        raise
