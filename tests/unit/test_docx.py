import io

import docx as writer  # python-docx, an independent writer
import pytest

from huleedu.contracts.essay import RefusalCode
from huleedu.files import docx
from huleedu.files.unreadable import Unreadable
from tests.corpus import LINKS, NAMES, W, document, flagged, link, paragraph, run, table, word, zipped


def text_of(body: str) -> str:
    return docx.read(word(body))


def test_what_an_independent_program_wrote() -> None:
    essay = writer.Document()
    essay.sections[0].header.paragraphs[0].text = "Åsa Öberg, 9B"
    essay.sections[0].footer.paragraphs[0].text = "Page 1"
    essay.add_heading("My dog", 1)
    essay.add_paragraph("")
    essay.add_paragraph("First\tline\nsecond åäö 🐕.")
    cells = essay.add_table(1, 2).rows[0].cells
    cells[0].text, cells[1].text = "left", "right"
    buffer = io.BytesIO()
    essay.save(buffer)
    assert docx.read(buffer.getvalue()) == "Åsa Öberg, 9B\n\nMy dog\n\nFirst\tline\nsecond åäö 🐕.\n\nleft\n\nright"


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


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (f"<w:p><w:hyperlink>{run('here')}</w:hyperlink><w:smartTag>{run(' and')}</w:smartTag></w:p>", "here and"),
        (f"<w:sdt><w:sdtPr/><w:sdtContent>{paragraph('a field')}</w:sdtContent></w:sdt>", "a field"),
        (f"<w:p><w:fldSimple w:instr='DATE'>{run('1 May')}</w:fldSimple></w:p>", "1 May"),
        (f"<w:p><w:ins>{run('in')}<w:del>{run('out')}</w:del></w:ins></w:p>", "in"),
        (f"<w:p>{run('in')}<w:del><w:ins>{run('out')}</w:ins></w:del></w:p>", "in"),
        (f"<w:p><w:moveFrom>{run('from')}</w:moveFrom><w:moveTo>{run('to')}</w:moveTo></w:p>", "to"),
        (f"<w:p><w:r><w:rPr><w:vanish/></w:rPr><w:t>un</w:t><w:tab/></w:r>{run('seen')}</w:p>", "seen"),
        ("<w:p><w:r><w:rPr><w:vanish w:val='0'/></w:rPr><w:t>seen</w:t></w:r></w:p>", "seen"),
        (table(paragraph("out") + table(paragraph("in"))), "out\n\nin"),
        (f"<w:p><w:pPr><w:rPr><w:del/></w:rPr></w:pPr>{run('The last words.')}</w:p>", "The last words."),
        (f"<w:p><w:commentRangeStart/>{run('noted')}<w:r><w:commentReference/></w:r></w:p>", "noted"),
    ],
)
def test_whatever_holds_a_run_its_text_is_what_a_reader_of_the_page_sees(body: str, text: str) -> None:
    assert text_of(body) == text


def test_headers_come_first_and_each_line_of_them_once() -> None:
    def header(*lines: str) -> str:
        return f"<w:hdr {NAMES}>{''.join(map(paragraph, lines))}</w:hdr>"

    links = LINKS.format(link("header", "h1.xml") + link("header", "h2.xml") + link("header", "h1.xml"))
    parts = {
        "word/_rels/document.xml.rels": links,
        "word/h1.xml": header("My summer", "9B"),
        "word/h2.xml": header("My summer"),
    }
    assert docx.read(word(paragraph("It rained."), parts)) == "My summer\n\n9B\n\nIt rained."
    assert docx.read(word("<w:p/>", parts)) == ""  # a form that nobody has filled in


def test_marks_within_a_line() -> None:
    marks = (
        "<w:r><w:t>a</w:t><w:tab/><w:t>b</w:t><w:br/><w:t>c</w:t><w:noBreakHyphen/><w:t>d</w:t><w:softHyphen/></w:r>"
    )
    assert text_of(f"<w:p><w:pPr><w:tabs><w:tab/></w:tabs></w:pPr>{marks}{run('e')}</w:p>") == "a\tb\nc-de"


def test_parts_are_found_by_their_relations_whatever_their_names() -> None:
    strict = NAMES.replace(W, "http://purl.oclc.org/ooxml/wordprocessingml/main")
    notes = f"<w:footnotes {strict}><w:footnote>{paragraph('A note.')}</w:footnote></w:footnotes>"
    data = zipped(
        {
            "_rels/.rels": LINKS.format(link("officeDocument", "/word/document2.xml")),
            "word/_rels/document2.xml.rels": LINKS.format(link("footnotes", "notes.xml")),
            "word/document2.xml": document(paragraph("Essay."), strict),
            "word/notes.xml": notes,
        }
    )
    assert docx.read(data) == "Essay.\n\nA note."


@pytest.mark.parametrize(
    ("data", "code", "advice"),
    [
        (zipped({"word/document.xml": "<x/>"}), RefusalCode.UNSUPPORTED_TYPE, "Save the essay as"),
        (flagged(word("")), RefusalCode.ENCRYPTED_FILE_UNSUPPORTED, "without the password"),
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
    ids=["not word", "password", "only pictures", "ratio", "entries"],
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
