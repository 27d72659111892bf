"""A class of 300 as CSV and as XLSX, from the request to the last byte; the server answers others meanwhile."""

import io
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from statistics import median

from _essays import essays
from _figures import duration, percentile, told
from _server import served
from openpyxl import Workbook, load_workbook

ESSAYS, TIMES = 300, 5


def taken(deed: Callable[[], object]) -> float:
    started = time.perf_counter()
    deed()
    return time.perf_counter() - started


def written_by_another(book: Workbook) -> None:
    """Write the same cells with the library that tests read them with."""
    other = Workbook(write_only=True)
    for sheet in book:
        copy = other.create_sheet(sheet.title)
        for row in sheet.iter_rows(values_only=True):
            copy.append(row)
    other.save(io.BytesIO())


def main() -> None:
    with served() as server:
        anna, bo = server.teacher("anna"), server.teacher("bo")
        batch_id = anna.upload(essays(ESSAYS))
        anna.start(batch_id)
        anna.wait(batch_id)
        base = f"/v1/batches/{batch_id}"
        listed = median(taken(lambda: anna.get(f"{base}/essays")) for _ in range(TIMES))
        table = median(taken(lambda: anna.get(f"{base}/results.csv")) for _ in range(TIMES))
        duration(f"{ESSAYS} essays as CSV", table, ("the same list as JSON", listed), "target: 2 s")
        sheets = median(taken(lambda: anna.get(f"{base}/results.xlsx")) for _ in range(TIMES))
        content = anna.get(f"{base}/results.xlsx")
        book = load_workbook(io.BytesIO(content))
        cells = sum(sheet.max_row * sheet.max_column for sheet in book)
        other = taken(lambda: written_by_another(book))
        size = f"{cells:,} cells, {len(content) / 1000:,.0f} kB"
        duration(f"{ESSAYS} essays as XLSX", sheets, ("openpyxl writes the same", other), "target: 2 s", size)
        quiet = [taken(lambda: bo.get("/healthz")) for _ in range(50)]
        with ThreadPoolExecutor(1) as threads:
            making = threads.submit(lambda: [anna.get(f"{base}/results.xlsx") for _ in range(TIMES)])
            busy: list[float] = []
            while not making.done():
                busy.append(taken(lambda: bo.get("/healthz")))
        duration("another's request meanwhile, p99", percentile(busy, 99), ("at rest", percentile(quiet, 99)))
        told("requests answered meanwhile", f"{len(busy)}")


if __name__ == "__main__":
    main()
