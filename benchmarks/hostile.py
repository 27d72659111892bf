"""An upload of 30 mixed files, beside the same with a third of them hostile; and what the server's own memory does."""

import time
from collections.abc import Sequence
from statistics import median

from _figures import duration, told
from _figures import time as time_of
from _server import Server, Teacher, served

from tests import corpus

FILES = 30
TIMES = 5
SLOW = "many pages.pdf"  # the one that takes all the time it is given
OTHERS = ("macros.docx", "password.pdf", "scan.pdf", "cut.docx", "old.doc")
BOMBS = ("flat bomb.docx", "lying bomb.docx", "laughs.docx", "stream bomb.pdf", "glyph bomb.pdf")
Files = Sequence[tuple[str, bytes]]


def good(count: int) -> Files:
    """Return so many essays of 350 words, no two alike, in the three kinds by turns."""
    files = []
    for number in range(count):
        lines = [corpus.essay() for _ in range(14)]
        text = "\n".join(lines).encode()
        made = (("docx", corpus.written(*lines)), ("pdf", corpus.pdf(corpus.column(*lines))), ("txt", text))
        kind, data = made[number % 3]
        files.append((f"{number}.{kind}", data))
    return files


def mixed(*names: str) -> Files:
    """Return 30 files among which are these of the corpus, spread evenly."""
    harmful = [(file.name, file.data) for file in (*corpus.ordinary(), *corpus.bombs()) if file.name in names]
    files = list(good(FILES - len(harmful)))
    for place, file in enumerate(harmful):
        files.insert(place * FILES // len(harmful), file)
    return files


def seconds(teacher: Teacher, names: tuple[str, ...]) -> float:
    """Return the median time of an upload among which are these."""
    taken = []
    for _ in range(TIMES):
        batch_id, files = teacher.batch(), mixed(*names)
        started = time.perf_counter()
        stored = teacher.send(batch_id, files)
        taken.append(time.perf_counter() - started)
        if stored != FILES - len(names):
            raise RuntimeError(f"{stored} files were stored.")
    return median(taken)


def measured(server: Server) -> None:
    teacher = server.teacher("anna")
    seconds(teacher, ())  # loads what is loaded late
    before = server.rss()
    alone = seconds(teacher, ())
    baseline = (f"{FILES} good ones", alone)
    told(f"upload of {FILES} good files", time_of(alone))
    duration(f"{FILES} files, 10 of them refused", seconds(teacher, (*OTHERS, *BOMBS)), baseline)
    duration("the same, one takes all its time", seconds(teacher, (*OTHERS, *BOMBS[:-1], SLOW)), baseline, "limit: 5 s")
    told("server's own memory", f"{server.rss():.0f} MB", f"before: {before:.0f} MB", f"{3 * TIMES} uploads")


def main() -> None:
    with served() as server:
        measured(server)


if __name__ == "__main__":
    main()
