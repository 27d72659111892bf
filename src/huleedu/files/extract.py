"""The text of an uploaded file. Run in a worker process: the file may be made to harm whoever reads it."""

import re
import unicodedata
from pathlib import PurePath

from huleedu.contracts.essay import MAX_CHARACTERS, RefusalHint
from huleedu.files import docx
from huleedu.files.unreadable import Unreadable, too_long, unreadable

OUTPUT_CAP = 2 * MAX_CHARACTERS  # letters with their accents apart; beyond, even the order of accents is costly

_MOST_BYTES = 4 * OUTPUT_CAP  # no encoding takes more for a character

_OLE2 = bytes.fromhex("D0CF11E0A1B11AE1")
_ENCRYPTED_PACKAGE = "EncryptedPackage".encode("utf-16-le")  # the stream that holds a .docx with a password
# å, ä, ö and the quotation marks; in the other's table, each is a sign that hardly any text has.
_MAC_BYTES = [bytes([byte]) for byte in "åäö“”’".encode("mac_roman")]
_WINDOWS_BYTES = [bytes([byte]) for byte in "åäö“”’".encode("cp1252")]
_OLD_WORD = "WordDocument".encode("utf-16-le")
_BYTE_ORDER_MARKS = (  # UTF-32 first: its little-endian mark begins with that of UTF-16
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
    (b"\xef\xbb\xbf", "utf-8-sig"),
)
_ARCHIVES = (b"PK\x05\x06", b"Rar!", b"7z\xbc\xaf", b"\x1f\x8b")
_PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*")
_PICTURE_BRANDS = {b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypavif"}  # after a length of four bytes
_MARKUP = (b"{\\rtf", b"<!doctype", b"<html", b"<?xml", b"%!ps")
# Plain text by content, but no essay: what else lies in a folder of essays.
_OTHER_TEXT = frozenset(
    {".csv", ".tsv", ".json", ".jsonl", ".xml", ".html", ".htm", ".yaml", ".yml", ".ini", ".log", ".py", ".js", ".css"}
)

_LINE_ENDS = re.compile("\r\n|[\r\v\f\x85\u2028\u2029]")
_BINARY = re.compile("[\0-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ufffd]")
# Controls, soft hyphens, zero-width spaces, stray byte order marks, lone surrogates: nothing a reader would see.
_UNSEEN = re.compile("[\0-\x08\x0e-\x1f\x7f-\x9f\xad\u200b\ufeff\ufffe\uffff\ud800-\udfff]")


def preload() -> None:
    """Have this module loaded before there is a file: what that takes is not the file's time."""


def extract(data: bytes, file_name: str) -> str:
    """The text of a .txt, .docx or .pdf file, told apart by content.

    Lines end in LF; from .docx and .pdf, paragraphs are parted by a blank line. Unicode is NFC, and nothing invisible
    is left, which may be nothing at all. Whatever the file holds, it raises Unreadable and nothing else, but for
    MemoryError: that is for whoever set the process its limit, and may want a fresh one.
    """
    try:
        return _tidy(_text(data, PurePath(file_name).suffix.lower()))
    except (Unreadable, MemoryError):
        raise
    except Exception as error:
        # Parsers meet hostile and broken files here; which of their errors it is makes no difference to anyone.
        raise unreadable(RefusalHint.DAMAGED) from error


def _text(data: bytes, suffix: str) -> str:
    if b"%PDF-" in data[:1024]:  # readers allow that much before it
        # Here, because PDFium is native and slow to load: only the child that needs it has it, never the server.
        from huleedu.files.pdf import read  # noqa: PLC0415

        return read(data)
    if data.startswith(b"PK\x03\x04"):
        return docx.read(data)
    _refuse_other_types(data, suffix)
    return _decoded(data, suffix)


def _refuse_other_types(data: bytes, suffix: str) -> None:
    if data.startswith(_OLE2):
        if _ENCRYPTED_PACKAGE in data:
            raise unreadable(RefusalHint.PASSWORD)
        raise unreadable(RefusalHint.OLD_WORD if _OLD_WORD in data else RefusalHint.NO_DOCUMENT)
    if data.startswith(_ARCHIVES):
        raise unreadable(RefusalHint.ARCHIVE)
    if data.startswith(_PICTURES) or data[4:12] in _PICTURE_BRANDS or data[8:12] == b"WEBP":
        raise unreadable(RefusalHint.PICTURE)
    if data[:64].lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_MARKUP):
        raise unreadable(RefusalHint.OTHER_PROGRAM)
    if suffix in _OTHER_TEXT:
        raise unreadable(RefusalHint.NO_DOCUMENT)


def _decoded(data: bytes, suffix: str) -> str:
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS if data.startswith(mark)), None)
    known = data[:_MOST_BYTES]
    text = known.decode(encoding, "replace") if encoding else _decoded_unmarked(known)
    if len(_BINARY.findall(text)) > max(4, len(text) / 50):  # of random bytes it is one in six, of text hardly any
        raise unreadable(RefusalHint.DAMAGED if suffix in {".docx", ".pdf"} else RefusalHint.NO_DOCUMENT)
    if len(data) > len(known):
        raise too_long()
    return text


def _decoded_unmarked(data: bytes) -> str:
    # A Latin letter in UTF-16 has one zero byte, always on the same side; other text has none.
    even, odd = data[0::2].count(0), data[1::2].count(0)
    if max(even, odd) * 4 > len(data) and min(even, odd) * 10 < max(even, odd):
        return data.decode("utf-16-le" if odd > even else "utf-16-be", "replace")
    text = data.decode("utf-8", "replace")
    broken = text.count("\ufffd")
    # A damaged letter or two do not make UTF-8 something else; the å, ä, ö of cp1252 are hardly ever valid UTF-8.
    if broken * 2 <= sum(character > "\x7f" for character in text) - broken:
        return text
    mac = sum(map(data.count, _MAC_BYTES)) > sum(map(data.count, _WINDOWS_BYTES))
    return data.decode("mac_roman" if mac else "cp1252", "replace")


def _tidy(text: str) -> str:
    text = _UNSEEN.sub("", _LINE_ENDS.sub("\n", text)).strip()
    if len(text) > OUTPUT_CAP:
        raise too_long()
    return unicodedata.normalize("NFC", text).strip()
