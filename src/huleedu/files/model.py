"""What makes an essay acceptable: pure checks of a text."""

from __future__ import annotations

import hashlib

from huleedu.contracts.essay import MAX_CHARACTERS, MAX_FILE_BYTES, MIN_CHARACTERS, RefusalCode


def judge_size(size: int) -> tuple[RefusalCode, str] | None:
    """Return why a file of so many bytes is refused, or None."""
    if size == 0:
        return RefusalCode.EMPTY_CONTENT, "The file is empty. Open it, check that the text is there, and save it again."
    if size > MAX_FILE_BYTES:
        limit = MAX_FILE_BYTES // 2**20
        return RefusalCode.TOO_LARGE, f"The file is over {limit} MiB. Take pictures out of it and save it again."
    return None


def judge_text(text: str) -> tuple[RefusalCode, str] | None:
    """Return why a text is refused, or None."""
    length = len(text)
    if length == 0:
        return RefusalCode.EMPTY_CONTENT, "There is no text in the file. Check that the right file was chosen."
    if length < MIN_CHARACTERS:
        return RefusalCode.CONTENT_TOO_SHORT, f"The text has {length} characters; at least {MIN_CHARACTERS} are needed."
    if length > MAX_CHARACTERS:
        return (
            RefusalCode.CONTENT_TOO_LONG,
            f"The text has {length:,} characters; at most {MAX_CHARACTERS:,} can be assessed. Split it into parts.",
        )
    return None


def fingerprint(text: str) -> str:
    """Return what two copies of the same text have in common, however they are spaced."""
    return hashlib.sha256(" ".join(text.split()).encode()).hexdigest()
