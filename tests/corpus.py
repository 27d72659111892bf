"""Files as teachers send them, and as nobody should: whole, broken, of the wrong kind, and made to do harm.

All are made when asked for. The macros are made-up bytes, and no bomb is larger than a few hundred kilobytes.
"""

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import count, pairwise
from types import MappingProxyType

import docx as writer
import pypdf
from typing_extensions import override

from huleedu.contracts.essay import MAX_FILE_BYTES

PROSE = "There is a place by the sea where my grandmother lives, and every summer we go there by train."
_numbers = count(1)


def essay() -> str:
    """A text that no other is like."""
    return f"{PROSE} Pupil number {next(_numbers)} wrote that."


W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
MC = "http://schemas.openxmlformats.org/markup-compatibility/2006"
NAMES = f'xmlns:w="{W}" xmlns:mc="{MC}" xmlns:wps="urn:shape" xmlns:v="urn:vml"'
LINKS = '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{}</Relationships>'
MIB = 2**20
CATALOGUE = b"<< /Type /Catalog /Pages 2 0 R >>"
HELVETICA = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"

OLD_WORD = ("UNSUPPORTED_TYPE", "OLD_WORD")
OTHER_PROGRAM = ("UNSUPPORTED_TYPE", "OTHER_PROGRAM")
MACROS = ("UNSUPPORTED_TYPE", "MACROS")
PICTURE = ("UNSUPPORTED_TYPE", "PICTURE")
ARCHIVE = ("UNSUPPORTED_TYPE", "ARCHIVE")
NO_DOCUMENT = ("UNSUPPORTED_TYPE", "NO_DOCUMENT")
PASSWORD = ("ENCRYPTED_FILE_UNSUPPORTED", "PASSWORD")
SCANNED = ("TEXT_EXTRACTION_FAILED", "SCANNED")
DAMAGED = ("TEXT_EXTRACTION_FAILED", "DAMAGED")
TOO_COMPLEX = ("TEXT_EXTRACTION_FAILED", "TOO_COMPLEX")


@dataclass(frozen=True)
class Specimen:
    """A file, and what is to become of it: stored, or refused with this code and hint."""

    name: str
    data: bytes
    code: str | None = None
    hint: str | None = None

    @override
    def __str__(self) -> str:
        return self.name


# -- .docx


def zipped(parts: dict[str, str | bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def run(text: str) -> str:
    return f"<w:r><w:t>{text}</w:t></w:r>"


def paragraph(text: str) -> str:
    return f"<w:p>{run(text)}</w:p>"


def table(cell: str) -> str:
    return f"<w:tbl><w:tr><w:tc>{cell}</w:tc></w:tr></w:tbl>"


def document(body: str, names: str = NAMES) -> str:
    return f'<?xml version="1.0"?><w:document {names}><w:body>{body}</w:body></w:document>'


def word(body: str | None = None, parts: Mapping[str, str | bytes] = MappingProxyType({})) -> bytes:
    """A .docx of this body and these further parts."""
    return zipped({"word/document.xml": document(paragraph(essay()) if body is None else body), **parts})


def link(kind: str, target: str) -> str:
    return f'<Relationship Id="{target}" Type="urn:x/{kind}" Target="{target}"/>'


def written(*paragraphs: str) -> bytes:
    """A .docx by an independent program."""
    essay = writer.Document()
    for text in paragraphs:
        essay.add_paragraph(text)
    essay.save(buffer := io.BytesIO())
    return buffer.getvalue()


def restated(data: bytes, part: str, size: int) -> bytes:
    """The same archive, which says in both places that this part has another size."""
    changed, name = bytearray(data), part.encode()
    for signature, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        place = data.index(signature)
        while not data[place : place + 80].partition(name)[1]:
            place = data.index(signature, place + 1)
        changed[place + at : place + at + 4] = struct.pack("<I", size)
    return bytes(changed)


def overlapping(entries: int) -> bytes:
    """An archive whose many entries are one and the same megabyte."""
    data = zipped({"word/document.xml": bytes(MIB)})
    start = data.index(b"PK\x01\x02")
    end = data.rindex(b"PK\x05\x06")
    record = data[start:end]
    names = [b"word/docum%03d.xml" % number for number in range(entries)]
    records = b"".join(record[:28] + struct.pack("<H", len(name)) + record[30:46] + name for name in names)
    tail = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, entries, entries, len(records), start, 0)
    return data[:start] + records + tail


def flagged(data: bytes, flag: int = 1) -> bytes:
    """The archive, its first entry marked as encrypted."""
    changed = bytearray(data)
    changed[data.index(b"PK\x01\x02") + 8] |= flag
    return bytes(changed)


def nested(depth: int) -> bytes:
    data = zipped({"essay.txt": bytes(8 * MIB)})
    for _ in range(depth):
        data = zipped({f"{number}.zip": data for number in range(10)})
    return data


def declared(declaration: str, text: str, at: str = "") -> bytes:
    body = document(paragraph(text)).partition("?>")[2]
    return zipped({"word/document.xml": f'<?xml version="1.0"?><!DOCTYPE d {at} [{declaration}]>{body}'})


def laughs() -> str:
    names = "abcdefghij"
    return '<!ENTITY a "ha ha ha">' + "".join(
        f'<!ENTITY {name} "{f"&{former};" * 10}">' for former, name in pairwise(names)
    )


def _words() -> Iterator[Specimen]:
    yield Specimen("by another program.docx", written(essay(), "A second paragraph."))
    yield Specimen("tables in tables.docx", word(table(table(paragraph(essay())))))
    yield Specimen("with an archive inside.docx", word(None, {"word/embeddings/data.zip": nested(2)}))
    template = LINKS.format(link("attachedTemplate", "http://127.0.0.1:9/t.dotm"))
    yield Specimen("with a distant template.docx", word(None, {"word/_rels/document.xml.rels": template}))
    yield Specimen("deep.docx", word("<a>" * 100_000 + paragraph(essay()) + "</a>" * 100_000))

    yield Specimen("no paragraph.docx", word(""), "EMPTY_CONTENT")
    yield Specimen("white space.docx", word(paragraph(" \u00a0\u2003 ")), "EMPTY_CONTENT")
    yield Specimen("one line.docx", word(paragraph("My dog.")), "CONTENT_TOO_SHORT")
    yield Specimen("a book.docx", word(paragraph(PROSE) * 1_000), "CONTENT_TOO_LONG")
    yield Specimen("photos.docx", word("<w:p/>", {"word/media/1.jpg": b"\xff\xd8"}), *SCANNED)
    yield Specimen("password.docx", flagged(word()), *PASSWORD)
    yield Specimen("office password.docx", ole2("EncryptionInfo", "EncryptedPackage"), *PASSWORD)

    macros: dict[str, str | bytes] = {"word/vbaProject.bin": ole2("VBA", "made up")}
    renamed: dict[str, str | bytes] = {
        "word/_rels/document.xml.rels": LINKS.format(link("vbaProject", "harmless.bin")),
        "word/harmless.bin": b"made up",
    }
    yield Specimen("macros.docm", word(None, macros), *MACROS)
    yield Specimen("macros.docx", word(None, macros), *MACROS)
    yield Specimen("hidden macros.docx", word(None, renamed), *MACROS)

    whole = written(PROSE)
    yield Specimen("cut.docx", whole[: len(whole) // 2], *DAMAGED)
    yield Specimen("head only.docx", whole[:40], *DAMAGED)
    yield Specimen("torn.docx", whole[:2_000] + bytes(500) + whole[2_500:], *DAMAGED)
    yield Specimen("cut text.docx", word("<w:p>"), *DAMAGED)


def _word_bombs() -> Iterator[Specimen]:
    flat = zipped({"word/document.xml": document(paragraph("a" * 32 * MIB))})
    yield Specimen("flat bomb.docx", flat, *TOO_COMPLEX)
    yield Specimen("lying bomb.docx", restated(flat, "word/document.xml", 900_000), *DAMAGED)
    yield Specimen("nested bomb.zip", nested(3), *ARCHIVE)
    yield Specimen("nested bomb.docx", nested(3), *ARCHIVE)
    yield Specimen("overlapping bomb.docx", overlapping(1_900), *ARCHIVE)
    yield Specimen("many entries.docx", overlapping(50_000), *TOO_COMPLEX)
    yield Specimen("laughs.docx", declared(laughs(), "&j;"), *DAMAGED)
    yield Specimen("quadratic.docx", declared(f'<!ENTITY a "{"a" * 50_000}">', "&a;" * 50_000), *DAMAGED)
    yield Specimen("file entity.docx", declared('<!ENTITY a SYSTEM "file:///etc/passwd">', "&a;"), *DAMAGED)
    yield Specimen("web entity.docx", declared('<!ENTITY a SYSTEM "http://127.0.0.1:9/">', "&a;"), *DAMAGED)
    yield Specimen("parameter entity.docx", declared('<!ENTITY % a SYSTEM "file:///etc/passwd"> %a;', ""), *DAMAGED)
    yield Specimen("distant type.docx", declared("", "a", 'SYSTEM "http://127.0.0.1:9/"'), *DAMAGED)
    long = f'xmlns:x="urn:{"x" * 400_000}"'
    yield Specimen("long names.docx", word(f"<w:p {long}>{'<x:a/>' * 80_000}</w:p>"), *TOO_COMPLEX)
    end = "<w:pPr><w:rPr><w:del/></w:rPr></w:pPr>"
    lines = "".join(f"<w:p>{end}{run(sha256(bytes([n])).hexdigest())}</w:p>" for n in range(250))
    yield Specimen("one long paragraph.docx", word(lines * 80), "CONTENT_TOO_LONG")
    tags = "".join(f"<{sha256(bytes([n])).hexdigest()[n % 60 :].lstrip('0123456789')}a/>" for n in range(250))
    yield Specimen("many elements.docx", word(tags * 1_000), *TOO_COMPLEX)
    repeated = LINKS.format(link("header", "h.xml") * 5_000)
    header = f"<w:hdr {NAMES}>{paragraph('Anna Ek') * 500}</w:hdr>"
    parts: dict[str, str | bytes] = {"word/_rels/document.xml.rels": repeated, "word/h.xml": header}
    yield Specimen("the same header.docx", word(None, parts))
    wide = " ".join(f"a{number}='1'" for number in range(100_000))
    yield Specimen("wide.docx", word(f"<w:p {wide}/>"), "EMPTY_CONTENT")


# -- .pdf


def pdf(*pages: list[tuple[int, int, str]], trailer: str = "") -> bytes:
    """A PDF of one font; a page is a list of (x, y, text)."""
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b"", HELVETICA]
    kids = []
    for page in pages:
        content = "\n".join(f"BT /F 12 Tf {x} {y} Td ({text}) Tj ET" for x, y, text in page)
        objects.append(stream(content.encode("latin-1")))
        objects.append(page_of(len(objects)))
        kids.append(f"{len(objects)} 0 R")
    objects[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(kids)} >>".encode()
    return assembled(objects, trailer)


def column(*lines: str, top: int = 770) -> list[tuple[int, int, str]]:
    return [(72, top - 14 * number, line) for number, line in enumerate(lines)]


def stream(content: bytes, entries: str = "") -> bytes:
    return f"<< /Length {len(content)} {entries} >>\nstream\n".encode() + content + b"\nendstream"


def page_of(content: int, resources: str = "/Font << /F 3 0 R >>") -> bytes:
    box = "/MediaBox [0 0 595 842]"
    return f"<< /Type /Page /Parent 2 0 R {box} /Resources << {resources} >> /Contents {content} 0 R >>".encode()


def assembled(objects: Sequence[bytes], trailer: str = "") -> bytes:
    """A file of these objects, numbered from 1, the first being the catalogue."""
    body, places = b"%PDF-1.4\n", b""
    for number, content in enumerate(objects, 1):
        places += b"%010d 00000 n \n" % len(body)
        body += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    size = len(objects) + 1
    table = b"xref\n0 %d\n0000000000 65535 f \n%s" % (size, places)
    last = f"trailer\n<< /Size {size} /Root 1 0 R {trailer} >>\nstartxref\n{len(body)}\n%%EOF"
    return body + table + last.encode("latin-1")


def one_page(*contents: bytes, resources: str = "/Font << /F 3 0 R >>") -> bytes:
    """A PDF of one page: its content is the first of these, which have the numbers from 5."""
    tree = b"<< /Type /Pages /Kids [4 0 R] /Count 1 >>"
    return assembled([CATALOGUE, tree, HELVETICA, page_of(5, resources), *contents])


def flate(content: bytes, layers: int, times: int = 1) -> bytes:
    """A stream of this content so many times over, packed so many times."""
    packer, check = zlib.compressobj(9, wbits=-15), 1
    once = packer.compress(content) + packer.flush(zlib.Z_FULL_FLUSH)  # after which every further time is the same
    for _ in range(times):
        check = zlib.adler32(content, check)
    packed = b"\x78\xda" + once * times + packer.flush() + check.to_bytes(4)
    for _ in range(layers - 1):
        packed = zlib.compress(packed, 9)
    return stream(packed, f"/Filter [{'/FlateDecode ' * layers}]")


def forms(depth: int, fan: int) -> bytes:
    """A page that draws a form, which draws the next one several times, and so on."""
    drawn = [stream(b"/X Do", "")]
    for number in range(6, 6 + depth):
        resources = f"/Resources << /XObject << /X {number + 1} 0 R >> /Font << /F 3 0 R >> >>"
        entries = f"/Type /XObject /Subtype /Form /BBox [0 0 595 842] {resources}"
        drawn.append(stream(b"/X Do " * fan, entries))
    drawn.append(stream(b"BT /F 12 Tf (ha) Tj ET", "/Type /XObject /Subtype /Form /BBox [0 0 9 9]"))
    return one_page(*drawn, resources="/XObject << /X 6 0 R >> /Font << /F 3 0 R >>")


def tree(depth: int) -> bytes:
    kids = [b"<< /Type /Pages /Kids [%d 0 R] /Count 1 /Parent %d 0 R >>" % (n + 1, n - 1) for n in range(4, 4 + depth)]
    leaf = b"<< /Type /Page /MediaBox [0 0 9 9] /Parent %d 0 R >>" % (3 + depth)
    return assembled([CATALOGUE, b"<< /Type /Pages /Kids [4 0 R] /Count 1 >>", HELVETICA, *kids, leaf])


def looped() -> bytes:
    """A tree of pages that holds itself."""
    return assembled([CATALOGUE, b"<< /Type /Pages /Kids [2 0 R 2 0 R 3 0 R] /Count 99 >>", page_of(1)])


def object_streams() -> bytes:
    """Streams of objects each of which is said to lie in the other."""
    entries = "/Type /ObjStm /N 1 /First 4 /Extends {} 0 R"
    streams = [stream(b"2 0 << /Type /Pages /Kids [] /Count 1 >>", entries.format(other)) for other in (5, 4)]
    table = b"".join(
        struct.pack(">BHB", kind, where, 0) for kind, where in ((0, 0), (1, 9), (2, 4), (2, 5), (2, 5), (2, 4), (1, 9))
    )
    index = stream(table, "/Type /XRef /Size 7 /W [1 2 1] /Root 1 0 R /Prev 9")
    objects = b"".join(
        b"%d 0 obj\n%s\nendobj\n" % (n, body)
        for n, body in ((1, CATALOGUE), (4, streams[0]), (5, streams[1]), (6, index))
    )
    return b"%PDF-1.5\n" + objects + b"startxref\n%d\n%%%%EOF" % (9 + objects.index(b"6 0 obj"))


def characters(codes: int) -> bytes:
    """A font whose table of characters maps far more than there are."""
    mapped = (
        b"1 begincodespacerange <0000> <FFFF> endcodespacerange\n"
        + b"1 beginbfrange <0000> <FFFF> <0041> endbfrange\n" * codes
    )
    font = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /ToUnicode 6 0 R >>"
    return one_page(stream(b"BT /F 12 Tf (ha) Tj ET"), flate(mapped, 1), font, resources="/Font << /F 7 0 R >>")


def scan() -> bytes:
    image = stream(
        bytes(300), "/Type /XObject /Subtype /Image /Width 10 /Height 10 /BitsPerComponent 8 /ColorSpace /DeviceRGB"
    )
    return one_page(stream(b"595 0 0 842 0 0 cm /X Do"), image, resources="/XObject << /X 6 0 R >>")


def locked(data: bytes, user: str) -> bytes:
    """The PDF by an independent program, with an owner's password, and one for opening it unless that is empty."""
    written = pypdf.PdfWriter(io.BytesIO(data))
    written.encrypt(user, "owner", algorithm="RC4-128")
    written.write(buffer := io.BytesIO())
    return buffer.getvalue()


def _pdfs() -> Iterator[Specimen]:
    whole = pdf(column(essay(), "A second line, and then the end."))
    yield Specimen("plain.pdf", whole)
    yield Specimen("no printing.pdf", locked(pdf(column(essay())), ""))
    yield Specimen("layers.pdf", one_page(flate(b"BT /F 12 Tf (%s) Tj ET" % essay().encode(), 20)))
    yield Specimen("password.pdf", locked(whole, "secret"), *PASSWORD)
    yield Specimen("scan.pdf", scan(), *SCANNED)
    yield Specimen("blank.pdf", pdf([]), *SCANNED)
    yield Specimen("cut.pdf", whole[:150], *DAMAGED)
    yield Specimen("head only.pdf", b"%PDF-1.7\n", *DAMAGED)
    yield Specimen("101 pages.pdf", pdf(*[[]] * 101), "CONTENT_TOO_LONG")


def _pdf_bombs() -> Iterator[Specimen]:
    yield Specimen("stream bomb.pdf", one_page(flate(b" " * MIB, 2, 200)), *TOO_COMPLEX)
    yield Specimen("drawing bomb.pdf", one_page(flate(b"0 0 m 9 9 l S " * MIB, 2, 4)), *TOO_COMPLEX)
    yield Specimen("glyph bomb.pdf", one_page(flate(b"BT /F 12 Tf (ha) Tj ET " * MIB, 2, 2)), *TOO_COMPLEX)
    yield Specimen("many streams.pdf", many_streams(), *TOO_COMPLEX)
    yield Specimen("many pages.pdf", many_pages(), *TOO_COMPLEX)
    yield Specimen("form bomb.pdf", forms(20, 10), *TOO_COMPLEX)
    yield Specimen("character bomb.pdf", characters(2_000), *SCANNED)
    yield Specimen("deep tree.pdf", tree(50_000), *DAMAGED)
    yield Specimen("looped tree.pdf", looped(), *DAMAGED)
    yield Specimen("looped objects.pdf", object_streams(), *DAMAGED)


def many_pages() -> bytes:
    """A hundred pages, each of which is the same stream of megabytes: little memory, and far too much time."""
    kids = "4 0 R " * 100
    pages = f"<< /Type /Pages /Kids [{kids}] /Count 100 >>".encode()
    return assembled([CATALOGUE, pages, HELVETICA, page_of(5), flate(b"q Q " * MIB, 2, 4)])


def many_streams() -> bytes:
    """A page whose content is the same stream of megabytes a hundred times."""
    contents = f"[{'5 0 R ' * 100}]"
    page = page_of(5).replace(b"/Contents 5 0 R", f"/Contents {contents}".encode())
    return assembled(
        [CATALOGUE, b"<< /Type /Pages /Kids [4 0 R] /Count 1 >>", HELVETICA, page, flate(b" " * MIB, 2, 16)]
    )


# -- text, and what is neither


def ole2(*streams: str) -> bytes:
    """The head of a file of Microsoft's older kind, and a directory that names these streams."""
    entries = b"".join(name.encode("utf-16-le").ljust(128, b"\0") for name in ("Root Entry", *streams))
    return bytes.fromhex("D0CF11E0A1B11AE1").ljust(512, b"\0") + entries.ljust(512, b"\0")


ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "latin-1", "mac_roman")
SWEDISH = "Förra året åkte Åsa till Ängelholm."


def _texts() -> Iterator[Specimen]:
    for encoding in ENCODINGS:
        yield Specimen(f"{encoding}.txt", f"{SWEDISH} {essay()}".encode(encoding))
    yield Specimen("some NULs.txt", f"{essay()}\0\0".encode())
    yield Specimen("many NULs.txt", PROSE.replace(" ", "\0\0 ").encode(), *NO_DOCUMENT)
    yield Specimen("nothing.txt", b"", "EMPTY_CONTENT")
    yield Specimen("white space.txt", b" \r\n\t\xc2\xa0" * 20, "EMPTY_CONTENT")
    yield Specimen("NULs only.txt", bytes(1_000), *NO_DOCUMENT)
    yield Specimen("huge.txt", b"a" * (MAX_FILE_BYTES + 1), "TOO_LARGE")
    yield Specimen("long.txt", PROSE.encode() * 1_000, "CONTENT_TOO_LONG")
    yield Specimen("marks.txt", ("a" + "\u0301\u0316" * 200_000).encode(), "CONTENT_TOO_LONG")


def _others() -> Iterator[Specimen]:
    mimetype = "application/vnd.oasis.opendocument.text"
    yield Specimen("old.doc", ole2("WordDocument", "1Table"), *OLD_WORD)
    yield Specimen("old.docx", ole2("WordDocument", "Macros"), *OLD_WORD)
    yield Specimen("old.xls", ole2("Workbook"), *NO_DOCUMENT)
    yield Specimen("rich.doc", b"{\\rtf1\\ansi My dog is old.}", *OTHER_PROGRAM)
    yield Specimen("rich.rtf", b"{\\rtf1\\ansi My dog is old.}", *OTHER_PROGRAM)
    yield Specimen("page.doc", f"<html><body>{PROSE}</body></html>".encode(), *OTHER_PROGRAM)
    yield Specimen("page.html", f"<!DOCTYPE html>{PROSE}".encode(), *OTHER_PROGRAM)
    yield Specimen("open.odt", zipped({"mimetype": mimetype, "content.xml": "<x/>"}), *OTHER_PROGRAM)
    yield Specimen("book.epub", zipped({"mimetype": "application/epub+zip"}), *OTHER_PROGRAM)
    yield Specimen("apple.pages", zipped({"Index/Document.iwa": b"\0"}), *OTHER_PROGRAM)
    yield Specimen("table.xlsx", zipped({"[Content_Types].xml": "<x/>", "xl/workbook.xml": "<x/>"}), *NO_DOCUMENT)
    yield Specimen("slides.pptx", zipped({"[Content_Types].xml": "<x/>", "ppt/presentation.xml": ""}), *NO_DOCUMENT)
    yield Specimen("essays.zip", zipped({"Anna.docx": written(PROSE), "Bo.txt": PROSE}), *ARCHIVE)
    yield Specimen("empty.zip", zipped({}), *ARCHIVE)
    yield Specimen("essays.rar", b"Rar!\x1a\x07\x01\0" + bytes(99), *ARCHIVE)
    yield Specimen("essays.7z", b"7z\xbc\xaf\x27\x1c" + bytes(99), *ARCHIVE)
    yield Specimen("essays.gz", b"\x1f\x8b\x08" + bytes(99), *ARCHIVE)
    yield Specimen("photo.docx", b"\x89PNG\r\n\x1a\n" + bytes(99), *PICTURE)
    yield Specimen("photo.pdf", b"\xff\xd8\xff\xe0" + bytes(99), *PICTURE)
    yield Specimen("photo.heic", b"\0\0\0\x18ftypheic" + bytes(99), *PICTURE)
    yield Specimen("photo.webp", b"RIFF\x1a\0\0\0WEBPVP8 " + bytes(99), *PICTURE)
    yield Specimen("program.docx", b"MZ\x90\0\x03" + bytes(range(256)) * 4, *DAMAGED)
    yield Specimen("program.exe", b"MZ\x90\0\x03" + bytes(range(256)) * 4, *NO_DOCUMENT)
    yield Specimen("film.mp4", b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 4, *NO_DOCUMENT)


def ordinary() -> list[Specimen]:
    """Whole and broken files, none of which is made to do harm."""
    return [*_words(), *_pdfs(), *_texts(), *_others()]


def bombs() -> list[Specimen]:
    """Files that ask for far more memory or time than an essay is worth."""
    return [*_word_bombs(), *_pdf_bombs()]
