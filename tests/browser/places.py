"""Every page there is, with a class in it, so that all of them are looked at by the same eyes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.stage import CLASS, Scheme, Stage, ask, class_of


@dataclass(frozen=True)
class Place:
    """One page: its name, its path, and what stands on it when it has come to rest."""

    name: str
    path: str
    rest: str


def places(page: Page) -> list[Place]:
    """Return every page of a teacher who has one class that is done, one that waits, and the sample's essays."""
    done = class_of(page, title="A place that matters to me, 9B")
    class_of(page, CLASS[:2], title="Summer, 8A", start=False)
    page.goto(f"{page.url.split('/v1')[0].rstrip('/')}/batches/{done}")
    expect(page.locator("h1 ~ p .badge")).to_have_attribute("data-tone", "good")
    essays = ask(page, "GET", f"/batches/{done}/essays")["items"]
    essay = next(item["essay_id"] for item in essays if item["file_name"].startswith("My place"))
    return [
        Place("classes", "/", "li .badge"),
        Place("new class", "/batches/new", "input#title"),
        Place("class", f"/batches/{done}", ".essay .badge"),
        Place("results", f"/batches/{done}/results", "figure svg"),
        Place("essay", f"/batches/{done}/essays/{essay}", "figure svg"),
        Place("account", "/account", "input[type=password]"),
        Place("no such page", "/nowhere", "h1"),
    ]


@contextmanager
def seen(stage: Stage, email: str, language: str, scheme: Scheme, width: int) -> Iterator[BrowserContext]:
    """Open a browser in this language, light and width, signed in."""
    locale = {"en": "en-GB", "sv": "sv-SE"}[language]
    with stage.context(language=locale, scheme=scheme, width=width, signed_in=email) as context:
        yield context


def arrive(page: Page, url: str, place: Place) -> None:
    """Open a page and wait until it has come to rest."""
    page.goto(url + place.path)
    page.locator(place.rest).first.wait_for()
    page.evaluate("document.fonts.ready")
