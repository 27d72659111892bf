"""Exports, read again by other libraries: no cell is a formula, a link or a number that was a text."""

import csv
import io
import json
import re
from collections.abc import Sequence
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import load_workbook

from huleedu.contracts.essay import EssayError, EssayStatus, EssayView
from huleedu.contracts.measures import MEASURES
from huleedu.contracts.phase import Engine, Language, PhaseName
from huleedu.contracts.results import Correction, CorrectionKind, SpellcheckMetrics, SpellcheckResultV1
from huleedu.gateway import exports

HOSTILE = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "\uff1d1+1",
    "\uff0b1",
    "\uff0d1",
    "\uff20x",
    " =1",
    "\u200b=1",
    "\ufeff+1",
]
PARTED = ["x;=1+1;.txt", "x,=1+1,.txt", "x\t=1+1\t.txt", 'x;"=1+1";.txt', "x;a,\r\n =1"]
"""Formulas to whoever cuts the row at another sign than it was written with."""
METRICS: dict[PhaseName, dict[str, float]] = {
    PhaseName.SPELLCHECK: {"word_count": 1234.0, "correction_density": 2.5},
    PhaseName.NLP: {"word_count": 1234.0, "flesch_reading_ease": -3.25, "lix": 41.0},
}


def view(name: str = "Åsa.docx", **fields: Any) -> EssayView:  # noqa: ANN401 -- of the model
    return EssayView(
        **{"essay_id": "e", "file_name": name, "status": EssayStatus.COMPLETED, "metrics": METRICS} | fields
    )


def checked(*corrections: Correction) -> bytes:
    figures = SpellcheckMetrics.model_validate(dict.fromkeys(SpellcheckMetrics.model_fields, 0))
    engine = Engine(name="n", version="1", language=Language.EN)
    result = SpellcheckResultV1(corrected_text="", corrections=corrections, metrics=figures, engine=engine)
    return result.model_dump_json().encode()


def correction(original: str, replacement: str | None = None, why: str = "Because.") -> Correction:
    return Correction(
        offset=4,
        length=len(original),
        original=original,
        replacement=replacement,
        kind=CorrectionKind.SPELLING,
        rule="r",
        message=why,
        confidence=0.5,
    )


def read_csv(content: bytes, delimiter: str = ",") -> list[list[str]]:
    assert content.startswith(b"\xef\xbb\xbf"), "so that Excel reads it as UTF-8"
    return list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), delimiter=delimiter, strict=True))


def cells(content: bytes) -> list[str]:
    """Every cell that is seen in a spreadsheet, whichever sign it takes for the separator."""
    text = content.decode("utf-8-sig")
    tables = [csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) for delimiter in ",;\t"]
    return [cell for table in tables for row in table for cell in row]


def formulas(content: bytes) -> list[str]:
    seen = (cell.strip('"\u200b\ufeff \t\r\n') for cell in cells(content))
    return [cell for cell in seen if cell.startswith(("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20"))]


def read_xlsx(views: Sequence[tuple[EssayView, bytes]], language: Language = Language.EN) -> Any:  # noqa: ANN401 -- a workbook
    return load_workbook(io.BytesIO(exports.results_xlsx(views, language)))


def test_a_row_for_each_essay_with_every_measure_and_its_unit() -> None:
    failed = view(
        "b.txt", status=EssayStatus.FAILED, error=EssayError(code="PHASE_TIMEOUT", detail="Too slow."), metrics={}
    )
    head, first, second = read_csv(exports.results_csv([view(), failed], Language.EN))
    assert head == ["Essay", "Status", "Reason", *(measure.head(Language.EN) for measure in MEASURES)]
    row = dict(zip(head, first, strict=True))
    assert (row["Essay"], row["Status"], row["Words (number)"]) == ("Åsa.docx", "Done", "1234")
    assert (row["All remarks (per 100 words)"], row["Reading ease, Flesch (index)"]) == ("2.5", "-3.25")
    assert second == ["b.txt", "Failed", exports.WORDS["PHASE_TIMEOUT"][0], *("" for _ in MEASURES)]


def test_swedish_has_semicolons_decimal_commas_and_swedish_words() -> None:
    failed = view("b.txt", status=EssayStatus.FAILED, error=EssayError(code="PHASE_TIMEOUT", detail="Too slow."))
    content = exports.results_csv([view(), failed], Language.SV)
    assert content.endswith(b"\r\n")
    head, first, second = read_csv(content, ";")
    row = dict(zip(head, first, strict=True))
    assert (row["Uppsats"], row["Status"], row["Ord (antal)"]) == ("Åsa.docx", "Klar", "1234")
    assert row["Lättlästhet, Flesch (index)"] == "-3,25"
    assert "för lång tid" in second[2]


@pytest.mark.parametrize("language", list(Language))
def test_a_table_uses_the_words_of_the_page(language: Language) -> None:
    folder = Path(__file__).parents[2] / "web/src/locales" / language
    batch, essay, results, shell = (
        json.loads((folder / f"{area}.json").read_text()) for area in ("batch", "essay", "results", "shell")
    )
    shown = {"essays": batch["essays"]["title"], "remarks": essay["remarks"], "file": results["essay"]}
    shown |= {"state": results["status"], "original": essay["view"]["original"], "leave_out": f"({essay['leave-out']})"}
    shown |= {"suggestion": essay["instead"].rstrip(":")} | essay["kind"]
    shown |= {status: shell["status"][status] for status in EssayStatus}
    shown |= {code: sentence for code, sentence in batch["error"].items() if code != "FAILED"}
    assert {name: exports.word(name, language) for name in shown} == shown


def test_why_an_essay_failed_is_told_as_it_was_if_there_is_no_word_for_it() -> None:
    told = view("b.txt", status=EssayStatus.FAILED, error=EssayError(code="ODD", detail="It is odd."), metrics={})
    assert read_csv(exports.results_csv([told], Language.SV), ";")[1][2] == "It is odd."


def test_a_measure_that_the_table_does_not_know_is_shown_under_its_own_name() -> None:
    told = view(metrics={PhaseName.NLP: {"word_count": 3.0, "openings": 0.25}})
    head, row = read_csv(exports.results_csv([told], Language.EN))
    assert (head[-1], row[-1], len(head)) == ("nlp.openings", "0.25", 4 + len(MEASURES))


def test_numbers_are_numbers_in_a_workbook() -> None:
    book = read_xlsx([(view(), checked())])
    sheet = book["Essays"]
    row = dict(zip([cell.value for cell in sheet[1]], sheet[2], strict=True))
    words, ease = row["Words (number)"], row["Reading ease, Flesch (index)"]
    assert [(cell.value, cell.data_type, cell.number_format) for cell in (words, ease)] == [
        (1234, "n", "0"),
        (-3.25, "n", "0.0"),
    ]
    assert sheet.freeze_panes == "B2"
    assert sheet.column_dimensions["A"].width > 30


def test_every_remark_is_a_row_of_the_second_sheet() -> None:
    found = checked(correction("teh", "the"), correction("very", ""), correction("hm"))
    sheet = read_xlsx([(view(), found), (view("none.txt"), b"")], Language.SV)["Anmärkningar"]
    head, *rows = [[cell.value for cell in row] for row in sheet]
    assert head[:4] == ["Uppsats", "Position (tecken)", "Original", "Förslag"]
    assert rows[0] == ["Åsa.docx", 5, "teh", "the", "Stavning", "Because.", 0.5]
    assert [row[3] for row in rows] == ["the", "(ta bort det)", None]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_is_taken_for_a_formula(text: str) -> None:
    told = view(text, status=EssayStatus.FAILED, error=EssayError(code="X", detail=text))
    book = read_xlsx([(told, checked(correction(text, text, text)))])
    cells = [book["Essays"]["A2"], book["Essays"]["C2"], *(book["Remarks"][f"{place}2"] for place in "ACDF")]
    for cell in cells:
        assert (cell.data_type, cell.quotePrefix, cell.hyperlink) == ("s", True, None)


@pytest.mark.parametrize("text", [*HOSTILE, *PARTED])
@pytest.mark.parametrize(("language", "delimiter"), [(Language.EN, ","), (Language.SV, ";")])
def test_no_part_of_a_text_is_taken_for_a_formula(text: str, language: Language, delimiter: str) -> None:
    told = view(text, status=EssayStatus.FAILED, error=EssayError(code="X", detail=text), metrics={})
    content = exports.results_csv([told], language)
    (_, row) = read_csv(content, delimiter)
    assert row[0] == row[2]
    assert row[0].replace("'", "") == text
    assert formulas(content) == []


@pytest.mark.parametrize(
    "text", ["a=b", "3-4", "http://x.se", "007", "TRUE", "a\x00\x1b\uffffb", "x" * 40_000, 'a;"b",c\nd']
)
def test_a_text_stays_a_text(text: str) -> None:
    for language, delimiter in ((Language.EN, ","), (Language.SV, ";")):
        assert read_csv(exports.results_csv([view(text)], language), delimiter)[1][0] == text
    cell = read_xlsx([(view(text), b"")])["Essays"]["A2"]
    assert (cell.data_type, cell.hyperlink) == ("s", None)
    assert cell.value == text[: exports.CELL_CHARACTERS] or not text.isprintable()


@given(st.text(max_size=20) | st.text("=-@\uff1d;,\t\n\"' \u200bax", max_size=12))
def test_whatever_a_file_is_called_it_comes_back_and_begins_no_formula(text: str) -> None:
    content = exports.as_csv(["name"], [["x", text, 1.0]], Language.EN)
    assert read_csv(content)[1][1].replace("'", "") == text.replace("'", "")
    assert formulas(content) == []


def test_a_sheet_holds_what_excel_can_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "SHEET_ROWS", 2)
    book = read_xlsx([(view(), checked(*(correction(word) for word in ("a", "b", "c"))))])
    assert book["Remarks"].max_row == 3


@pytest.mark.parametrize(
    ("title", "name", "plain"),
    [
        ("9B höst", "9B höst", "9B host"),
        (None, "HuleEdu", "HuleEdu"),
        ('a/b\\c:"d"\r\nx: y', "a b c d x y", "a b c d x y"),
        ("../..", "HuleEdu", "HuleEdu"),
        ("日本語", "日本語", "HuleEdu"),
        ("a;b'c%d", "a;b'c%d", "a_b_c_d"),
        ("x" * 200, "x" * 80, "x" * 80),
        ("\u202etxt.exe", "txt.exe", "txt.exe"),
    ],
)
def test_a_file_is_called_as_the_batch(title: str | None, name: str, plain: str) -> None:
    header = exports.attachment(title, "csv")
    assert header.isascii()
    assert header.isprintable()
    assert re.findall(r'filename="([^"]*)"', header) == [f"{plain}.csv"]
    message = Message()
    message["Content-Disposition"] = header.replace(f'filename="{plain}.csv"; ', "")
    assert message.get_filename() == f"{name}.csv"


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("", Language.EN),
        ("sv-SE,sv;q=0.9,en;q=0.8", Language.SV),
        ("en-GB, sv;q=0.5", Language.EN),
        ("de, en;q=0.3, sv;q=0.7", Language.SV),
        ("es-SV", Language.EN),
        ("svx", Language.EN),
        ("*;q=nonsense", Language.EN),
    ],
)
def test_the_language_that_is_liked_best(accepted: str, language: Language) -> None:
    assert exports.preferred(accepted) is language
