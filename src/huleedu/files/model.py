"""What makes an essay acceptable: pure checks of a text."""

from __future__ import annotations

import hashlib
import re
from urllib.parse import unquote

from huleedu.contracts.essay import MAX_CHARACTERS, MAX_FILE_BYTES, MIN_CHARACTERS, RefusalCode
from huleedu.files.unreadable import Unreadable, too_long

EMPTY = Unreadable(
    RefusalCode.EMPTY_CONTENT, "There is no text in the file. Open it, check that the text is there, and save it again."
)
_LONG = 80
_UNRULY = re.compile("[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_ESCAPED = re.compile("%(?:0A|0D|22)")


def given_name(sent: str) -> str:
    """Return what the file is called, whatever that is: to show it safely is for whoever shows it.

    Forms send a quotation mark and the ends of lines as HTML has it. Half a surrogate pair, which is no character and
    can be neither stored nor sent, becomes the sign for that, and so does NUL, which not every database can store.
    """
    name = _ESCAPED.sub(lambda found: unquote(found[0]), sent)
    return name.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "\ufffd") or "unnamed"


def quoted(name: str) -> str:
    """Return a file's name as it stands in a sentence: not long, in one line and one direction."""
    shown = name if len(name) <= _LONG else name[:_LONG] + "…"
    return f"'{_UNRULY.sub(chr(0xFFFD), shown)}'"


def judge_size(size: int) -> Unreadable | None:
    """Return why a file of so many bytes is refused, or None."""
    if size == 0:
        return EMPTY
    if size > MAX_FILE_BYTES:
        limit = MAX_FILE_BYTES // 2**20
        told = f"The file is over {limit} MiB. Take pictures out of it and save it again."
        return Unreadable(RefusalCode.TOO_LARGE, told)
    return None


def judge_text(text: str) -> Unreadable | None:
    """Return why a text is refused, or None."""
    length = len(text)
    if length == 0:
        return EMPTY
    if length < MIN_CHARACTERS:
        told = f"The text is shorter than {MIN_CHARACTERS} characters. Check that this is the right file."
        return Unreadable(RefusalCode.CONTENT_TOO_SHORT, told)
    return too_long() if length > MAX_CHARACTERS else None


def fingerprint(text: str) -> str:
    """Return what two copies of the same text have in common, however they are spaced."""
    return hashlib.sha256(" ".join(text.split()).encode()).hexdigest()
