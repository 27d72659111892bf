"""The documents: every link leads to something that is there, and nothing of a developer's machine is in them."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md")] if page.is_file()
)
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]+)?(?:#([^)\s]+))?\)")


def anchors(page: Path) -> set[str]:
    """Return the names that links may give to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for path, anchor in LINK.findall(page.read_text()):
        target = (page.parent / path) if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), f"{path}#{anchor}"


def test_the_pages_that_everyone_looks_for_are_there() -> None:
    found = {str(page.relative_to(ROOT)) for page in PAGES}
    assert {"README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md"} <= found
    assert {"docs/how-to/add-a-phase.md", "docs/explain/event-backbone.md"} <= found


def sentences(node: object) -> set[str]:
    """Return every sentence of a file of words, with each form of a plural by itself."""
    if isinstance(node, dict):
        return set().union(*map(sentences, node.values()))
    return set(str(node).split(" | "))


@pytest.mark.parametrize(("page", "language"), [("quickstart.md", "en"), ("quickstart.sv.md", "sv")])
def test_what_a_quickstart_says_is_on_the_screen_is_there(page: str, language: str) -> None:
    files = ROOT.glob(f"web/src/locales/{language}/*.json")
    shown = set().union(*(sentences(json.loads(file.read_text())) for file in files))
    said = set(re.findall(r"\*\*(.+?)\*\*", (ROOT / "docs" / page).read_text()))
    assert said - shown == {{"en": "bold", "sv": "fet stil"}[language]}
