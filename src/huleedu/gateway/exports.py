"""A class's results as tables for a spreadsheet: CSV and XLSX, in which no cell is taken for a formula."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING
from urllib.parse import quote

from xlsxwriter import Workbook

from huleedu.contracts.essay import EssayError, EssayStatus, EssayView
from huleedu.contracts.measures import MEASURES
from huleedu.contracts.phase import Language
from huleedu.contracts.results import CorrectionKind, SpellcheckResultV1

if TYPE_CHECKING:
    from xlsxwriter.worksheet import Worksheet

Cell = str | float | None
CELL_CHARACTERS = 32_767
SHEET_ROWS = 1_048_575
"""What Excel holds; what is beyond is cut off."""
NAME_CHARACTERS = 80
PART = re.compile(r"[^;,\t\r\n]+")
"""What may become a cell of its own in a spreadsheet that takes another sign for the separator."""
LIKED = re.compile(r"(?:^|,)\s*(en|sv)\b[\w-]*(?:\s*;\s*q\s*=\s*([01](?:\.\d*)?))?")
"""One of our languages in an Accept-Language header, and how well it is liked."""
WORDS: dict[str, tuple[str, str]] = {
    "essays": ("Essays", "Uppsatser"),
    "remarks": ("Remarks", "Anmärkningar"),
    "file": ("Essay", "Uppsats"),
    "state": ("Status", "Status"),
    "reason": ("Reason", "Orsak"),
    "position": ("Position (characters)", "Position (tecken)"),
    "original": ("Original", "Original"),
    "suggestion": ("Suggestion", "Förslag"),
    "kind": ("Kind", "Slag"),
    "why": ("Why", "Varför"),
    "confidence": ("Confidence (0 to 1)", "Säkerhet (0 till 1)"),
    "leave_out": ("(leave it out)", "(ta bort det)"),
    EssayStatus.ACCEPTED: ("Uploaded", "Uppladdad"),
    EssayStatus.PROCESSING: ("In progress", "Pågår"),
    EssayStatus.COMPLETED: ("Done", "Klar"),
    EssayStatus.FAILED: ("Failed", "Misslyckades"),
    EssayStatus.CANCELLED: ("Stopped", "Stoppat"),
    CorrectionKind.SPELLING: ("Spelling", "Stavning"),
    CorrectionKind.GRAMMAR: ("Grammar", "Grammatik"),
    CorrectionKind.STYLE: ("Style", "Stil"),
    "DEADLINE": (
        "This essay waited too long for its turn. Try again what failed.",
        "Uppsatsen fick vänta för länge på sin tur. Försök igen med det som misslyckades.",
    ),
    "PHASE_TIMEOUT": (
        "Checking this essay took too long. Try again; if it stays so, split the text or tell your IT.",
        (
            "Det tog för lång tid att granska uppsatsen. Försök igen; om det inte hjälper, dela upp texten eller "
            "säg till er it-avdelning."
        ),
    ),
    "PHASE_CRASHED": (
        "The check broke down on this essay. Try again; if it stays so, tell your IT.",
        "Granskningen av uppsatsen avbröts av ett fel. Försök igen; om det inte hjälper, säg till er it-avdelning.",
    ),
    "PHASE_FAILED": (
        "This essay could not be checked because of a fault in HuleEdu. Tell your IT; the other essays go on.",
        (
            "Uppsatsen kunde inte granskas på grund av ett fel i HuleEdu. Säg till er it-avdelning; de andra "
            "uppsatserna granskas ändå."
        ),
    ),
}
"""In English and in Swedish, as on the page: a test compares them."""


@dataclass(frozen=True, slots=True)
class Column:
    """The head of a column, how wide it is in a sheet, and with how many decimals its numbers are shown."""

    head: str
    width: int = 12
    decimals: int | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A sheet of its own, or a file."""

    title: str
    columns: Sequence[Column]
    rows: Iterable[Sequence[Cell]]


def results_csv(views: Sequence[EssayView], language: Language) -> bytes:
    """Return the measures of a class's essays."""
    table = _essays(views, language)
    return as_csv([column.head for column in table.columns], table.rows, language)


def results_xlsx(checked: Sequence[tuple[EssayView, bytes]], language: Language) -> bytes:
    """Return the measures of a class's essays and what their spell checks, each a result as JSON, found in them."""
    found = ((view.file_name, SpellcheckResultV1.model_validate_json(blob)) for view, blob in checked if blob)
    return as_xlsx(_essays([view for view, _ in checked], language), _remarks(found, language))


def as_csv(head: Iterable[str], rows: Iterable[Sequence[Cell]], language: Language) -> bytes:
    """Return the table as a spreadsheet in this language reads it: UTF-8 with its mark, RFC 4180."""
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=";" if language is Language.SV else ",")
    point = "," if language is Language.SV else "."
    writer.writerows([_text(cell, point) for cell in row] for row in chain([list(head)], rows))
    return file.getvalue().encode("utf-8-sig")


def as_xlsx(*tables: Table) -> bytes:
    """Return the tables as the sheets of a workbook; it is made in memory, so that no copy is left on a disk."""
    file = io.BytesIO()
    with Workbook(file, {"in_memory": True}) as book:
        for table in tables:
            _fill(book, book.add_worksheet(table.title), table)
    return file.getvalue()


def _fill(book: Workbook, sheet: Worksheet, table: Table) -> None:
    # A text that looks like a formula is marked as text, so that it stays one when somebody edits its cell.
    quoted = book.add_format({"quote_prefix": True})
    bold = book.add_format({"bold": True, "text_wrap": True, "valign": "top"})
    shown = ["General" if column.decimals is None else f"{0:.{column.decimals}f}" for column in table.columns]
    formats = [book.add_format({"num_format": each}) for each in shown]
    for at, column in enumerate(table.columns):
        sheet.set_column(at, at, column.width)
        sheet.write_string(0, at, column.head, bold)
    sheet.freeze_panes(1, 1)
    for line, row in zip(range(1, SHEET_ROWS + 1), table.rows, strict=False):
        for at, cell in enumerate(row):
            if isinstance(cell, str):
                sheet.write_string(line, at, cell[:CELL_CHARACTERS], quoted if formula(cell) else None)
            elif cell is not None:
                sheet.write_number(line, at, cell, formats[at])


def _essays(views: Sequence[EssayView], language: Language) -> Table:
    """Return a row for each essay, with every measure; one that was not assessed shows why."""
    known = {measure.key: Column(measure.head(language), 12, measure.decimals) for measure in MEASURES}
    figures = [_figures(view) for view in views]
    also = {key: Column(key) for found in figures for key in found if key not in {*known, "nlp.word_count"}}
    columns = known | also
    told = [Column(word("file", language), 36), Column(word("state", language), 14), Column(word("reason", language))]
    rows = (
        [view.file_name, word(view.status, language), _reason(view.error, language), *map(found.get, columns)]
        for view, found in zip(views, figures, strict=True)
    )
    return Table(word("essays", language), [*told, *columns.values()], rows)


def _remarks(found: Iterable[tuple[str, SpellcheckResultV1]], language: Language) -> Table:
    """Return a row for each remark on each essay, given by its file's name. Positions begin at 1."""
    widths = {"file": 36, "position": 12, "original": 24, "suggestion": 24, "kind": 12, "why": 60}
    columns = [Column(word(name, language), width) for name, width in widths.items()]
    rows = (
        [
            file_name,
            one.offset + 1,
            one.original,
            word("leave_out", language) if one.replacement == "" else one.replacement,
            word(one.kind, language),
            one.message,
            one.confidence,
        ]
        for file_name, result in found
        for one in result.corrections
    )
    return Table(word("remarks", language), [*columns, Column(word("confidence", language), 12, 2)], rows)


def attachment(title: str | None, extension: str) -> str:
    """Return a Content-Disposition (RFC 6266) with a file name made of a batch's title, whatever is in that."""
    kept = "".join(character if character.isprintable() else " " for character in title or "")
    name = " ".join(re.sub(r'[\\/:*?"<>|]', " ", kept).split()).strip(". ")[:NAME_CHARACTERS] or "HuleEdu"
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().strip() or "HuleEdu"
    plain = re.sub(r"[^\w .()-]", "_", plain, flags=re.ASCII)
    return f"attachment; filename=\"{plain}.{extension}\"; filename*=UTF-8''{quote(name, safe='')}.{extension}"


def preferred(accepted: str) -> Language:
    """Return the language of ours that an Accept-Language header likes best; English, if it names none."""
    liked: dict[Language, float] = {}
    for tag, quality in LIKED.findall(accepted.lower()):
        liked[Language(tag)] = max(liked.get(Language(tag), 0.0), float(quality or 1))
    return max(liked, key=lambda language: liked[language], default=Language.EN)


def formula(text: str) -> bool:
    """Return whether some spreadsheet takes the text for a formula: by its first sign that is seen, of any width."""
    first = next((sign for sign in text if sign.isprintable() and not sign.isspace()), "")
    return text[:1] in {"\t", "\r", "\n"} or unicodedata.normalize("NFKC", first) in {"=", "+", "-", "@"}


def word(name: str, language: Language) -> str:
    """Return a word of the tables."""
    return WORDS[name][language is Language.SV]


def _reason(error: EssayError | None, language: Language) -> str | None:
    """Return why an essay could not be assessed; what has no word of ours is said as it was told."""
    if error is None:
        return None
    return word(error.code, language) if error.code in WORDS else error.detail


def _figures(view: EssayView) -> dict[str, float]:
    """Return an essay's figures under the names `phase.figure`."""
    return {f"{phase.value}.{name}": value for phase, found in view.metrics.items() for name, value in found.items()}


def _text(cell: Cell, point: str) -> str:
    """Return a cell as it stands in a file: numbers in the reader's manner, texts so that no part is a formula."""
    if isinstance(cell, str):
        # A quotation mark is passed over: once a row is cut in the wrong places, it may be taken for that of the file.
        return PART.sub(lambda part: "'" * formula(part[0].replace('"', "")) + part[0], cell)
    if cell is None:
        return ""
    return str(int(cell)) if float(cell).is_integer() else str(cell).replace(".", point)
