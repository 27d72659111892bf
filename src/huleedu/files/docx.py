"""The text of a Word document (.docx: ECMA-376 parts 1 and 3, transitional and strict).

Read as a stream of XML events, so that the cost is the size of the text. Kept: paragraphs, table cells, text boxes
(once), footnotes and endnotes at the end, tracked insertions. Left out: tracked deletions, comments, fields' codes, and
headers and footers (names and page numbers, which nobody wants checked). A document type declaration is refused; Word
never writes one, and without it there are no entities to expand.
"""

import io
import posixpath
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from xml.parsers import expat

from huleedu.contracts.essay import RefusalHint
from huleedu.files.unreadable import unreadable

# A long essay with pictures has under 200 entries and a few MiB of XML, which compresses 20 times.
MAX_ENTRIES = 2_000
MAX_PART_BYTES = 16 * 2**20
MAX_RATIO = 250
RATIO_FREE_BYTES = 2**20  # up to this, even one letter repeated is harmless

_ENTRY = b"PK\x01\x02"
_ENCRYPTED = 0x1
_PREFIXES = {
    "http://schemas.openxmlformats.org/wordprocessingml/2006/main": "",
    "http://purl.oclc.org/ooxml/wordprocessingml/main": "",
    "http://schemas.openxmlformats.org/markup-compatibility/2006": "mc:",
    "http://schemas.openxmlformats.org/package/2006/relationships": "rel:",
}
_DROPPED = {"del", "moveFrom", "rt"}  # deleted, moved away, and the reading aid above a word
_MARKS = {"tab": "\t", "ptab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}


def read(data: bytes) -> str:
    """The paragraphs, parted by blank lines. Raises Unreadable, and whatever zipfile and expat raise."""
    if data.count(_ENTRY) > MAX_ENTRIES:
        raise unreadable(RefusalHint.TOO_COMPLEX)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        main = next(iter(_related(archive, "", {"officeDocument"})), "word/document.xml")
        if main not in archive.NameToInfo:
            raise unreadable(RefusalHint.NO_DOCUMENT)
        story = _Story()
        for part in [main, *_related(archive, main, {"footnotes", "endnotes"})]:
            _parse(_part(archive, part), story.start, story.end, story.characters)
        if not story.is_document:
            raise unreadable(RefusalHint.NO_DOCUMENT)
        text = "\n\n".join(paragraph for paragraph in story.paragraphs if paragraph.strip())
        if not text and any(name.startswith("word/media/") for name in archive.NameToInfo):
            raise unreadable(RefusalHint.SCANNED)
    return text


@dataclass
class _Paragraph:
    text: list[str] = field(default_factory=list)
    runs_on: bool = False  # its end was deleted: what follows belongs to it


class _Story:
    """Hears XML events and keeps the paragraphs; those of a text box come before the one it hangs on."""

    def __init__(self) -> None:
        self.paragraphs: list[str] = []
        self.is_document = False
        self._path = [""]
        self._open: list[_Paragraph] = []
        self._carried = ""
        self._taken: list[bool] = []  # per open mc:AlternateContent: whether a branch has been taken
        self._unheard = 0  # depth within an element that is left out

    def start(self, name: str, _attributes: dict[str, str]) -> None:
        tag = _tag(name)
        parent = self._path[-1]
        self._path.append(tag)
        if self._unheard or self._left_out(tag):
            self._unheard += 1
        elif tag == "p":
            self._open.append(_Paragraph())
        elif tag == "mc:AlternateContent":
            self._taken.append(False)
        elif tag == "document":
            self.is_document = True
        elif parent == "r" and tag in _MARKS:
            self._open[-1].text.append(_MARKS[tag])

    def end(self, name: str) -> None:
        self._path.pop()
        tag = _tag(name)
        if self._unheard:
            self._unheard -= 1
        elif tag == "p":
            self._finish(self._open.pop())
        elif tag == "mc:AlternateContent":
            self._taken.pop()

    def characters(self, text: str) -> None:
        if self._path[-1] == "t" and not self._unheard:
            self._open[-1].text.append(text)

    def _left_out(self, tag: str) -> bool:
        if self._path[-3:] == ["pPr", "rPr", "del"]:
            self._open[-1].runs_on = True
        if tag in {"mc:Choice", "mc:Fallback"}:  # the same content in several forms, the best first
            taken, self._taken[-1] = self._taken[-1], True
            return taken
        return tag in _DROPPED

    def _finish(self, paragraph: _Paragraph) -> None:
        text = self._carried + "".join(paragraph.text)
        self._carried = text if paragraph.runs_on else ""
        if not paragraph.runs_on:
            self.paragraphs.append(text)


def _related(archive: zipfile.ZipFile, part: str, kinds: set[str]) -> list[str]:
    """The parts of these kinds that `part` ("" for the whole package) refers to; producers name them as they like."""
    folder, name = posixpath.split(part)
    targets: list[str] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        if _tag(name) == "rel:Relationship" and attributes["Type"].rpartition("/")[2] in kinds:
            targets.append(posixpath.normpath(posixpath.join("/", folder, attributes["Target"])).lstrip("/"))

    relations = posixpath.join(folder, "_rels", f"{name}.rels")
    if relations in archive.NameToInfo:
        _parse(_part(archive, relations), start)
    return [target for target in targets if target in archive.NameToInfo]


def _part(archive: zipfile.ZipFile, name: str) -> bytes:
    entry = archive.getinfo(name)
    if entry.flag_bits & _ENCRYPTED:
        raise unreadable(RefusalHint.PASSWORD)
    # zipfile reads no more than the size stated here, so that a lie gains nothing.
    if entry.file_size > MAX_PART_BYTES or entry.file_size > max(RATIO_FREE_BYTES, MAX_RATIO * entry.compress_size):
        raise unreadable(RefusalHint.TOO_COMPLEX)
    return archive.read(entry)


def _parse(
    data: bytes,
    start: Callable[[str, dict[str, str]], None],
    end: Callable[[str], None] | None = None,
    characters: Callable[[str], None] | None = None,
) -> None:
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = characters
    parser.StartDoctypeDeclHandler = _refuse_declaration
    parser.Parse(data, True)  # noqa: FBT003 - that is all of it


def _refuse_declaration(*_declaration: object) -> None:
    raise ValueError("a document type declaration")


def _tag(name: str) -> str:
    namespace, _, local = name.rpartition(" ")
    return _PREFIXES.get(namespace, "?") + local
