"""Pictures of the page: `make screens` takes all, `make pictures` those that the documents show."""

import itertools
import json
import re
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import FilePayload, Page

from tests.acceptance.served import served
from tests.browser.places import Place, arrive, places, seen
from tests.browser.stage import CLASS, NARROW, ROOT, WIDE, Scheme, Stage, chromium

SCREENS, PICTURES = ROOT / "build/screens", ROOT / "docs/pictures"
SCHEMES: tuple[Scheme, ...] = ("light", "dark")
EMAIL = "anna@school.se"
TITLES = {"en": "A place that matters to me, 9B", "sv": "En plats som betyder något, 9B"}


def screens(stage: Stage, folder: Path) -> None:
    """Take every page in both languages, light and dark, wide and narrow."""
    with stage.page(signed_in=EMAIL) as page:
        found = places(page)
    for language, scheme, width in itertools.product(TITLES, SCHEMES, (WIDE, NARROW)):
        kind = f"{language}.{scheme}.{width}.png"
        with seen(stage, EMAIL, language, scheme, width) as context:
            page = context.new_page()
            for place in found:
                arrive(page, stage.server.url, place)
                name = f"{place.name.replace(' ', '-')}.{kind}"
                page.screenshot(path=folder / name, full_page=place.name != "results")
        with stage.context(language=language, scheme=scheme, width=width) as context:
            page = context.new_page()
            arrive(page, stage.server.url, Place("sign-in", "/sign-in", "input[type=email]"))
            page.screenshot(path=folder / f"sign-in.{kind}")


def pictures(stage: Stage, folder: Path) -> None:
    """Go the teacher's way in each language and take what the quickstarts show."""
    for language in TITLES:
        with seen(stage, f"anna@{language}.school.se", language, "light", WIDE) as context:
            _way(context.new_page(), stage.server.url, language, folder)


def _way(page: Page, url: str, language: str, folder: Path) -> None:
    def take(name: str, height: int) -> None:
        page.screenshot(
            path=folder / f"{name}.{language}.png",
            full_page=True,
            clip={"x": 0, "y": 0, "width": WIDE, "height": height},
        )

    def words(area: str, key: str) -> str:
        return str(json.loads((ROOT / f"web/src/locales/{language}/{area}.json").read_text())[key])

    def press(area: str, key: str) -> None:
        name = words(area, key)
        page.get_by_role("button", name=name).or_(page.get_by_role("link", name=name)).click()

    page.goto(url)
    page.locator("main h2").wait_for()
    take("welcome", 420)

    page.goto(f"{url}/batches/new")
    page.locator("input#title").fill(TITLES[language])
    scan = FilePayload(name="Alva scan.png", mimeType="image/png", buffer=b"\x89PNG\r\n\x1a\n" + bytes(2000))
    page.locator("input[type=radio][value=en]").check()
    page.locator("input[type=file]").set_input_files(scan)
    page.locator("input[type=file]").set_input_files(CLASS)
    page.locator("button[type=submit]").click()
    page.get_by_text(words("upload", "refused").split(" | ")[0]).wait_for()
    take("files", 760)

    press("newbatch", "go")
    press("batch", "start")
    page.get_by_text(re.compile(r"^[1-9]\d* (done|klara)")).first.wait_for()
    take("live", 460)
    page.locator("h1 ~ p .badge[data-tone=good]").wait_for()

    press("batch", "results")
    page.locator("figure svg").first.wait_for()
    take("results", 660)
    figures = page.locator("section:has(figure)").first.bounding_box()
    assert figures
    page.screenshot(
        path=folder / f"figures.{language}.png",
        full_page=True,
        clip={"x": 0, "y": figures["y"] - 16, "width": WIDE, "height": 390},
    )

    page.get_by_role("link", name="My place (Wilma).txt").click()
    page.locator("[data-view] mark, [data-view] [role=button], [data-view] button").first.wait_for()
    page.keyboard.press("n")
    take("essay", 560)


def main(*, documents: bool) -> None:
    """Take the pictures of one kind."""
    folder = PICTURES if documents else SCREENS
    folder.mkdir(parents=True, exist_ok=True)
    with chromium() as browser, tempfile.TemporaryDirectory() as data_dir, served(Path(data_dir)) as server:
        (pictures if documents else screens)(Stage(server, Path(data_dir), browser), folder)
    sys.stdout.write(f"{len(list(folder.glob('*.png')))} pictures in {folder}\n")


if __name__ == "__main__":
    main(documents="--documents" in sys.argv)
