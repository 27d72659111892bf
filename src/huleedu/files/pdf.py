"""The text of a .pdf that has any, its printed lines joined into paragraphs again.

A PDF holds glyphs at places. PDFium puts them into lines; where a paragraph ends has to be seen from the layout, by
what a typesetter does: he leaves a larger gap, indents the next line, or stops although the next word would have fitted
(the classic sign, safe for ragged and for justified text). Page numbers and running heads are taken out.
"""

import itertools
import re
import statistics
from collections import Counter
from collections.abc import Iterator
from ctypes import byref, c_double
from dataclasses import dataclass

import pypdfium2
from pypdfium2 import raw

from huleedu.contracts.essay import MAX_CHARACTERS, RefusalHint
from huleedu.files.unreadable import too_long, unreadable

MAX_PAGES = 100  # 50,000 characters of large, double-spaced type take about 60
MAX_GLYPHS = 2 * MAX_CHARACTERS  # spaces at the ends of lines, running heads

_HYPHEN = "\x02"  # PDFium's sign for a hyphen that ends a line within a word
_GAP = 1.35  # of the usual distance between lines; between single and double spacing, and above a superscript's
_INDENT = 8.0  # points; less than any first-line indent in use, more than a quotation mark hung out
_BULLET = re.compile(r"[•▪◦●‣]")
_PAGE_NUMBER = re.compile(
    r"(?:page|sida|sid\.?|s\.)?\s*[-–(]?\s*\d{1,3}\s*(?:(?:of|av|/|\()\s*\d{1,3}\s*\)?|[-–)])?", re.IGNORECASE
)
_SENTENCE_END = re.compile(r"[.!?:…][\"'”’)\]]*$")
_BROKEN = re.compile(r"[^\W_][-\x02]$")
_WORD_END = re.compile(r"[^\W_]+(?:-[^\W_]+)*$")
_WORD_START = re.compile(r"[^\W_]+(?:-[^\W_]+)*")
# Words that keep the hyphen behind them, in English and Swedish, when it happens to stand at the end of a line.
_HYPHENATED = re.compile(
    r"all|e|ex|far|father|half|brother|mid|mother|non|self|sister|so|t|tv|well|x"
    r"|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety"
)
_CONJUNCTION = re.compile(r"(?:and|or|to|och|eller|till)\b")  # "first- and second-year"


@dataclass(frozen=True)
class _Line:
    """A printed line; places in points from the page's lower left corner."""

    text: str
    page: int
    left: float
    right: float
    baseline: float

    def first_word(self) -> float:
        """The first word's width, and that of a space, as their share of the line."""
        return (self.right - self.left) * (len(self.text.split(maxsplit=1)[0]) + 1) / len(self.text)


def read(data: bytes) -> str:
    """The paragraphs, parted by blank lines. Raises Unreadable, and whatever PDFium raises."""
    lines = _without_furniture(_lines(data))
    text = _joined(lines)
    shown = "".join(text.split())
    # A scan has no letters; a font without a table of characters gives signs that are none.
    if 2 * sum(character.isalpha() for character in shown) <= len(shown):
        raise unreadable(RefusalHint.SCANNED)
    return text


def _lines(data: bytes) -> list[_Line]:
    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if error.err_code != raw.FPDF_ERR_PASSWORD:
            raise
        raise unreadable(RefusalHint.PASSWORD) from error
    with document:
        if len(document) > MAX_PAGES:
            raise too_long()
        lines: list[_Line] = []
        glyphs = 0
        for number in range(len(document)):
            page = document[number].get_textpage()
            glyphs += page.count_chars()
            if glyphs > MAX_GLYPHS:
                raise too_long()
            lines.extend(_lines_of(page, number))
    return lines


def _lines_of(page: pypdfium2.PdfTextPage, number: int) -> Iterator[_Line]:
    characters = [chr(raw.FPDFText_GetUnicode(page, place)) for place in range(page.count_chars())]
    start = 0
    for end, character in enumerate([*characters, "\n"]):
        if character not in {"\n", "\r", _HYPHEN}:
            continue
        seen = [place for place in range(start, end) if not characters[place].isspace()]
        hyphen = character if character == _HYPHEN else ""
        if seen:
            text = "".join(characters[seen[0] : seen[-1] + 1]) + hyphen
            left, baseline = _origin(page, seen[0])
            yield _Line(_whole(text), number, left, page.get_charbox(seen[-1])[2], baseline)
        start = end + 1


def _whole(text: str) -> str:
    """Characters beyond U+FFFF may come as two halves."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _origin(page: pypdfium2.PdfTextPage, place: int) -> tuple[float, float]:
    x, y = c_double(), c_double()
    raw.FPDFText_GetCharOrigin(page, place, byref(x), byref(y))
    return x.value, y.value


def _without_furniture(lines: list[_Line]) -> list[_Line]:
    """The lines without page numbers, and without a first or last line that most pages share but for its number."""
    pages = [list(page) for _, page in itertools.groupby(lines, lambda line: line.page)]
    edges = {edge for page in pages for edge in (max(page, key=_height), min(page, key=_height))}
    shared = Counter(_unnumbered(edge) for edge in edges)
    taken = {edge for edge in edges if _is_page_number(edge) or shared[_unnumbered(edge)] > max(1, len(pages) / 2)}
    return [line for line in lines if line not in taken]


def _height(line: _Line) -> float:
    return line.baseline


def _unnumbered(line: _Line) -> str:
    return re.sub(r"\d+", "#", line.text)


def _is_page_number(line: _Line) -> bool:
    return len(line.text) < 20 and _PAGE_NUMBER.fullmatch(line.text) is not None  # noqa: PLR2004 - "Sida 100 av 100"


def _joined(lines: list[_Line]) -> str:
    if not lines:
        return ""
    pairs = list(itertools.pairwise(lines))
    gaps = [before.baseline - after.baseline for before, after in pairs]
    usual = statistics.median([gap for gap in gaps if gap > 1] or [1.0])
    margin = sorted(line.right for line in lines)[int(0.9 * (len(lines) - 1))]  # one line in ten may stick out
    known = Counter(word for line in lines for word in _WORD_START.findall(line.text.lower()))
    paragraphs = [lines[0].text]
    for before, after in pairs:
        if _BROKEN.search(before.text):
            paragraphs[-1] = _mended(paragraphs[-1][:-1], after.text, known)
        elif _parts(before, after, usual, margin):
            paragraphs.append(after.text)
        else:
            paragraphs[-1] += " " + after.text
    return "\n\n".join(paragraphs).replace(_HYPHEN, "-")


def _parts(before: _Line, after: _Line, usual: float, margin: float) -> bool:
    """Whether a new paragraph begins with the line `after`."""
    if _BULLET.match(after.text):
        return True
    if before.page == after.page and before.baseline - after.baseline > _GAP * usual:
        return True
    if not _SENTENCE_END.search(before.text) and after.text[0].islower():
        return False
    return after.left > before.left + _INDENT or before.right + after.first_word() < margin


def _mended(text: str, following: str, known: Counter[str]) -> str:
    """A word broken over two lines, with its hyphen if that belongs to it."""
    first = _WORD_END.search(text, max(0, len(text) - 40))
    second = _WORD_START.match(following)
    if first is None or second is None:
        return f"{text}-{following}"
    if _CONJUNCTION.match(following):
        return f"{text}- {following}"
    head, tail = first[0].lower(), second[0].lower()
    keeps = "-" in head + tail or _HYPHENATED.fullmatch(head) or first[0].isupper() or not second[0].islower()
    if known[head + tail] or not (keeps or known[f"{head}-{tail}"]):
        return text + following
    return f"{text}-{following}"
