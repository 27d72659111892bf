"""The text of a Word document (.docx: ECMA-376 parts 1 and 3, transitional and strict).

Read as a stream of XML events, so that the cost is the size of the text. Kept: page headers, each paragraph once and
before the rest, since titles are typed there; paragraphs, table cells, text boxes (once), footnotes and endnotes at the
end, tracked insertions. Left out: tracked deletions, hidden text, comments, fields' codes, and footers (page numbers).
A document type declaration is refused; Word never writes one, and without it there are no entities to expand.
"""

import io
import posixpath
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from xml.parsers import expat

from huleedu.contracts.essay import RefusalHint
from huleedu.files.unreadable import unreadable

# A long essay with pictures has under 200 entries and a few MiB of XML, which compresses 20 times.
MAX_ENTRIES = 2_000
MAX_BYTES = 8 * 2**20  # of all that is read
MAX_RATIO = 250
RATIO_FREE_BYTES = 2**20  # up to this, even one letter repeated is harmless
MAX_NAMESPACE = 200  # characters, of which every name of an element gets a copy; Word's have under 80

_ENTRY = b"PK\x01\x02"
_ENCRYPTED = 0x1
_MACROS = "vbaProject.bin"
_PREFIXES = {
    "http://schemas.openxmlformats.org/wordprocessingml/2006/main": "",
    "http://purl.oclc.org/ooxml/wordprocessingml/main": "",
    "http://schemas.openxmlformats.org/markup-compatibility/2006": "mc:",
    "http://schemas.openxmlformats.org/package/2006/relationships": "rel:",
}
_OFF = {"0", "false", "off"}
_DROPPED = {"del", "moveFrom", "rt"}  # deleted, moved away, and the reading aid above a word
_MARKS = {"tab": "\t", "ptab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}


def read(data: bytes) -> str:
    """The paragraphs, parted by blank lines. Raises Unreadable, and whatever zipfile and expat raise."""
    if data.count(_ENTRY) > MAX_ENTRIES:
        raise unreadable(RefusalHint.TOO_COMPLEX)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        main = next(iter(_related(archive, "", {"officeDocument"})), "word/document.xml")
        if main not in archive.NameToInfo:
            raise unreadable(_other_type(archive))
        if _related(archive, main, {"vbaProject"}) or any(name.endswith(_MACROS) for name in archive.NameToInfo):
            raise unreadable(RefusalHint.MACROS)
        heads, notes = (_related(archive, main, kinds) for kinds in ({"header"}, {"footnotes", "endnotes"}))
        if sum(archive.NameToInfo[part].file_size for part in (main, *heads, *notes)) > MAX_BYTES:
            raise unreadable(RefusalHint.TOO_COMPLEX)
        story = _told(archive, [main, *notes])
        if not story.is_document:
            raise unreadable(RefusalHint.NO_DOCUMENT)
        if not story.paragraphs and any(name.startswith("word/media/") for name in archive.NameToInfo):
            raise unreadable(RefusalHint.SCANNED)
        # Every section of the document has headers of its own, which are mostly the same.
        above = dict.fromkeys(_told(archive, heads).paragraphs) if story.paragraphs else {}
    return "\n\n".join([*above, *story.paragraphs])


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
        self._carried: list[str] = []
        self._taken: list[bool] = []  # per open mc:AlternateContent: whether a branch has been taken
        self._unheard = 0  # depth within an element that is left out

    def start(self, name: str, attributes: dict[str, str]) -> None:
        tag = _tag(name)
        parent = self._path[-1]
        self._path.append(tag)
        if self._unheard or self._left_out(tag, attributes):
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

    def finish(self) -> None:
        """End a paragraph that was to run on into one that did not come."""
        self._finish(_Paragraph())

    def _left_out(self, tag: str, attributes: dict[str, str]) -> bool:
        if self._path[-3:] == ["pPr", "rPr", "del"]:
            self._open[-1].runs_on = True
        if self._path[-3:] == ["r", "rPr", "vanish"] and not _OFF & set(attributes.values()):
            self._unheard = 2  # with it the whole run that has this property: all of its text is still to come
            return True
        if tag in {"mc:Choice", "mc:Fallback"}:  # the same content in several forms, the best first
            taken, self._taken[-1] = self._taken[-1], True
            return taken
        return tag in _DROPPED

    def _finish(self, paragraph: _Paragraph) -> None:
        self._carried += paragraph.text
        if not paragraph.runs_on:
            text, self._carried = "".join(self._carried), []
            self.paragraphs += [text] if text.strip() else []


def _told(archive: zipfile.ZipFile, parts: Iterable[str]) -> _Story:
    story = _Story()
    for part in parts:
        _parse(_part(archive, part), story.start, story.end, story.characters)
    story.finish()
    return story


def _related(archive: zipfile.ZipFile, part: str, kinds: set[str]) -> list[str]:
    """The parts of these kinds that `part` ("" for the whole package) refers to; producers name them as they like."""
    folder, name = posixpath.split(part)
    targets: dict[str, None] = {}  # in their order, and each once however often it is referred to

    def start(name: str, attributes: dict[str, str]) -> None:
        if _tag(name) == "rel:Relationship" and attributes["Type"].rpartition("/")[2] in kinds:
            targets[posixpath.normpath(posixpath.join("/", folder, attributes["Target"])).lstrip("/")] = None

    relations = posixpath.join(folder, "_rels", f"{name}.rels")
    if relations in archive.NameToInfo:
        _parse(_part(archive, relations), start)
    return [target for target in targets if target in archive.NameToInfo]


def _part(archive: zipfile.ZipFile, name: str) -> bytes:
    entry = archive.getinfo(name)
    if entry.flag_bits & _ENCRYPTED:
        raise unreadable(RefusalHint.PASSWORD)
    if entry.file_size > MAX_BYTES or entry.file_size > max(RATIO_FREE_BYTES, MAX_RATIO * entry.compress_size):
        raise unreadable(RefusalHint.TOO_COMPLEX)
    if entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise ValueError("compressed as no document is")
    with archive.open(entry) as stream:
        # Asked for so much, zipfile inflates no more: a lie about the size gains nothing. Asked for all, it would.
        return stream.read(entry.file_size)


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
    parser.StartNamespaceDeclHandler = _refuse_long
    parser.Parse(data, True)  # noqa: FBT003 - that is all of it


def _refuse_declaration(*_declaration: object) -> None:
    raise ValueError("a document type declaration")


def _refuse_long(_prefix: str | None, namespace: str | None) -> None:
    if len(namespace or "") > MAX_NAMESPACE:
        raise unreadable(RefusalHint.TOO_COMPLEX)


def _tag(name: str) -> str:
    namespace, _, local = name.rpartition(" ")
    return _PREFIXES.get(namespace, "?") + local


def _other_type(archive: zipfile.ZipFile) -> RefusalHint:
    names = archive.NameToInfo
    if "mimetype" in names or "Index/Document.iwa" in names:  # OpenDocument and EPUB; Pages
        return RefusalHint.OTHER_PROGRAM
    return RefusalHint.NO_DOCUMENT if "[Content_Types].xml" in names else RefusalHint.ARCHIVE
