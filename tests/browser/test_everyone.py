"""Every page, in both languages and both lights, wide and narrow: for axe, and for whoever has no wide screen."""

import itertools

import pytest

from tests.browser.places import Place, arrive, places, seen
from tests.browser.stage import NARROW, WIDE, Scheme, Stage, overflows, violations

pytestmark = pytest.mark.timeout(180)
EMAIL = "everyone@school.se"


@pytest.fixture(scope="module")
def everywhere(house: Stage) -> list[Place]:
    with house.page(signed_in=EMAIL) as page:
        return places(page)


@pytest.mark.parametrize(("language", "scheme"), list(itertools.product(("en", "sv"), ("light", "dark"))))
def test_no_page_shuts_anyone_out(stage: Stage, everywhere: list[Place], language: str, scheme: Scheme) -> None:
    found = []
    with seen(stage, EMAIL, language, scheme, WIDE if scheme == "light" else NARROW) as context:
        page = context.new_page()
        for place in everywhere:
            arrive(page, stage.server.url, place)
            found += [f"{place.name}: {violation}" for violation in violations(page)]
            found += [f"{place.name} has to be scrolled sideways"] if overflows(page) else []
            headings = page.locator("h1").count()
            found += [] if headings == 1 else [f"{place.name} has {headings} first headings"]
    with stage.context(scheme=scheme, width=NARROW) as context:
        page = context.new_page()
        arrive(page, stage.server.url, Place("sign-in", "/sign-in", "input[type=email]"))
        found += [f"sign-in: {violation}" for violation in violations(page)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("width", [NARROW, 768, 1920])
def test_no_page_is_wider_than_its_window(stage: Stage, everywhere: list[Place], width: int) -> None:
    with seen(stage, EMAIL, "sv", "light", width) as context:
        page = context.new_page()
        wide = []
        for place in everywhere:
            arrive(page, stage.server.url, place)
            wide += [place.name] if overflows(page) else []
        assert wide == []
