"""Write docs/reference/ from the code, or tell which of its pages no longer say what the code does.

    python scripts/reference.py            write all pages
    python scripts/reference.py cli.md     write one
    python scripts/reference.py --check    write nothing; exit 1 and name the stale pages

A page is a function without arguments that returns its text; a new one is a line in PAGES.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from html import unescape
from pathlib import Path
from typing import TypeVar, get_args

import typer.cli
from pydantic import AliasChoices
from pydantic.fields import FieldInfo
from typer.testing import CliRunner

from huleedu.cli import app
from huleedu.contracts.measures import MEASURES, UNITS
from huleedu.lifecycle.model import TRANSITIONS as ESSAY
from huleedu.orchestrator.model import TRANSITIONS as BATCH
from huleedu.platform.metrics import ASKED, COUNTED
from huleedu.platform.settings import Settings

FOLDER = Path(__file__).parents[1] / "docs/reference"
State = TypeVar("State", bound=StrEnum)
Trigger = TypeVar("Trigger", bound=StrEnum)
NOTE = "Generated from the code by `make docs`; do not edit.\n"


def printed(program: typer.Typer, *words: str) -> str:
    """What a command prints, undecorated and unwrapped, whatever terminal this runs in."""
    result = CliRunner().invoke(program, words, env={"COLUMNS": "200", "NO_COLOR": "1"}, catch_exceptions=False)
    if result.exit_code:
        sys.exit(f"{' '.join(words)} failed:\n{result.output}")
    return result.stdout


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    return "".join("| " + " | ".join(row) + " |\n" for row in [head, ["---"] * len(head), *rows])


def commands() -> str:
    return NOTE + "\n" + unescape(printed(typer.cli.app, "huleedu.cli", "utils", "docs", "--name", "huleedu"))


def topology() -> str:
    return f"# Who tells whom what\n\n{NOTE}\n{printed(app, 'topology')}"


def openapi() -> str:
    return printed(app, "openapi")


def settings() -> str:
    head = ("variable", "also read from", "if not given", "values", "meaning")
    rows = [setting(name, field) for name, field in Settings.model_fields.items()]
    return f"# Settings\n\n{NOTE}\n{table(head, rows)}"


def setting(name: str, field: FieldInfo) -> Iterable[str]:
    alias = field.validation_alias
    names = [str(choice) for choice in alias.choices] if isinstance(alias, AliasChoices) else []
    variable, *others = names or [f"{Settings.model_config.get('env_prefix', '')}{name}".upper()]
    values = get_args(field.annotation) or [getattr(field.annotation, "__name__", str(field.annotation))]
    return (
        f"`{variable}`",
        ", ".join(f"`{other}`" for other in others),
        f"`{field.default}`",
        ", ".join(str(value) for value in values),
        (field.description or "").replace("|", "\\|"),
    )


def states() -> str:
    return (
        f"# States\n\n{NOTE}\n"
        "What is not in these tables changes nothing.\n\n"
        f"## A batch\n\nDecided in `orchestrator/model.py`.\n\n{machine(BATCH)}\n"
        f"## An essay in one phase of one run\n\nDecided in `lifecycle/model.py`.\n\n{machine(ESSAY)}"
    )


def machine(transitions: Mapping[tuple[State, Trigger], State]) -> str:
    rows = [(f"`{state}`", event, f"`{after}`") for (state, event), after in transitions.items()]
    return table(("in state", "when", "becomes"), rows)


def measures() -> str:
    dumped = [measure.model_dump(mode="json") for measure in MEASURES]
    return json.dumps({"measures": dumped, "units": UNITS}, indent=2, ensure_ascii=False)


def metrics() -> str:
    rows = []
    for counted in COUNTED:
        labels = counted._labelnames  # noqa: SLF001 -- the library tells them nowhere else
        rows += [(family.name, family.type, labels, family.documentation) for family in counted.describe()]
    rows += [(asked.name, "gauge", asked.labels, asked.meaning) for asked in ASKED]
    head = ("name", "type", "labels", "meaning")
    told = table(head, ((f"`{name}`", kind, ", ".join(names), meaning) for name, kind, names, meaning in rows))
    where = "At `/metrics` of the internal listener, beside the `process_…` of Prometheus' own library."
    return f"# Metrics\n\n{NOTE}\n{where} [What to watch](../how-to/run-on-kafka.md#what-to-watch).\n\n{told}"


PAGES: Mapping[str, Callable[[], str]] = {
    "cli.md": commands,
    "measures.json": measures,
    "metrics.md": metrics,
    "openapi.json": openapi,
    "settings.md": settings,
    "states.md": states,
    "topology.md": topology,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*", metavar="PAGE", help=f"of {', '.join(PAGES)} (all, if none is named)")
    parser.add_argument("--check", action="store_true", help="compare only")
    chosen = parser.parse_args()
    if unknown := set(chosen.pages) - set(PAGES):
        parser.error(f"no such page: {', '.join(sorted(unknown))}")
    texts = {FOLDER / name: f"{PAGES[name]().strip()}\n" for name in chosen.pages or PAGES}
    stale = [path for path, text in texts.items() if not path.is_file() or path.read_text("utf-8") != text]
    if chosen.check and stale:
        sys.exit(f"make docs would change {', '.join(path.name for path in stale)}")
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path in stale:
        path.write_text(texts[path], "utf-8")
        print(f"wrote {path.relative_to(FOLDER.parents[1])}")


if __name__ == "__main__":
    main()
