"""`huleedu assess`: from a class's files to a table, by a server or by the whole platform in this process."""

from __future__ import annotations

import asyncio
import json
import mimetypes
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from huleedu.cli.words import counted, plain
from huleedu.contracts.batch import BatchClientStatus
from huleedu.contracts.essay import MAX_UPLOAD_BYTES, UPLOAD_SECONDS
from huleedu.contracts.phase import Language, PhaseName
from huleedu.gateway.accounts import LOCAL
from huleedu.gateway.exports import Cell, as_csv
from huleedu.platform import telemetry
from huleedu.platform.app import connect, running, spare_collector
from huleedu.platform.errors import Usage
from huleedu.platform.installation import opened
from huleedu.services import build_all

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from huleedu.platform.settings import Settings

POLL_SECONDS = 0.2
UPLOAD_AT_ONCE = 20


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be assessed, how, and where the results go."""

    paths: Sequence[Path]
    pipeline: str
    language: Language
    json_file: Path | None = None
    csv_file: Path | None = None


async def run(order: Order, settings: Settings, url: str | None, token: str | None) -> int:
    """Assess and print; return 0 if every file became an essay that succeeded, else 1."""
    files = list(_files(order.paths))
    if not files:
        raise Usage("There is no file in the folder. Put the essays there, or name the files.")
    for path in (order.json_file, order.csv_file):
        _require_writable(path)
    console = Console()
    telemetry.configure(settings.log_level)
    try:
        async with _server(url, token) if url else _here(settings) as client:
            report = await Assessment(client, console).assess(order, files)
    except httpx2.HTTPError as error:
        raise Usage(f"The server at {url} cannot be reached. Is the address right, and is it running?") from error
    _write(order, report)
    _print(console, report)
    succeeded = all(essay["status"] == "completed" for essay in report["essays"])
    return 0 if succeeded and report["essays"] and not report["refused"] else 1


class Assessment:
    """One batch, taken through by the public interface."""

    def __init__(self, client: httpx2.AsyncClient, console: Console) -> None:
        self._client = client
        self._console = console

    async def assess(self, order: Order, files: Sequence[Path]) -> dict[str, Any]:
        """Register, upload, start, follow; return the report."""
        batch = await self._ask(
            "POST", "/v1/batches", json={"title": "Assessed from a terminal", "language": order.language}
        )
        base = f"/v1/batches/{batch['batch_id']}"
        columns = (TextColumn("{task.description:>12}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self._console) as progress:
            items = await self._upload(base, files, progress)
            refused = [item for item in items if item["status"] == "refused"]
            if len(refused) < len(items):
                await self._ask("POST", f"{base}/pipelines", json={"requested_pipeline": order.pipeline})
                await self._follow(base, progress)
        status = await self._ask("GET", f"{base}/status")
        listed = await self._ask("GET", f"{base}/essays")
        essays = [await self._ask("GET", f"{base}/essays/{essay['essay_id']}") for essay in listed["items"]]
        kept = ("essay_id", "file_name", "status", "error", "results")
        return {
            "batch_id": batch["batch_id"],
            "status": status["status"],
            "pipeline_state": status["pipeline_state"],
            "essays": [{name: essay[name] for name in kept if essay[name] is not None} for essay in essays],
            "refused": [{name: item[name] for name in ("file_name", "code", "detail")} for item in refused],
        }

    async def _upload(self, base: str, files: Sequence[Path], progress: Progress) -> list[dict[str, Any]]:
        bar = progress.add_task("upload", total=len(files))
        items: list[dict[str, Any]] = []
        for portion in _portions(files):
            parts = [("files", (path.name, path.read_bytes(), _type(path))) for path in portion]
            told = await self._ask("POST", f"{base}/essays", files=parts, timeout=UPLOAD_SECONDS)
            items += told["items"]
            progress.advance(bar, len(portion))
        return items

    async def _follow(self, base: str, progress: Progress) -> None:
        """Show each phase's bar until the run has ended."""
        bars: dict[str, Any] = {}
        while True:
            status = await self._ask("GET", f"{base}/status")
            for phase in status["pipeline_state"]["requested_pipelines"]:
                counts = status["pipeline_state"]["phases"][phase]["essay_counts"]
                if phase not in bars:
                    bars[phase] = progress.add_task(phase, total=counts["total"] or None)
                decided = counts["total"] - counts["pending_dispatch_or_processing"]
                progress.update(bars[phase], completed=decided, total=counts["total"] or None)
            if BatchClientStatus(status["status"]).terminal:
                return
            await asyncio.sleep(POLL_SECONDS)

    async def _ask(self, method: str, path: str, **sent: Any) -> Any:  # noqa: ANN401 -- JSON
        response = await self._client.request(method, path, **sent)
        while response.status_code == HTTPStatus.TOO_MANY_REQUESTS:
            await asyncio.sleep(int(response.headers.get("retry-after", "1")))
            response = await self._client.request(method, path, **sent)
        if response.is_success:
            return response.json()
        if "problem+json" in response.headers.get("content-type", ""):
            raise Usage(response.json()["detail"])
        raise Usage(f"The server answered {response.status_code}; it does not seem to be HuleEdu.")


@asynccontextmanager
async def _server(url: str, token: str | None) -> AsyncIterator[httpx2.AsyncClient]:
    if not token:
        raise Usage("A server wants a token: --token or HULEEDU_TOKEN. `huleedu user token EMAIL` makes one there.")
    headers = {"authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=30) as client:
        yield client


@asynccontextmanager
async def _here(settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    """Run the whole platform in this process, on a data directory that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="huleedu-") as directory:
        settings = settings.model_copy(update={"data_dir": Path(directory)})
        async with opened(settings) as platform:
            services = build_all(platform)
            connect(platform, services)
            public = next(service.public for service in services if service.public)
            gateway = platform.peer("gateway")
            await gateway.ask("POST", "/internal/v1/users", json=LOCAL)
            told = await gateway.ask("POST", "/internal/v1/users/token", json={"email": LOCAL["email"]})
            transport = httpx2.ASGITransport(public, raise_app_exceptions=False)
            headers = {"authorization": f"Bearer {told['token']}"}
            spare_collector()
            async with (
                running(platform, services),
                httpx2.AsyncClient(transport=transport, base_url="http://huleedu", headers=headers) as client,
            ):
                yield client


def _require_writable(path: Path | None) -> None:
    """Find out before the work is done whether its results can be kept."""
    try:
        if path is not None:
            path.open("a").close()
    except OSError as error:
        raise Usage(f"Cannot write {path}: {error.strerror}. Choose another file.") from error


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    """Return the files meant: a folder means every file in it, except those that the system hides."""
    for path in paths:
        if path.is_dir():
            yield from sorted(item for item in path.iterdir() if item.is_file() and not item.name.startswith("."))
        else:
            yield path


def _portions(files: Sequence[Path]) -> Iterator[list[Path]]:
    """Split the files into uploads that stay below the limits of one request."""
    portion: list[Path] = []
    size = 0
    for path in files:
        grown = size + path.stat().st_size
        if portion and (grown > MAX_UPLOAD_BYTES // 2 or len(portion) == UPLOAD_AT_ONCE):
            yield portion
            portion, grown = [], path.stat().st_size
        portion.append(path)
        size = grown
    if portion:
        yield portion


def _type(path: Path) -> str:
    return mimetypes.guess_type(path.name)[0] or "application/octet-stream"


def _figures(essay: dict[str, Any]) -> dict[str, float]:
    """Return an essay's figures under the names `phase.figure`."""
    found: dict[str, float] = {}
    for phase, result in essay["results"].items():
        found |= {f"{phase}.{name}": value for name, value in result["metrics"].items() if value is not None}
    return found


def _write(order: Order, report: dict[str, Any]) -> None:
    if order.json_file:
        order.json_file.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if order.csv_file:
        figures = [_figures(essay) for essay in report["essays"]]
        names = list(dict.fromkeys(name for found in figures for name in found))
        rows: list[list[Cell]] = [
            [essay["file_name"], essay["status"], essay.get("error", {}).get("code"), *map(found.get, names)]
            for essay, found in zip(report["essays"], figures, strict=True)
        ]
        rows += [[item["file_name"], "refused", item["code"], *(None for _ in names)] for item in report["refused"]]
        order.csv_file.write_bytes(as_csv(["file_name", "status", "error", *names], rows, Language.EN))


BESIDE_NAME = 56
"""Characters of a row that the file's name leaves to the other columns."""
COLUMNS = (
    ("words", PhaseName.SPELLCHECK, "word_count"),
    ("spell.", PhaseName.SPELLCHECK, "spelling_corrections"),
    ("gram.", PhaseName.SPELLCHECK, "grammar_corrections"),
    ("/100 w", PhaseName.SPELLCHECK, "correction_density"),
    ("MTLD", PhaseName.NLP, "mtld"),
    ("LIX", PhaseName.NLP, "lix"),
)


def _print(console: Console, report: dict[str, Any]) -> None:
    figures = [Column(title, justify="right", no_wrap=True, min_width=5) for title, _, _ in COLUMNS]
    name = Column("essay", no_wrap=True, overflow="ellipsis", max_width=max(16, console.width - BESIDE_NAME))
    table = Table(name, Column("status", min_width=9), *figures, box=None, header_style="bold")
    for essay in report["essays"]:
        metrics = {phase: result["metrics"] for phase, result in essay["results"].items()}
        cells = [metrics.get(phase, {}).get(name) for _, phase, name in COLUMNS]
        shown = ["" if cell is None else f"{cell:.0f}" if float(cell).is_integer() else f"{cell:.1f}" for cell in cells]
        told = essay.get("error", {}).get("detail") or essay["status"]
        table.add_row(plain(essay["file_name"]), plain(told), *shown)
    for item in report["refused"]:
        table.add_row(plain(item["file_name"]), plain(f"refused: {item['detail']}"), *("" for _ in COLUMNS))
    console.print(table)
    essays = counted(len(report["essays"]), "essay", "essays")
    console.print(f"{essays}, {len(report['refused'])} refused: {report['status']}")
