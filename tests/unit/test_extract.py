import contextlib
import io
import re
import unicodedata

import docx as writer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from huleedu.contracts.essay import MAX_CHARACTERS, MAX_FILE_BYTES, MIN_CHARACTERS, RefusalCode, RefusalHint
from huleedu.files import model
from huleedu.files.extract import OUTPUT_CAP, extract
from huleedu.files.handlers import CLOSED, NOT_STORED
from huleedu.files.unreadable import Unreadable, unreadable
from huleedu.platform.workers import Workers
from tests.corpus import column, pdf

ESSAY = "Förra året åkte Åsa till Ängelholm.\n\nDet var – som hon sa – ”över all förväntan”."


def refusal(data: bytes, file_name: str) -> Unreadable:
    with pytest.raises(Unreadable) as refused:
        extract(data, file_name)
    return refused.value


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
def test_swedish_letters_survive_every_common_encoding(encoding: str) -> None:
    assert extract(ESSAY.replace("\n", "\r\n").encode(encoding), "essay.txt") == ESSAY


@given(st.text(st.characters(codec="cp1252", categories=["L", "P", "Zs"]), min_size=1).filter(str.strip))
def test_utf_8_is_taken_for_what_it_is(text: str) -> None:
    plain = text.replace("\xad", "")
    assert extract(b"- " + text.encode() + b" -", "a.txt") == unicodedata.normalize("NFC", f"- {plain} -")


def test_latin_1_and_a_damaged_letter_in_utf_8() -> None:
    assert extract("på en ö, där är ån".encode("latin-1"), "essay") == "på en ö, där är ån"
    assert extract("två öar i ån".encode().replace(b"\xa5n", b"n"), "essay.txt") == "två öar i \ufffdn"


def test_what_nobody_sees_is_taken_out() -> None:
    text = "\ufeff\n a\u030angest\0 och\xad soft\u200b\u2028new\rline\fpage\x1b \n\n"
    assert extract(text.encode(), "x.txt") == "ångest och soft\nnew\nline\npage"


@pytest.mark.parametrize(
    ("data", "name", "code"),
    [
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "a.docx", RefusalCode.UNSUPPORTED_TYPE),
        (
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le"),
            "a.docx",
            RefusalCode.ENCRYPTED_FILE_UNSUPPORTED,
        ),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "a.docx", RefusalCode.UNSUPPORTED_TYPE),
        (b"\0\0\0\x18ftypheic" + bytes(50), "photo.txt", RefusalCode.UNSUPPORTED_TYPE),
        (b"{\\rtf1 My dog}", "a.txt", RefusalCode.UNSUPPORTED_TYPE),
        (b"name,class\nAnna,9B\n", "roster.csv", RefusalCode.UNSUPPORTED_TYPE),
        (bytes(range(256)) * 8, "a.txt", RefusalCode.UNSUPPORTED_TYPE),
        (bytes(range(256)) * 8, "a.pdf", RefusalCode.TEXT_EXTRACTION_FAILED),
        (b"PK\x03\x04 cut off", "a.docx", RefusalCode.TEXT_EXTRACTION_FAILED),
        (b"%PDF-1.7 cut off", "a.pdf", RefusalCode.TEXT_EXTRACTION_FAILED),
        (pdf([]), "scan.pdf", RefusalCode.TEXT_EXTRACTION_FAILED),
        (pdf(*[[] for _ in range(101)]), "book.pdf", RefusalCode.CONTENT_TOO_LONG),
        (b"a " * OUTPUT_CAP, "a.txt", RefusalCode.CONTENT_TOO_LONG),
    ],
)
def test_what_is_no_essay_is_refused_with_its_reason(data: bytes, name: str, code: RefusalCode) -> None:
    error = refusal(data, name)
    assert error.code is code
    assert error.detail.endswith(".")


@pytest.mark.parametrize("data", [b"", b" \r\n\t\0", "\ufeff\u200b".encode()])
def test_what_holds_nothing_to_read_is_read_as_nothing(data: bytes) -> None:
    assert extract(data, "a.txt") == ""


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", RefusalCode.EMPTY_CONTENT),
        ("a" * (MIN_CHARACTERS - 1), RefusalCode.CONTENT_TOO_SHORT),
        ("a" * MIN_CHARACTERS, None),
        ("a" * MAX_CHARACTERS, None),
        ("a" * (MAX_CHARACTERS + 1), RefusalCode.CONTENT_TOO_LONG),
    ],
)
def test_a_text_is_judged_by_its_length(text: str, code: RefusalCode | None) -> None:
    refused = model.judge_text(text)
    assert (refused and refused.code) is code


@pytest.mark.parametrize(
    "refused",
    [
        *map(unreadable, RefusalHint),
        *map(model.judge_text, ["", "a", "a" * (MAX_CHARACTERS + 1)]),
        *map(model.judge_size, [0, MAX_FILE_BYTES + 1]),
        CLOSED,
        NOT_STORED,
    ],
)
def test_every_refusal_says_what_is_the_matter_and_what_to_do(refused: Unreadable) -> None:
    assert re.fullmatch(r"The.+\. (Open|Save|Take|Upload|Unpack|Copy|Check|Split|Add)\b.+\.", refused.detail)


def test_the_content_decides_and_not_the_name() -> None:
    essay = writer.Document()
    essay.add_paragraph(ESSAY)
    essay.save(buffer := io.BytesIO())
    assert extract(buffer.getvalue(), "essay.txt") == ESSAY
    assert extract(pdf(column("An essay.")), "essay.docx") == "An essay."
    assert extract(ESSAY.encode(), "essay.pdf") == ESSAY


def test_printed_lines_become_paragraphs_again() -> None:
    first = column(
        "My summer",
        "Last summer I went to the sea with my",
        "family. It was a long train journey and we",
        "came home late.",
        "The next day began with the same rain as",
        "the one before, so we stayed in the tent.",
    )
    second = [
        (72, 770, "it rained all night."),
        (90, 756, "Then came the sun. It stayed as long as we"),
        (72, 742, "did."),
    ]
    assert extract(pdf(first, second), "a.pdf").split("\n\n") == [
        "My summer",
        "Last summer I went to the sea with my family. It was a long train journey and we came home late.",
        "The next day began with the same rain as the one before, so we stayed in the tent. it rained all night.",
        "Then came the sun. It stayed as long as we did.",
    ]


def test_a_larger_gap_parts_paragraphs_even_when_lines_are_full() -> None:
    lines = column("one two three four five.", "Six seven eight nine ten.") + column(
        "One two three four five.", top=720
    )
    assert (
        extract(pdf(lines), "a.pdf") == "one two three four five. Six seven eight nine ten.\n\nOne two three four five."
    )


def test_words_broken_at_the_end_of_a_line_are_mended() -> None:
    lines = column(
        "an exam-", "ple of a well-", "known first-", "and second-year EU-", "rule - 1990-", "2000, and his moth-"
    )
    assert extract(pdf(lines, column("er, a non-", "sense: nonsense on a help-", "line (help-line).")), "a.pdf") == (
        "an example of a well-known first- and second-year EU-rule - 1990-2000, and his mother, "
        "a nonsense: nonsense on a help-line (help-line)."
    )


def test_page_numbers_and_running_heads_are_left_out() -> None:
    pages = [[(72, 800, f"Anna, 9B, page {n}"), *column(f"Page text {n}."), (300, 40, f"{n} (3)")] for n in (1, 2, 3)]
    assert extract(pdf(*pages), "a.pdf").replace("\n\n", " ") == "Page text 1. Page text 2. Page text 3."


async def test_a_refusal_comes_whole_out_of_a_limited_process() -> None:
    workers = Workers(count=1, memory_mib=256)
    await workers.start()
    assert await workers.run(extract, pdf(column("An essay.")), "a.pdf", timeout_s=50) == "An essay."
    with pytest.raises(Unreadable) as refused:
        await workers.run(extract, b"\x89PNG", "a.pdf", timeout_s=50)
    await workers.aclose()
    whole = unreadable(RefusalHint.PICTURE)
    assert (refused.value.code, refused.value.detail, refused.value.hint) == (whole.code, whole.detail, whole.hint)


def samples() -> list[bytes]:
    essay = writer.Document()
    essay.add_paragraph(ESSAY)
    essay.save(buffer := io.BytesIO())
    return [buffer.getvalue(), pdf(column("My dog is old.", "It sleeps.")), ESSAY.encode("utf-16")]


SAMPLES = samples()


@given(st.sampled_from(SAMPLES), st.data())
def test_whatever_is_broken_in_a_file_it_is_read_or_refused(sample: bytes, data: st.DataObject) -> None:
    broken = bytearray(sample)
    for _ in range(data.draw(st.integers(1, 8))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(broken)))
    with contextlib.suppress(Unreadable):
        text = extract(bytes(broken[: len(broken) - cut // 4]), "a.docx")
        assert text == unicodedata.normalize("NFC", text).strip()
        assert not {"\0", "\r", "\x7f"} & set(text)
