"""What the page says when something is not as it should be, and what can be done about it there."""

import pytest
from playwright.sync_api import expect

from tests.browser.stage import Stage

pytestmark = pytest.mark.timeout(180)


def test_a_link_is_not_lost_with_the_network(stage: Stage, anna: str) -> None:
    with stage.context() as context:
        page = context.new_page()
        page.route("**/v1/session", lambda route: route.abort())
        page.goto(stage.link(anna))
        expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
        again = page.get_by_role("button", name="Try again")
        again.click()
        expect(again).to_be_focused()
        page.unroute("**/v1/session")
        page.keyboard.press("Enter")
        page.wait_for_url(f"{stage.server.url}/")
        expect(page.get_by_role("heading", level=1)).to_have_text("Your classes")


def test_an_old_link_leads_on_whom_it_let_in(stage: Stage, anna: str) -> None:
    link = stage.link(anna)
    with stage.context() as context:
        page = context.new_page()
        for _ in range(2):
            page.goto(link)
            page.wait_for_url(f"{stage.server.url}/")
            page.goto(f"{stage.server.url}/nowhere")
            expect(page.get_by_role("button", name="Account")).to_be_visible()
