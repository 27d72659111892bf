"""Blobs as files below one directory."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from anyio import to_thread

from huleedu.platform.blobs import NAME, blob_id, checked


class FileBlobs:
    """One file per blob; a blob is there whole or not at all, also after a power cut.

    What has begun is over when the caller goes on, also when a scope cancels it: nothing lands behind its back.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    async def put(self, prefix: str, data: bytes) -> str:
        """Store the bytes durably and return their id."""
        name = blob_id(prefix, data)
        await to_thread.run_sync(self._put, name, data)
        return name

    async def get(self, blob_id: str) -> bytes:
        """Return the bytes, or raise KeyError."""
        try:
            return await to_thread.run_sync(self._path(blob_id).read_bytes)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise KeyError(blob_id) from error

    async def delete(self, prefix: str) -> None:
        """Delete one blob, or all below a prefix."""
        await to_thread.run_sync(self._delete, self._path(prefix))

    async def names(self) -> set[str]:
        """Return every id that there is."""
        return await to_thread.run_sync(self._names)

    def _path(self, name: str) -> Path:
        return self._root / checked(name)

    def _names(self) -> set[str]:
        found = {path.relative_to(self._root).as_posix() for path in self._root.rglob("*") if path.is_file()}
        return {name for name in found if NAME.fullmatch(name)}  # not what is being written

    def _put(self, name: str, data: bytes) -> None:
        path = self._path(name)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, data)
        for directory in path.parents:  # the names must last as well as the bytes
            _sync(directory)
            if directory == self._root:
                return

    def _delete(self, path: Path) -> None:
        while path.is_dir():
            try:
                shutil.rmtree(path)
            except OSError as error:
                # Somebody else deletes the same, or puts something there: another round finds what is left.
                if error.errno not in {errno.ENOENT, errno.ENOTEMPTY}:
                    raise
        with suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
            path.unlink()
        with suppress(FileNotFoundError, NotADirectoryError):
            _sync(path.parent)  # what is gone must not come back with the power


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
        Path(temporary).unlink(missing_ok=True)  # a deletion may have taken it
        raise
