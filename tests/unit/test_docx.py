import io
import zipfile

import docx as writer  # python-docx, an independent writer
import pytest

from huleedu.contracts.essay import RefusalCode
from huleedu.files import docx
from huleedu.files.unreadable import Unreadable

W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
MC = "http://schemas.openxmlformats.org/markup-compatibility/2006"
NAMES = f'xmlns:w="{W}" xmlns:mc="{MC}" xmlns:wps="urn:shape" xmlns:v="urn:vml"'


def zipped(parts: dict[str, str | bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def document(body: str, names: str = NAMES) -> str:
    return f'<?xml version="1.0"?><w:document {names}><w:body>{body}</w:body></w:document>'


def text_of(body: str) -> str:
    return docx.read(zipped({"word/document.xml": document(body)}))


def run(text: str) -> str:
    return f"<w:r><w:t>{text}</w:t></w:r>"


def paragraph(text: str) -> str:
    return f"<w:p>{run(text)}</w:p>"


def test_what_an_independent_program_wrote() -> None:
    essay = writer.Document()
    essay.sections[0].header.paragraphs[0].text = "Åsa Öberg, 9B"
    essay.add_heading("My dog", 1)
    essay.add_paragraph("")
    essay.add_paragraph("First\tline\nsecond åäö 🐕.")
    cells = essay.add_table(1, 2).rows[0].cells
    cells[0].text, cells[1].text = "left", "right"
    buffer = io.BytesIO()
    essay.save(buffer)
    assert docx.read(buffer.getvalue()) == "My dog\n\nFirst\tline\nsecond åäö 🐕.\n\nleft\n\nright"


def test_tracked_changes_are_read_as_accepted() -> None:
    assert (
        text_of(
            f"<w:p>{run('We ')}<w:del><w:r><w:delText>was</w:delText><w:t>was</w:t></w:r></w:del>"
            f"<w:ins>{run('were')}</w:ins><w:moveFrom>{run(' not')}</w:moveFrom>{run(' there.')}"
            "<w:r><w:fldChar/><w:instrText>PAGE</w:instrText></w:r></w:p>"
        )
        == "We were there."
    )
    end_deleted = "<w:p><w:pPr><w:rPr><w:del/></w:rPr></w:pPr>" + run("One ") + "</w:p>"
    assert text_of(end_deleted + paragraph("whole.") + paragraph("Next.")) == "One whole.\n\nNext."


def test_a_text_box_is_read_once_and_apart_from_the_line_it_hangs_on() -> None:
    box = f"<w:txbxContent>{paragraph('in the box')}</w:txbxContent>"
    shape = (
        f'<mc:AlternateContent><mc:Choice Requires="wps"><wps:txbx>{box}</wps:txbx></mc:Choice>'
        f"<mc:Fallback><v:textbox>{box}</v:textbox></mc:Fallback></mc:AlternateContent>"
    )
    assert text_of(f"<w:p>{run('be')}<w:r>{shape}</w:r>{run('side')}</w:p>") == "in the box\n\nbeside"
    only_fallback = f"<mc:AlternateContent><mc:Fallback>{run('old')}</mc:Fallback></mc:AlternateContent>"
    assert text_of(f"<w:p>{only_fallback}</w:p>") == "old"


def test_marks_within_a_line() -> None:
    marks = (
        "<w:r><w:t>a</w:t><w:tab/><w:t>b</w:t><w:br/><w:t>c</w:t><w:noBreakHyphen/><w:t>d</w:t><w:softHyphen/></w:r>"
    )
    assert text_of(f"<w:p><w:pPr><w:tabs><w:tab/></w:tabs></w:pPr>{marks}{run('e')}</w:p>") == "a\tb\nc-de"


def test_parts_are_found_by_their_relations_whatever_their_names() -> None:
    strict = NAMES.replace(W, "http://purl.oclc.org/ooxml/wordprocessingml/main")
    link = '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{}</Relationships>'
    part = '<Relationship Id="r" Type="urn:x/{}" Target="{}"/>'
    notes = f"<w:footnotes {strict}><w:footnote>{paragraph('A note.')}</w:footnote></w:footnotes>"
    data = zipped(
        {
            "_rels/.rels": link.format(part.format("officeDocument", "/word/document2.xml")),
            "word/_rels/document2.xml.rels": link.format(part.format("footnotes", "notes.xml")),
            "word/document2.xml": document(paragraph("Essay."), strict),
            "word/notes.xml": notes,
        }
    )
    assert docx.read(data) == "Essay.\n\nA note."


def locked() -> bytes:
    data = bytearray(zipped({"word/document.xml": document("")}))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "code", "advice"),
    [
        (zipped({"xl/workbook.xml": "<x/>"}), RefusalCode.UNSUPPORTED_TYPE, "Save the essay as"),
        (zipped({"word/document.xml": "<x/>"}), RefusalCode.UNSUPPORTED_TYPE, "Save the essay as"),
        (locked(), RefusalCode.ENCRYPTED_FILE_UNSUPPORTED, "without the password"),
        (
            zipped({"word/document.xml": document("<w:p/>"), "word/media/photo.jpg": ""}),
            RefusalCode.TEXT_EXTRACTION_FAILED,
            "typed text",
        ),
        (zipped({"word/document.xml": bytes(2**21)}), RefusalCode.TEXT_EXTRACTION_FAILED, "new document"),
        (
            zipped({f"word/{number}": "" for number in range(docx.MAX_ENTRIES + 1)}),
            RefusalCode.TEXT_EXTRACTION_FAILED,
            "new document",
        ),
    ],
    ids=["workbook", "not word", "password", "only pictures", "ratio", "entries"],
)
def test_refusals_say_what_to_do(data: bytes, code: RefusalCode, advice: str) -> None:
    with pytest.raises(Unreadable) as refused:
        docx.read(data)
    assert refused.value.code is code
    assert advice in refused.value.detail


def test_a_document_type_declaration_is_refused_before_its_entities_expand() -> None:
    bomb = (
        '<!DOCTYPE x [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>'
        + document(paragraph("&b;")).partition("?>")[2]
    )
    with pytest.raises(ValueError, match="declaration"):
        docx.read(zipped({"word/document.xml": bomb}))
