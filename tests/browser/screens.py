"""Every page as a picture: `make screens` writes them to build/screens/, light and dark, wide and narrow."""

import itertools
import sys
import tempfile
from pathlib import Path

from tests.acceptance.served import served
from tests.browser.places import Place, arrive, places, seen
from tests.browser.stage import NARROW, ROOT, WIDE, Scheme, Stage, chromium

SCREENS = ROOT / "build/screens"
SCHEMES: tuple[Scheme, ...] = ("light", "dark")
EMAIL = "anna@school.se"


def main(folder: Path = SCREENS) -> None:
    """Take the pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    with chromium() as browser, tempfile.TemporaryDirectory() as data_dir, served(Path(data_dir)) as server:
        stage = Stage(server, Path(data_dir), browser)
        with stage.page(signed_in=EMAIL) as page:
            page.get_by_role("button", name="Try it with a sample class").wait_for()
            page.screenshot(path=folder / "welcome.en.light.1280.png")
            found = places(page)
        for language, scheme, width in itertools.product(("en", "sv"), SCHEMES, (WIDE, NARROW)):
            with seen(stage, EMAIL, language, scheme, width) as context:
                page = context.new_page()
                for place in found:
                    arrive(page, server.url, place)
                    name = f"{place.name.replace(' ', '-')}.{language}.{scheme}.{width}.png"
                    page.screenshot(path=folder / name, full_page=place.name != "results")
            with stage.context(language=language, scheme=scheme, width=width) as context:
                page = context.new_page()
                arrive(page, server.url, Place("sign-in", "/sign-in", "input[type=email]"))
                page.screenshot(path=folder / f"sign-in.{language}.{scheme}.{width}.png")
    sys.stdout.write(f"{len(list(folder.glob('*.png')))} pictures in {folder}\n")


if __name__ == "__main__":
    main()
